//! `check`: what would be served, by which Python, and with which settings.

use std::io::{Read, Write};

use anyhow::Context as _;

use super::core::Installation;
use super::fastcgi;
use super::folder::WorkingFolder;
use super::launcher::to_log;
use crate::config::{Config, SettingInForce, Work};
use crate::exit::{CannotLoad, Exit};
use crate::process;
use crate::worker::{Failure, FastcgiService};

/// Has Python import the application and print what it is, and then prints all settings.
///
/// # Errors
/// Why it could not be served.
pub(super) fn run(config: &Config) -> Result<Exit, Failure> {
    let settings = &config.worker;
    fastcgi::addresses(&config.listen)?;
    FastcgiService::new(settings.clone(), None)?;
    if settings.explain {
        let mut out = std::io::stdout().lock();
        writeln!(out, "application: none, requests are explained")?;
    } else {
        WorkingFolder::begin(settings)?;
        let exit = import(config)?;
        if exit != Exit::Fine {
            return Ok(exit);
        }
    }
    print(&config.in_force, &mut std::io::stdout().lock())?;
    Ok(Exit::Fine)
}

/// Imports it in a process of its own, which says itself what is wrong.
fn import(config: &Config) -> Result<Exit, Failure> {
    let (mut begun, begins) = process::pipe()?;
    let installation = Installation::find();
    let work = || -> Failure {
        match process::leave_open(&begins) {
            Ok(begins) => {
                let work = Work::Check(begins);
                installation.become_python(&config.worker, work, false, &to_log())
            }
            Err(error) => error.into(),
        }
    };
    let child = || {
        let error = work();
        log::error!("{}", config.with_origins(&format!("{error:#}")));
        // Or it would be taken for what has ended by itself.
        let _ = (&begins).write_all(b"!");
        error.exit() as i32
    };
    // SAFETY: this process has begun no thread.
    let code = unsafe { process::in_child(child) }.context("no process can be made")?;
    drop(begins);
    let mut byte = [0];
    let has_begun = begun.read(&mut byte)? > 0;
    match code {
        _ if has_begun => Ok(Exit::from_code(code)),
        3 => Ok(Exit::CannotLoad),
        code => Err(CannotLoad::new(ended(code)).into()),
    }
}

/// What to say of a Python that has ended before it loaded the core.
fn ended(code: i32) -> String {
    let how = match code {
        0.. => format!("with exit code {code}"),
        _ => format!("by signal {}", -code),
    };
    process::never_began(&how)
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
