//! The command line as clap reads it: every door's name, and what it may be told, with its help.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand};

use super::access_log::AccessLogOptions;
use super::control::{
    ControlOptions, GatewayOptions, PsOptions, ResizeOptions, StacksOptions, StatusOptions,
    StopOptions,
};
use super::process::ProcessOptions;
use super::tools::{ConfOptions, GetOptions, TryOptions};
use super::values::{duration, level, log_format, mode, number, size, switch};
use crate::config::{ConfigFile, LogFormat, SettingInForce};
use crate::gateway::Mount;

/// CGI and FastCGI gateway between web servers and Python WSGI applications.
///
/// Without a command, as a web server starts it or as a #! interpreter: a listening socket as standard input is served
/// by FastCGI, a REQUEST_METHOD in the environment is answered as CGI.
///
/// Every option may also be an environment variable, WSGI_GATEWAY_MAX_BODY for --max-body, and a key of the file of
/// --config, max-body = "10M"; APP is WSGI_GATEWAY_APP and app. The command line beats the environment, and that the
/// file.
#[derive(Clone, Debug, Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true,
    args_override_self = true,
    max_term_width = 100
)]
pub(super) struct Cli {
    /// The door, when it is not for standard input to tell.
    #[command(subcommand)]
    pub door: Option<DoorCommand>,

    /// package.module:attribute, package.module (its `application` or `app`), package.module:factory(), or a file.
    #[arg(value_name = "APP")]
    pub app: Option<OsString>,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub persistence: PersistenceOptions,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub general: DoorOptions,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub process: ProcessOptions,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub responder: ResponderOptions,

    /// All settings in force and where they were told; none for a CGI request, which is not to wait for that.
    #[arg(skip)]
    pub told: Vec<SettingInForce>,

    /// The file of `--config`.
    #[arg(skip)]
    pub file: Option<ConfigFile>,

    /// What is to be said about the settings when there is a log to say it in.
    #[arg(skip)]
    pub warnings: Vec<String>,

    /// What to say where nothing tells the door.
    #[arg(skip)]
    pub mistyped: Option<String>,
}

/// A way in.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum DoorCommand {
    /// Answer one request: the environment and standard input in, headers and body out.
    Cgi(Box<CgiOptions>),
    /// Serve FastCGI on sockets until told to stop.
    Fastcgi(Box<FastcgiOptions>),
    /// Import the application, and say what would be served and by which Python. Takes what fastcgi takes.
    Check(Box<CheckOptions>),
    /// Answer one CGI request with what the web server sent, what becomes of it, and what is wrong with the set-up: in an
    /// application's place, without Python. Not for longer than it takes to look. For FastCGI: fastcgi --explain.
    Explain(Box<ExplainOptions>),
    /// Show the gateways that run and the persistent applications (--persistent) of this user, as root of everybody.
    Ps(PsOptions),
    /// Show how it stands with a gateway. Exit code 0: well; 1: not; 3: it does not run.
    Status(StatusOptions),
    /// Show how it stands with a gateway, every second.
    Top(GatewayOptions),
    /// Take up the application's new code, wait until it serves, or show why it does not. Exit code 3: it cannot be loaded, and the
    /// old goes on serving.
    Reload(GatewayOptions),
    /// Show where each thread of each worker is, in Python.
    Stacks(StacksOptions),
    /// Change how many workers there are.
    Resize(ResizeOptions),
    /// Open the log files anew.
    Reopen(GatewayOptions),
    /// End a gateway or a persistent application: what it is at is finished first.
    Stop(StopOptions),
    /// Print what a web server is to be configured with for these options, and where to put it.
    Conf(Box<ConfOptions>),
    /// Ask an application, or a gateway that runs, without a web server, and print what it answers. The exit code is 0 for the
    /// statuses 200 to 399.
    Get(Box<GetOptions>),
    /// Serve the application by the web server that is installed, on a free port, until Ctrl-C. Takes what fastcgi takes.
    Try(Box<TryOptions>),
    /// Print what a shell reads to complete the words of this command line.
    Completions(CompletionsOptions),
    /// Write manual pages and completions, as packages have them.
    #[command(hide = true)]
    Manual(ManualOptions),
}

/// What is looked at.
#[derive(Args, Clone, Debug)]
pub(super) struct CheckOptions {
    /// Show all settings, and not only those that were told.
    #[arg(long)]
    pub all: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub persistence: PersistenceOptions,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub fastcgi: FastcgiOptions,
}

/// What completes words.
#[derive(Args, Clone, Debug)]
pub(super) struct CompletionsOptions {
    /// The shell.
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

/// Where the manual goes.
#[derive(Args, Clone, Debug)]
pub(super) struct ManualOptions {
    /// The folder, which is made.
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,

    /// The day that its pages are of, as 2026-11-30.
    #[arg(value_name = "DAY", default_value = "undated")]
    pub day: String,
}

/// Which application, and in which Python.
#[derive(Args, Clone, Debug)]
pub(super) struct ApplicationOptions {
    /// package.module:attribute, package.module (its `application` or `app`), package.module:factory(), or a file.
    #[arg(value_name = "APP")]
    pub app: OsString,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub general: DoorOptions,
}

/// How one request of CGI is answered.
#[derive(Args, Clone, Debug)]
pub(super) struct CgiOptions {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub persistence: PersistenceOptions,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub process: ProcessOptions,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub responder: ResponderOptions,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub application: ApplicationOptions,
}

/// Whether the application outlives its request of CGI.
#[derive(Args, Clone, Debug)]
pub(super) struct PersistenceOptions {
    /// Keep the application alive between requests of CGI: the first starts a responder, and this program only passes requests on
    /// to it. It ends by itself (--idle-timeout). The options of processes and of FastCGI are for it, and have no meaning for
    /// CGI without --persistent.
    #[arg(long, value_name = "YES|NO", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_missing_value = "yes", default_value = "no", hide_default_value = true, value_parser = switch)]
    pub persistent: bool,
}

/// What explains a request.
#[derive(Args, Clone, Debug)]
pub(super) struct ExplainOptions {
    /// Ignored: what a #! line puts there, the script itself.
    #[arg(value_name = "SCRIPT")]
    pub script: Option<OsString>,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub general: DoorOptions,
}

/// What every door may be told: the Python that the application runs in, and how it tells what goes wrong.
#[derive(Args, Clone, Debug)]
pub(super) struct DoorOptions {
    /// The interpreter that runs the application, by its path or by a name in PATH [default: that of --venv, else python3].
    #[arg(long, value_name = "FILE")]
    pub python: Option<PathBuf>,

    /// The virtual environment [default: VIRTUAL_ENV, else one around the application, or beside it as .venv or venv, or around this program].
    #[arg(long, value_name = "DIR")]
    pub venv: Option<PathBuf>,

    /// Change to this folder first: every other path is seen from there, those in the file of --config too.
    #[arg(long, value_name = "DIR")]
    pub chdir: Option<PathBuf>,

    /// A folder in front of sys.path; may be given more than once (as a variable, with : between).
    #[arg(long, value_name = "DIR", action = ArgAction::Append)]
    pub pythonpath: Vec<PathBuf>,

    /// The URL path that the application is at, as /shop; / is the whole site. A request for anything else gets 404
    /// [default: the web server's SCRIPT_NAME].
    #[arg(long, value_name = "PREFIX", value_parser = Mount::parse)]
    pub mount: Option<Mount>,

    /// The URL path that a proxy in front takes away before the web server sees it, as /shop: SCRIPT_NAME, whatever the web server
    /// says; what comes is below it [default: the web server's SCRIPT_NAME].
    #[arg(long, value_name = "PREFIX", value_parser = Mount::parse_stripped)]
    pub script_name: Option<Mount>,

    /// Show tracebacks on error pages. Not for a public site.
    #[arg(long, value_name = "YES|NO", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_missing_value = "yes", default_value = "no", hide_default_value = true, value_parser = switch)]
    pub debug: bool,

    /// The least important messages that are logged: error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = level)]
    pub log_level: log::LevelFilter,

    /// The file that messages are appended to, and in CGI all that the application writes [default: standard error].
    #[arg(long, value_name = "FILE")]
    pub log_file: Option<PathBuf>,

    /// What a message is: text, a line for people; json, a line that is a JSON object with time, level, name, pid, worker, message
    /// and traceback; or journal, lines with their priority in front as systemd's journal wants them [default: journal where
    /// standard error is that, else text].
    #[arg(long, value_name = "FORMAT", value_parser = log_format)]
    pub log_format: Option<LogFormat>,

    /// A TOML file of options, each a key as workers = 4 or bind = ["/run/a.sock"], which environment and command line
    /// overrule.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Where and how to serve FastCGI.
#[derive(Args, Clone, Debug)]
pub(super) struct FastcgiOptions {
    /// unix:/path, /path, unix:@name, tcp:host:port, host:port, fd:N or systemd; may be given more than once (as a
    /// variable, with spaces or commas between) [default: standard input, if it is a listening socket].
    #[arg(short, long, value_name = "ADDR", action = ArgAction::Append)]
    pub bind: Vec<String>,

    /// Permission bits of a Unix socket.
    #[arg(long, value_name = "MODE", default_value = "0660", value_parser = mode("0660"))]
    pub socket_mode: u32,

    /// The user who owns a Unix socket.
    #[arg(long, value_name = "USER")]
    pub socket_user: Option<String>,

    /// The group that owns a Unix socket: the web server's, so that it may connect.
    #[arg(long, value_name = "GROUP")]
    pub socket_group: Option<String>,

    /// Answer each request with what the web server sent, what becomes of it, and what is wrong with the set-up: in the place
    /// of APP, which may be left out, and without Python. Not for longer than it takes to look.
    #[arg(long, value_name = "YES|NO", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_missing_value = "yes", default_value = "no", hide_default_value = true, value_parser = switch)]
    pub explain: bool,

    /// Connections that may wait to be taken.
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = number::<i32>(1..=65535))]
    pub backlog: i32,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub control: ControlOptions,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub process: ProcessOptions,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub responder: ResponderOptions,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub application: ApplicationOptions,
}

/// How a FastCGI responder serves, wherever it listens.
#[derive(Args, Clone, Debug)]
pub(super) struct ResponderOptions {
    /// Application threads.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = number::<u16>(1..=512))]
    pub threads: u16,

    /// Bytes of a request's body that are read before a thread is given to it.
    #[arg(long, value_name = "SIZE", default_value = "64K", value_parser = size)]
    pub buffer: u64,

    /// Bytes of a request's variables, its headers among them; above it, 431.
    #[arg(long, value_name = "SIZE", default_value = "1M", value_parser = size)]
    pub max_params: u64,

    /// Bytes of a request's body; above it, 413 [default: no limit].
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub max_body: Option<u64>,

    /// Bytes of memory for complete responses that web servers have not taken yet; above it, temporary files.
    #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = size)]
    pub max_unsent: u64,

    /// Open connections; above it, 503.
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = number::<u32>(1..=1_000_000))]
    pub max_connections: u32,

    /// Time for a request's variables to come whole; above it, 408.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub header_timeout: Duration,

    /// Time that a connection may be open without a request.
    #[arg(long, value_name = "TIME", default_value = "90s", value_parser = duration)]
    pub idle_connection_timeout: Duration,

    /// Time for each wait within a body or a response.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub io_timeout: Duration,

    /// Hosts or networks that may connect over TCP, with commas.
    #[arg(long, value_name = "ADDR,...")]
    pub allow: Option<String>,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub access_log: AccessLogOptions,
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::{CommandFactory, Parser};

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn without_a_command_the_first_word_is_the_application() {
        let cli = Cli::try_parse_from(["gw", "--debug", "site:app"]).unwrap();
        assert!(cli.door.is_none());
        assert_eq!(cli.app.unwrap(), "site:app");
        assert!(cli.general.debug);
        assert!(Cli::try_parse_from(["gw", "fastcgi", "--bind", "/run/a.sock"]).is_err());
    }
}
