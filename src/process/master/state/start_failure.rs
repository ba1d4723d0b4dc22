//! Why a generation of the application does not come to serve, and how the gateway ends where it was the first.

use thiserror::Error;

use super::super::super::exec::never_began;
use super::super::Ending;
use super::super::reaction::Died;

/// What a worker or template ends with where the application cannot be loaded: it has said why.
const CANNOT_LOAD: Died = Died::Exited(3);

/// Why a generation does not come to serve.
#[derive(Debug, Error)]
pub(super) enum StartFailure {
    /// The process that was to load the application ended, and nobody had told it to.
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
    /// How the gateway ends.
    pub(super) fn ending(&self) -> Ending {
        match self {
            Self::Ended(died) | Self::Left(died, _) => match died {
                &CANNOT_LOAD | Died::NeverBegan(_) | Died::Killed(_) => Ending::CannotLoad,
                Died::Exited(code) => Ending::Failed(*code),
            },
            Self::Late(_) => Ending::CannotLoad,
            Self::NoWorker | Self::NoProcess | Self::Refused(_) => Ending::Failed(1),
        }
    }

    /// Whether the process itself has said what is wrong.
    pub(super) fn is_told(&self) -> bool {
        matches!(self, Self::Ended(CANNOT_LOAD) | Self::Left(CANNOT_LOAD, _))
    }
}

fn describe(died: Died) -> String {
    match died {
        CANNOT_LOAD => "the application cannot be loaded".to_owned(),
        Died::NeverBegan(code) => never_began(&format!("with exit code {code}")),
        died => format!("the process that loaded the application died: {died}"),
    }
}
