//! The `wsgi-gateway` program: read the command line, set up logging, go through the door, tell an error once.

use std::process::ExitCode;

use wsgi_gateway::cli::Cli;
use wsgi_gateway::serve;

fn main() -> ExitCode {
    let by_web_server = std::env::var_os("REQUEST_METHOD").is_some();
    let cli = Cli::read(std::env::args_os(), by_web_server);
    serve::start_logging(&cli);
    match serve::run(cli) {
        Ok(exit) => exit.into(),
        Err(error) => {
            log::error!("{error:#}");
            serve::Exit::of(&error).into()
        }
    }
}
