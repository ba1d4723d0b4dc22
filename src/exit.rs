//! Exit codes, which talk to whoever started the process, and the errors that are about nothing else. Which error has which
//! code is in `worker::Failure`.

use std::process::ExitCode;

use thiserror::Error;

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
#[derive(Debug, Error)]
pub enum UsageError {
    /// `explain` on a listening socket.
    #[error(
        "standard input is a listening socket, and 'explain' is for CGI: use 'wsgi-gateway fastcgi --explain'"
    )]
    ExplainOnSocket,
    /// Neither door can be the one that is meant.
    #[error(
        "nothing says which door to serve: standard input is no listening socket (FastCGI) and REQUEST_METHOD is not set \
         (CGI); started by hand, use 'wsgi-gateway cgi APP' or 'wsgi-gateway fastcgi --bind ADDR APP'"
    )]
    NoDoor,
    /// No door, and APP was rather meant for a command.
    #[error("{0}")]
    NoCommand(String),
    /// No address, and standard input is none.
    #[error(
        "nothing says where to listen: give --bind ADDR (standard input is no listening socket)"
    )]
    NoAddress,
    /// No gateway answers.
    #[error(
        "no gateway of this user runs; a gateway that has another control socket is asked by its path"
    )]
    NoGateway,
    /// A gateway that is not there.
    #[error("no gateway is called '{0}': 'wsgi-gateway ps' shows them")]
    NoSuchGateway(String),
    /// A gateway is to be named.
    #[error("several gateways run ({0}): name one of them")]
    SeveralGateways(String),
    /// A gateway is to be named by its socket.
    #[error("several gateways are called '{0}': name one by the path of its control socket ({1})")]
    SameName(String, String),
    /// `stop` of what is not there.
    #[error(
        "no gateway is called '{0}', and no persistent application of this user has that in its name: 'wsgi-gateway ps' shows them"
    )]
    NoSuchApplication(String),
    /// `stop` without a name, where one is needed.
    #[error("several run ({0}): name one of them, or say --all for the persistent applications")]
    SeveralApplications(String),
}

/// The application cannot be loaded, or the Python that it is for cannot be started.
#[derive(Debug, Error)]
#[error("{sentence}")]
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

impl Exit {
    /// The meaning of another process's exit code.
    pub fn from_code(code: i32) -> Self {
        [Self::Fine, Self::Usage, Self::CannotLoad]
            .into_iter()
            .find(|exit| *exit as i32 == code)
            .unwrap_or(Self::Failed)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
