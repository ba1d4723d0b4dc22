//! The top floor: joins a transport, the application and the process, one function a door.

mod cgi;
mod check;
mod crew;
mod duty;
mod exit;
mod fastcgi;
mod flood;
mod logging;
mod minder;
mod python;
mod worker;

use std::io::{self};
use std::os::fd::AsFd;

use anyhow::bail;

use crate::config::{Config, Door};
use crate::process;

pub use exit::Exit;
pub use logging::start as start_logging;

/// What comes before everything, the log included: the process is to be the same whoever starts it.
pub fn begin() {
    process::clear_inherited();
}

/// Goes through the door that the command line, or standard input, says.
///
/// # Errors
/// What keeps the gateway from serving, in one sentence; [`Exit::of`] has the exit code for it.
pub fn run(config: &Config) -> anyhow::Result<Exit> {
    let is_listening = process::is_listening(io::stdin().as_fd());
    let settings = &config.worker;
    match config.door {
        Door::Cgi => cgi::run(settings),
        Door::Fastcgi => fastcgi::run(config),
        Door::Check => check::run(config),
        Door::Explain if is_listening => {
            bail!(exit::Usage(
                "standard input is a listening socket, and 'explain' is for CGI: use 'wsgi-gateway fastcgi --explain'"
                    .to_owned()
            ))
        }
        Door::Explain => cgi::explain(settings),
        Door::Unsaid if is_listening && !settings.app.is_empty() => fastcgi::run_spawned(config),
        Door::Unsaid
            if std::env::var_os("REQUEST_METHOD").is_some() && !settings.app.is_empty() =>
        {
            cgi::run(settings)
        }
        Door::Unsaid => bail!(exit::Usage(
            "nothing says which door to serve: standard input is no listening socket (FastCGI) and REQUEST_METHOD is \
             not set (CGI); started by hand, use 'wsgi-gateway cgi APP' or 'wsgi-gateway fastcgi --bind ADDR APP'"
            .to_owned()
        )),
    }
}
