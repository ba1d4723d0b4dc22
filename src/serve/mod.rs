//! The top floor: joins a transport, the application and the process, one function a door.

mod cgi;
mod check;
mod crew;
mod duty;
mod exit;
mod fastcgi;
mod logging;
mod minder;
mod python;
mod worker;

use std::io::{self};
use std::os::fd::AsFd;

use anyhow::bail;

use crate::cli::{Cli, Door};
use crate::process;

pub use exit::Exit;
pub use logging::start as start_logging;

/// Goes through the door that the command line, or standard input, says.
///
/// # Errors
/// What keeps the gateway from serving, in one sentence; [`Exit::of`] has the exit code for it.
pub fn run(cli: &Cli) -> anyhow::Result<Exit> {
    match (&cli.door, cli.application()) {
        (Some(Door::Cgi(options)), _) => cgi::run(options),
        (Some(Door::Fastcgi(options)), _) => fastcgi::run(options, cli),
        (Some(Door::Check(options)), _) => check::run(options, cli),
        (Some(Door::Explain(_)), _) if process::is_listening(io::stdin().as_fd()) => {
            bail!(exit::Usage(
                "standard input is a listening socket, and 'explain' is for CGI: use 'wsgi-gateway fastcgi --explain'"
                    .to_owned()
            ))
        }
        (Some(Door::Explain(options)), _) => cgi::explain(options),
        (None, Some(options)) if process::is_listening(io::stdin().as_fd()) => {
            fastcgi::run_spawned(&options, &cli.process, &cli.responder, false, cli)
        }
        (None, Some(options)) if std::env::var_os("REQUEST_METHOD").is_some() => cgi::run(&options),
        _ => bail!(exit::Usage(
            "nothing says which door to serve: standard input is no listening socket (FastCGI) and REQUEST_METHOD is \
             not set (CGI); started by hand, use 'wsgi-gateway cgi APP' or 'wsgi-gateway fastcgi --bind ADDR APP'"
            .to_owned()
        )),
    }
}
