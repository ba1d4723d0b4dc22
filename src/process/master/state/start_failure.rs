//! Why a generation of the application does not come to serve, and how the gateway ends where it was the first.

use thiserror::Error;

use super::super::super::exec::{ended_itself, never_began};
use super::super::Ending;
use super::super::reaction::Died;

/// Why a generation does not come to serve.
#[derive(Clone, Debug, Error)]
pub(super) enum StartFailure {
    /// The process that was to load the application has said why it cannot, and ended so.
    #[error("the application cannot be loaded")]
    Told(Died),
    /// It ended, and nobody had told it to.
    #[error("{}", describe(*.0))]
    Ended(Died),
    /// It ended for this reason.
    #[error("{1}")]
    Left(Died, String),
    /// It took longer than --startup-timeout: so long, in these words.
    #[error("{0} (--startup-timeout)")]
    Late(String),
    #[error("no worker can be made")]
    NoWorker,
    #[error("no process can be made")]
    NoProcess,
    /// What the system says of it.
    #[error("no process can be made: {0}")]
    Refused(String),
}

impl StartFailure {
    /// The same, where the process has said why it ended, or has not.
    pub(super) fn among(self, has_told: bool) -> Self {
        match self {
            Self::Ended(died) if has_told => Self::Told(died),
            other => other,
        }
    }

    /// How the gateway ends.
    pub(super) fn ending(&self) -> Ending {
        match self {
            // The code that it has chosen itself.
            Self::Told(Died::Exited(code)) | Self::Left(Died::Exited(code), _)
                if !matches!(code, 0 | 3) =>
            {
                Ending::Failed(*code)
            }
            Self::Told(_) | Self::Ended(_) | Self::Left(..) | Self::Late(_) => Ending::CannotLoad,
            Self::NoWorker | Self::NoProcess | Self::Refused(_) => Ending::Failed(1),
        }
    }

    /// Whether the process itself has said what is wrong.
    pub(super) fn is_told(&self) -> bool {
        matches!(self, Self::Told(_))
    }
}

fn describe(died: Died) -> String {
    match died {
        Died::Exited(code) => ended_itself(code),
        Died::NeverBegan(code) => never_began(&format!("with exit code {code}")),
        died => format!("the process that loaded the application died: {died}"),
    }
}
