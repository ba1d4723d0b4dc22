//! `--version`: which build this is, and for which Pythons there are cores.

use std::io::Write;
use std::process::ExitCode;

use super::core::Installation;
use crate::exit::Exit;

/// Says it.
pub fn show_version() -> ExitCode {
    let commit = option_env!("WSGI_GATEWAY_COMMIT").map_or(String::new(), |it| format!(" ({it})"));
    let cores = Installation::find().cores();
    let cores = match cores.as_slice() {
        [] => "no cores: no Python can be used, so install the program with its folder lib/wsgi-gateway".to_owned(),
        cores => format!("cores for Python {}", cores.join(", ")),
    };
    let version = env!("CARGO_PKG_VERSION");
    // Who does not read it does not want it.
    let _ = writeln!(std::io::stdout(), "wsgi-gateway {version}{commit}\n{cores}");
    Exit::Fine.into()
}
