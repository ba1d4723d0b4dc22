//! The `wsgi-gateway` program: read the command line, set up logging, go through the door, tell an error once.

use std::process::ExitCode;

use wsgi_gateway::cli::Cli;
use wsgi_gateway::serve;

fn main() -> ExitCode {
    serve::begin();
    let cli = Cli::read();
    let started = serve::start_logging(&cli);
    for warning in &cli.warnings {
        log::warn!("{warning}");
    }
    match started.and_then(|()| serve::run(&cli)) {
        Ok(exit) => exit.into(),
        Err(error) => {
            log::error!("{}", cli.with_origins(&format!("{error:#}")));
            serve::Exit::of(&error).into()
        }
    }
}
