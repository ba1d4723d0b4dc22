//! The `wsgi-gateway` program: read the command line, set up logging, go through the door, tell an error once.

use std::process::ExitCode;

use wsgi_gateway::{cli, serve};

fn main() -> ExitCode {
    serve::begin();
    let config = cli::read();
    let started = serve::start_logging(&config);
    for warning in &config.warnings {
        log::warn!("{warning}");
    }
    match started.and_then(|()| serve::run(&config)) {
        Ok(exit) => exit.into(),
        Err(error) => {
            log::error!("{}", config.with_origins(&format!("{error:#}")));
            error.exit().into()
        }
    }
}
