//! The control socket, and what is asked there.

use std::path::PathBuf;

/// What the operator has decided about the control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlSettings {
    /// How the gateway is called, where that was said.
    pub name: Option<String>,
    /// Where the socket is.
    pub place: ControlChoice,
    /// The group that may look, by name or number.
    pub group: Option<String>,
    /// Addresses of TCP for figures alone, as they were written.
    pub metrics: Vec<String>,
}

/// Where the control socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlChoice {
    /// In the usual folder, by the gateway's name.
    Usual,
    /// At this path.
    At(PathBuf),
    /// Nowhere.
    Off,
}

impl ControlSettings {
    /// Those of a gateway without one.
    pub fn off() -> Self {
        Self {
            name: None,
            place: ControlChoice::Off,
            group: None,
            metrics: Vec::new(),
        }
    }
}

/// What an operator wants of a gateway that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// To see all.
    Ps {
        /// Whether as JSON.
        json: bool,
    },
    /// To see how it stands with one.
    Status {
        /// Which.
        gateway: Option<String>,
        /// In which form.
        form: StatusForm,
        /// Whether what stands behind the path of URLs is shown, too.
        shows_query: bool,
    },
    /// To look at one for a while.
    Top {
        /// Which.
        gateway: Option<String>,
    },
    /// To have something done, and what comes of it.
    Act {
        /// Which.
        gateway: Option<String>,
        /// What, as the control socket is told: `resize 4`.
        command: String,
    },
    /// To end it.
    Stop {
        /// Which.
        gateway: Option<String>,
        /// Whether all are meant.
        all: bool,
    },
}

/// How a status is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusForm {
    /// Lines for people.
    Text,
    /// The same, with a line a worker.
    Full,
    /// JSON.
    Json,
    /// OpenMetrics.
    Metrics,
}
