//! The `wsgi-gateway` program: read the command line, set up logging, go through the door, tell an error once.

use std::process::ExitCode;

use wsgi_gateway::config::Invocation;
use wsgi_gateway::{cli, serve};

fn main() -> ExitCode {
    serve::begin();
    if let Some(exit) = serve::respond() {
        return exit;
    }
    let invocation = match cli::read() {
        Ok(invocation) => invocation,
        Err(answer) => return answer.tell(),
    };
    let config = match invocation {
        Invocation::Serve(config) => config,
        Invocation::Operate(operation) => return serve::operate(&operation),
        Invocation::Conf(settings) => return serve::print_configuration(&settings),
        Invocation::Get(settings) => return serve::get(&settings),
        Invocation::Try(settings) => return serve::try_out(&settings),
        Invocation::Version => return serve::show_version(),
    };
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
