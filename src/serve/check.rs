//! `check`: what would be served, by which Python, and with which settings.

use std::io::Write;

use super::exit::Exit;
use super::python::{self, WorkingFolder};
use super::{crew, fastcgi};
use crate::config::{Config, SettingInForce};
use crate::wsgi::Mode;

/// Imports the application and prints what it is, and then all settings.
///
/// # Errors
/// Why it could not be served.
pub(super) fn run(config: &Config) -> anyhow::Result<Exit> {
    let settings = &config.worker;
    fastcgi::addresses(&config.listen)?;
    crew::allow_list(&settings.responder)?;
    if settings.explain {
        let mut out = std::io::stdout().lock();
        writeln!(out, "application: none, requests are explained")?;
        print(&config.in_force, &mut out)?;
        return Ok(Exit::Fine);
    }
    WorkingFolder::begin(settings)?;
    let mode = Mode {
        multithread: false,
        multiprocess: false,
        run_once: true,
        debug: settings.debug,
        mount: settings.mount.clone(),
    };
    let (interpreter, application) = python::start_and_load(settings, mode)?;
    let found = interpreter.describe();
    let mut out = std::io::stdout().lock();
    writeln!(out, "python: {}", found.version)?;
    writeln!(out, "executable: {}", found.executable)?;
    writeln!(out, "prefix: {}", found.prefix)?;
    writeln!(out, "libpython: {}", found.library)?;
    writeln!(out, "application: {}", settings.name())?;
    writeln!(out, "file: {}", application.file)?;
    writeln!(out, "type: {}", application.kind)?;
    print(&config.in_force, &mut out)?;
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
