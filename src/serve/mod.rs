//! The top floor: joins a transport, the application and the process, one function a door.

mod ask;
mod cgi;
mod check;
mod conf;
mod control;
mod core;
mod fastcgi;
mod folder;
mod get;
mod installed;
mod interpreter;
mod launcher;
mod operate;
mod own_gateway;
mod persistent;
mod try_out;
mod version;

use std::io::{self};
use std::os::fd::AsFd;
use std::path::Path;

use crate::config::{Config, Door, LogSettings};
use crate::exit::{Exit, UsageError};
use crate::logging::{self, Destination};
use crate::process;
use crate::worker::Failure;

pub use conf::print as print_configuration;
pub use get::get;
pub use operate::operate;
pub use persistent::respond;
pub use try_out::try_out;
pub use version::show_version;

/// What comes before everything, the log included: the process is to be the same whoever starts it.
pub fn begin() {
    process::clear_inherited();
}

/// Starts logging as the operator says.
///
/// # Errors
/// When the file of `--log-file` cannot be opened.
pub fn start_logging(config: &Config) -> Result<(), Failure> {
    let alone = match config.door {
        Door::Cgi | Door::Explain | Door::Check => false,
        Door::Fastcgi => true,
        Door::Unsaid => std::env::var_os("REQUEST_METHOD").is_none(),
    };
    let settings = &config.worker;
    // The process goes there only when there is a log to say in that it cannot.
    let folder = settings.chdir.as_deref().unwrap_or(Path::new(""));
    let file = settings.log.file.as_deref().map(|file| folder.join(file));
    let to = match &file {
        // What 'check' has to say is for who asks.
        Some(file) if config.door != Door::Check => Destination::File(file),
        _ => Destination::StandardError,
    };
    let settings = LogSettings {
        name: config.name(),
        ..settings.log.clone()
    };
    Ok(logging::start(&settings, alone, to)?)
}

/// Goes through the door that the command line, or standard input, says.
///
/// # Errors
/// What keeps the gateway from serving, in one sentence; [`Failure::exit`] has the exit code for it.
pub fn run(config: &Config) -> Result<Exit, Failure> {
    let is_listening = process::is_listening(io::stdin().as_fd());
    let settings = &config.worker;
    match config.door {
        Door::Cgi => cgi::run(config),
        Door::Fastcgi => fastcgi::run(config),
        Door::Check => check::run(config),
        Door::Explain if is_listening => Err(UsageError::ExplainOnSocket.into()),
        Door::Explain => cgi::explain(settings),
        Door::Unsaid if is_listening && !settings.app.is_empty() => fastcgi::run_spawned(config),
        Door::Unsaid
            if std::env::var_os("REQUEST_METHOD").is_some() && !settings.app.is_empty() =>
        {
            cgi::run(config)
        }
        Door::Unsaid => Err(match &config.mistyped {
            Some(told) => UsageError::NoCommand(told.clone()),
            None => UsageError::NoDoor,
        }
        .into()),
    }
}
