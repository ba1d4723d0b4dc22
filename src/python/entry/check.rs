//! `check`: what would be served, and by which Python.

use std::fs::File;
use std::io::Write;
use std::os::fd::RawFd;

use super::startup::{inherited, load};
use crate::config::Launch;
use crate::exit::Exit;
use crate::worker::Failure;

/// Imports the application and prints what it is.
///
/// # Errors
/// Why it could not be served.
pub(super) fn run(launch: &Launch, begun: RawFd) -> Result<i32, Failure> {
    File::from(inherited(begun)?).write_all(b"!")?;
    let (interpreter, application) = load(launch)?;
    let found = interpreter.describe();
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "ok: {} would be served, by Python {}",
        launch.settings.name(),
        found.version
    )?;
    writeln!(out, "python: {}", found.version)?;
    writeln!(
        out,
        "interpreter: {} ({})",
        launch.interpreter.path.display(),
        launch.interpreter.reason
    )?;
    writeln!(out, "executable: {}", found.executable)?;
    writeln!(out, "prefix: {}", found.prefix)?;
    writeln!(out, "application: {}", launch.settings.name())?;
    writeln!(out, "file: {}", application.file)?;
    writeln!(out, "type: {}", application.kind)?;
    Ok(Exit::Fine as i32)
}
