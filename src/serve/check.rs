//! `check`: what would be served, and by which Python.

use std::io::Write;
use std::path::Path;

use super::exit::Exit;
use super::python;
use crate::cli::ApplicationOptions;
use crate::wsgi::Mode;

/// Imports the application and prints what it is.
///
/// # Errors
/// Why it could not be served.
pub(super) fn run(options: &ApplicationOptions) -> anyhow::Result<Exit> {
    python::change_folder(options)?;
    let mode = Mode {
        multithread: false,
        multiprocess: false,
        run_once: true,
        debug: options.general.debug,
    };
    let (interpreter, application) = python::start(options, mode)?;
    let found = interpreter.describe();
    let mut out = std::io::stdout().lock();
    writeln!(out, "python: {}", found.version)?;
    writeln!(out, "executable: {}", found.executable)?;
    writeln!(out, "prefix: {}", found.prefix)?;
    writeln!(out, "libpython: {}", found.library)?;
    writeln!(out, "application: {}", Path::new(&options.app).display())?;
    writeln!(out, "file: {}", application.file)?;
    writeln!(out, "type: {}", application.kind)?;
    drop(out);
    interpreter.finalize();
    Ok(Exit::Fine)
}
