//! `check`: what would be served, and by which Python.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::RawFd;

use super::startup::{inherited, load};
use crate::config::Launch;
use crate::exit::Exit;
use crate::worker::Failure;
use crate::wsgi::{Application, Interpreter};

/// Imports the application and prints what it is.
///
/// # Errors
/// Why it could not be served.
pub(super) fn run(launch: &Launch, begun: RawFd) -> Result<i32, Failure> {
    let mut begun = File::from(inherited(begun)?);
    begun.write_all(b"!")?;
    let loaded = load(launch);
    // What ends this process before was the application.
    begun.write_all(b"!")?;
    let (interpreter, application) = loaded?;
    match print(launch, interpreter, &application) {
        // Whoever reads it has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        printed => printed?,
    }
    Ok(Exit::Fine as i32)
}

fn print(launch: &Launch, interpreter: Interpreter, application: &Application) -> io::Result<()> {
    let found = interpreter.describe();
    let mut out = io::stdout().lock();
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
    writeln!(out, "type: {}", application.kind)
}
