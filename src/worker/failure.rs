//! Why a process of the gateway ends without having done what it is there for, and with which exit code.

use std::io;
use std::num::TryFromIntError;
use std::path::PathBuf;

use thiserror::Error;

use crate::config::{LaunchError, TargetError};
use crate::exit::{CannotLoad, Exit, UsageError};
use crate::fastcgi::AllowError;
use crate::process::{
    AddressError, BindError, IdentityError, LineFileError, LogFileError, PidFileError,
};

/// What a floor below has to say, of whatever type.
type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a process ends.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the sentences say it")]
pub enum Failure {
    #[error(transparent)]
    Usage(#[from] UsageError),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("--bind: {0}")]
    Address(#[from] AddressError),
    #[error(transparent)]
    Allow(#[from] AllowError),
    #[error("{option}: {error}")]
    Number {
        option: &'static str,
        error: TryFromIntError,
    },
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    LogFile(#[from] LogFileError),
    #[error(transparent)]
    LineFile(#[from] LineFileError),
    #[error("cannot change to the folder {path} of --chdir: {reason}; choose another")]
    Folder { path: PathBuf, reason: String },
    #[error(transparent)]
    CannotLoad(#[from] CannotLoad),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    PidFile(#[from] PidFileError),
    #[error("the place on the scoreboard cannot be had: {0}")]
    Slot(Cause),
    #[error("there is no memory for the scoreboard: {0}")]
    Scoreboard(Cause),
    #[error("signals cannot be caught: {0}")]
    Signals(io::Error),
    #[error(
        "a worker cannot have the threads that it needs: the user (ulimit -u), the service (TasksMax=) or the container may \
         have as many as are allowed: {0}"
    )]
    Threads(io::Error),
    #[error("there is no pipe for stacks: {0}")]
    Stacks(io::Error),
    #[error("the responder cannot be made: {0}")]
    Responder(Cause),
    #[error("the memory of this process cannot be told (--max-rss): {0}")]
    Memory(io::Error),
    #[error(
        "{application} (process {pid}) still finishes what it is at after {seconds} s: 'kill -INT {pid}' cuts it"
    )]
    StillBusy {
        application: String,
        pid: i32,
        seconds: u64,
    },
    #[error("{0}")]
    Python(String),
    #[error(transparent)]
    Launch(#[from] LaunchError),
    #[error(transparent)]
    System(#[from] io::Error),
    /// What only the top floors know the words for.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

impl Failure {
    /// The exit code that says it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_)
            | Self::Target(_)
            | Self::Address(_)
            | Self::Allow(_)
            | Self::Folder { .. }
            | Self::LogFile(_)
            | Self::LineFile(_) => Exit::Usage,
            Self::Bind(error) if error.is_told_wrong() => Exit::Usage,
            Self::PidFile(error) if error.is_told_wrong() => Exit::Usage,
            Self::Identity(error) => match error {
                IdentityError::Unknown { .. }
                | IdentityError::NotLookedUp { .. }
                | IdentityError::NotRoot
                | IdentityError::TooFewFiles { .. }
                | IdentityError::OthersGroup { .. } => Exit::Usage,
                IdentityError::Refused { .. } => Exit::Failed,
            },
            Self::CannotLoad(_) => Exit::CannotLoad,
            Self::Number { .. }
            | Self::Bind(_)
            | Self::PidFile(_)
            | Self::Slot(_)
            | Self::Scoreboard(_)
            | Self::Signals(_)
            | Self::Threads(_)
            | Self::Stacks(_)
            | Self::Responder(_)
            | Self::Memory(_)
            | Self::StillBusy { .. }
            | Self::Python(_)
            | Self::Launch(_)
            | Self::System(_) => Exit::Failed,
            // One that has only been put into words stays what it was.
            Self::Other(error) => error.downcast_ref().map_or(Exit::Failed, Self::exit),
        }
    }

    /// What the application's own code has raised, if it has.
    pub fn traceback(&self) -> Option<&str> {
        match self {
            Self::CannotLoad(error) => error.traceback.as_deref(),
            Self::Other(error) => error.downcast_ref().and_then(Self::traceback),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::Context as _;

    use super::{CannotLoad, Exit, Failure, UsageError};
    use crate::fastcgi::AllowList;
    use crate::process::{Address, Identity};

    #[test]
    fn each_kind_of_failure_has_its_code() {
        let usage = || Failure::from(UsageError::NoDoor);
        let passed = || Err::<(), _>(usage()).context("on its way");
        let system = || Failure::from(io::Error::other("x"));
        for (failure, exit) in [
            (usage(), Exit::Usage),
            ("x".parse::<Address>().unwrap_err().into(), Exit::Usage),
            (
                AllowList::read("--allow", "x").unwrap_err().into(),
                Exit::Usage,
            ),
            (
                Identity::new(Some("nobody-of-this-name"), None, None, None)
                    .unwrap_err()
                    .into(),
                Exit::Usage,
            ),
            (CannotLoad::new("x").into(), Exit::CannotLoad),
            (system(), Exit::Failed),
            (Failure::Signals(io::Error::other("x")), Exit::Failed),
            (anyhow::Error::from(usage()).into(), Exit::Usage),
            (passed().unwrap_err().into(), Exit::Usage),
            (anyhow::anyhow!("x").into(), Exit::Failed),
        ] {
            assert_eq!(failure.exit(), exit, "{failure}");
        }
        assert_eq!(Exit::Fine as u8, 0);
        assert_eq!(Exit::Failed as u8, 1);
        assert_eq!(Exit::Usage as u8, 2);
        assert_eq!(Exit::CannotLoad as u8, 3);
    }
}
