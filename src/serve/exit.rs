//! Exit codes, which talk to whoever started the process.

use std::fmt;
use std::process::ExitCode;

use crate::wsgi::LoadError;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All was well.
    Fine = 0,
    /// The application failed to answer a CGI request, or something else went wrong.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The application cannot be loaded: starting again will not help.
    CannotLoad = 3,
}

/// The command line makes no sense where the process was started.
#[derive(Debug)]
pub(super) struct Usage(pub(super) String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Python or its virtual environment cannot be started.
#[derive(Debug)]
pub(super) struct NoPython(pub(super) String);

impl fmt::Display for NoPython {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoPython {}

impl Exit {
    /// The meaning of another process's exit code.
    pub(super) fn from_code(code: i32) -> Self {
        [Self::Fine, Self::Usage, Self::CannotLoad]
            .into_iter()
            .find(|exit| *exit as i32 == code)
            .unwrap_or(Self::Failed)
    }

    /// The exit code for an error.
    pub fn of(error: &anyhow::Error) -> Self {
        if error.is::<Usage>() {
            Self::Usage
        } else if error.is::<LoadError>() || error.is::<NoPython>() {
            Self::CannotLoad
        } else {
            Self::Failed
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::{Exit, NoPython, Usage};

    #[test]
    fn each_kind_of_error_has_its_code() {
        assert_eq!(Exit::of(&Usage("x".to_owned()).into()) as u8, 2);
        assert_eq!(Exit::of(&NoPython("x".to_owned()).into()) as u8, 3);
        assert_eq!(Exit::of(&anyhow::anyhow!("x")) as u8, 1);
        assert_eq!(Exit::Fine as u8, 0);
    }
}
