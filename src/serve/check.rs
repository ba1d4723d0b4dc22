//! `check`: what would be served, by which Python, and with which settings.

use std::io::Write;
use std::path::Path;

use super::exit::Exit;
use super::python::{self, WorkingFolder};
use super::{crew, fastcgi};
use crate::cli::{Cli, FastcgiOptions, SettingInForce};
use crate::wsgi::Mode;

/// Imports the application and prints what it is, and then all settings.
///
/// # Errors
/// Why it could not be served.
pub(super) fn run(options: &FastcgiOptions, cli: &Cli) -> anyhow::Result<Exit> {
    fastcgi::addresses(options)?;
    crew::allow_list(&options.responder)?;
    if options.explain {
        let mut out = std::io::stdout().lock();
        writeln!(out, "application: none, requests are explained")?;
        print(&cli.told, &mut out)?;
        return Ok(Exit::Fine);
    }
    let options = &options.application;
    WorkingFolder::begin(options)?;
    let mode = Mode {
        multithread: false,
        multiprocess: false,
        run_once: true,
        debug: options.general.debug,
        mount: options.general.place().cloned(),
    };
    let (interpreter, application) = python::start_and_load(options, mode)?;
    let found = interpreter.describe();
    let mut out = std::io::stdout().lock();
    writeln!(out, "python: {}", found.version)?;
    writeln!(out, "executable: {}", found.executable)?;
    writeln!(out, "prefix: {}", found.prefix)?;
    writeln!(out, "libpython: {}", found.library)?;
    writeln!(out, "application: {}", Path::new(&options.app).display())?;
    writeln!(out, "file: {}", application.file)?;
    writeln!(out, "type: {}", application.kind)?;
    print(&cli.told, &mut out)?;
    drop(out);
    interpreter.finalize();
    Ok(Exit::Fine)
}

/// A line a setting, in columns: what, its value, and where it was told.
fn print(settings: &[SettingInForce], out: &mut impl Write) -> std::io::Result<()> {
    let width = |text: fn(&SettingInForce) -> &str| {
        let widths = settings.iter().map(|told| text(told).chars().count());
        widths.max().unwrap_or(0)
    };
    let (keys, values) = (width(|told| &told.key), width(|told| &told.value));
    writeln!(out, "settings:")?;
    for SettingInForce { key, value, origin } in settings {
        writeln!(out, "  {key:keys$}  {value:values$}  {origin}")?;
    }
    Ok(())
}
