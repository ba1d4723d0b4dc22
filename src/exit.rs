//! Exit codes, which talk to whoever started the process, and the errors that have one of their own.

use std::fmt;
use std::process::ExitCode;

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
pub struct Usage(pub String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// The application cannot be loaded, or the Python that it is for cannot be started.
#[derive(Debug)]
pub struct CannotLoad {
    /// One sentence: what is wrong, with which value, and the way out.
    pub sentence: String,
    /// The traceback, when the application's own code raised.
    pub traceback: Option<String>,
}

impl CannotLoad {
    /// An error of nobody's code.
    pub fn new(sentence: impl Into<String>) -> Self {
        Self {
            sentence: sentence.into(),
            traceback: None,
        }
    }
}

impl fmt::Display for CannotLoad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for CannotLoad {}

impl Exit {
    /// The meaning of another process's exit code.
    pub fn from_code(code: i32) -> Self {
        [Self::Fine, Self::Usage, Self::CannotLoad]
            .into_iter()
            .find(|exit| *exit as i32 == code)
            .unwrap_or(Self::Failed)
    }

    /// The exit code for an error.
    pub fn of(error: &anyhow::Error) -> Self {
        if error.is::<Usage>() {
            Self::Usage
        } else if error.is::<CannotLoad>() {
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
    use super::{CannotLoad, Exit, Usage};

    #[test]
    fn each_kind_of_error_has_its_code() {
        assert_eq!(Exit::of(&Usage("x".to_owned()).into()) as u8, 2);
        assert_eq!(Exit::of(&CannotLoad::new("x").into()) as u8, 3);
        assert_eq!(Exit::of(&anyhow::anyhow!("x")) as u8, 1);
        assert_eq!(Exit::Fine as u8, 0);
    }
}
