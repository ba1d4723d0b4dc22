//! The control socket's options, and the commands that ask there.

use std::path::PathBuf;

use clap::{ArgAction, Args};

use super::values::number;
use crate::config::{ControlChoice, ControlSettings, Operation, StatusForm};

/// Who may look at the gateway and have it do something, and where.
#[derive(Args, Clone, Debug)]
pub(super) struct ControlOptions {
    /// What 'wsgi-gateway status NAME' and the others call this gateway [default: the name of the file of --config, else of the
    /// socket, without its ending].
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// The control socket, which status, reload and the others ask at: a path, or off [default: NAME.ctl in /run/wsgi-gateway for
    /// root, in systemd's RuntimeDirectory=, else in XDG_RUNTIME_DIR/wsgi-gateway or /tmp/wsgi-gateway-UID].
    #[arg(long, value_name = "PATH|off", value_parser = control_choice)]
    pub control: Option<ControlChoice>,

    /// A group that may look there, but not reload, stop, resize, reopen or see stacks.
    #[arg(long, value_name = "GROUP")]
    pub control_group: Option<String>,

    /// host:port where /metrics, /status and /ping answer by HTTP, for whoever can reach it; may be given more than once.
    #[arg(long, value_name = "ADDR", action = ArgAction::Append, value_parser = metrics_address)]
    pub metrics: Vec<String>,
}

impl ControlOptions {
    pub(super) fn settings(self) -> ControlSettings {
        ControlSettings {
            name: self.name,
            place: self.control.unwrap_or(ControlChoice::Usual),
            group: self.control_group,
            metrics: self.metrics,
        }
    }
}

/// Reads where the control socket is.
fn control_choice(text: &str) -> Result<ControlChoice, String> {
    let path = text.strip_prefix("unix:").unwrap_or(text);
    match path {
        "off" => Ok(ControlChoice::Off),
        path if path.contains('/') => Ok(ControlChoice::At(PathBuf::from(path))),
        _ => Err(format!(
            "'{text}' is neither a path such as /run/shop.ctl nor off"
        )),
    }
}

/// Reads where figures are shown by HTTP.
fn metrics_address(text: &str) -> Result<String, String> {
    let address = text.strip_prefix("tcp:").unwrap_or(text);
    let port = address.rsplit_once(':').map(|(_, port)| port);
    match port.and_then(|port| port.parse::<u16>().ok()) {
        Some(_) => Ok(format!("tcp:{address}")),
        None => Err(format!("'{text}' is no address such as 127.0.0.1:9117")),
    }
}

/// Which gateway.
#[derive(Args, Clone, Debug)]
pub(super) struct GatewayOptions {
    /// The gateway's name as `ps` shows it, or the path of its control socket [default: the only one].
    #[arg(value_name = "NAME")]
    pub gateway: Option<String>,
}

/// What is listed.
#[derive(Args, Clone, Debug)]
pub(super) struct PsOptions {
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

/// What is shown of which gateway.
#[derive(Args, Clone, Debug)]
pub(super) struct StatusOptions {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub which: GatewayOptions,

    /// With a line a worker.
    #[arg(long, conflicts_with_all = ["json", "openmetrics"])]
    pub full: bool,

    /// As JSON, with everything.
    #[arg(long, conflicts_with = "openmetrics")]
    pub json: bool,

    /// As OpenMetrics, which Prometheus reads.
    #[arg(long)]
    pub openmetrics: bool,

    /// With what stands behind the path of URLs, where secrets may be.
    #[arg(long)]
    pub show_query: bool,
}

/// How many workers which gateway is to have.
#[derive(Args, Clone, Debug)]
pub(super) struct ResizeOptions {
    /// The most workers, as --workers; --min-workers changes by as many.
    #[arg(value_name = "N", value_parser = number::<u32>(1..=1000))]
    pub workers: u32,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub which: GatewayOptions,
}

/// Whose stacks are shown.
#[derive(Args, Clone, Debug)]
pub(super) struct StacksOptions {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub which: GatewayOptions,

    /// Only of this worker, by the number that `status --full` shows.
    #[arg(value_name = "WORKER", value_parser = number::<u32>(1..=100_000))]
    pub worker: Option<u32>,
}

/// What is to end.
#[derive(Args, Clone, Debug)]
pub(super) struct StopOptions {
    /// The gateway's name, the path of its control socket, or a part of a persistent application's name, as `ps` shows them
    /// [default: the only one].
    #[arg(value_name = "NAME", conflicts_with = "all")]
    pub gateway: Option<String>,

    /// All persistent applications of this user (--persistent).
    #[arg(long)]
    pub all: bool,
}

impl StatusOptions {
    pub(super) fn operation(self) -> Operation {
        let form = match (self.full, self.json, self.openmetrics) {
            (_, true, _) => StatusForm::Json,
            (_, _, true) => StatusForm::Metrics,
            (true, ..) => StatusForm::Full,
            _ => StatusForm::Text,
        };
        Operation::Status {
            gateway: self.which.gateway,
            form,
            shows_query: self.show_query,
        }
    }
}

impl ResizeOptions {
    pub(super) fn operation(self) -> Operation {
        act(self.which, format!("resize {}", self.workers))
    }
}

impl StacksOptions {
    pub(super) fn operation(self) -> Operation {
        // 'stacks 3' of the only gateway.
        let number = |name: &String| name.parse::<u32>().is_ok();
        let (gateway, worker) = match (self.which.gateway, self.worker) {
            (Some(name), None) if number(&name) => (None, Some(name)),
            (gateway, worker) => (gateway, worker.map(|worker| worker.to_string())),
        };
        let command = format!("stacks {}", worker.unwrap_or_default());
        act(GatewayOptions { gateway }, command.trim_end().to_owned())
    }
}

/// An operation of a word, as the control socket knows it.
pub(super) fn act(which: GatewayOptions, command: impl Into<String>) -> Operation {
    Operation::Act {
        gateway: which.gateway,
        command: command.into(),
    }
}
