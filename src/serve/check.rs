//! `check`: what would be served, by which Python, and with which settings.

use std::io::{ErrorKind, Read, Write};

use anyhow::Context as _;

use super::control;
use super::core::Installation;
use super::fastcgi;
use super::folder::WorkingFolder;
use super::launcher::{self, to_log};
use super::persistent;
use crate::config::{self, Config, Origin, SettingInForce, Work};
use crate::exit::{CannotLoad, Exit};
use crate::process::{self, Identity};
use crate::worker::{Failure, FastcgiService};

/// Looks as the gateway will, has Python import the application and print what it is, and then prints settings.
///
/// # Errors
/// Why it could not be served.
pub(super) fn run(config: &Config) -> Result<Exit, Failure> {
    let settings = &config.worker;
    fastcgi::know_application(settings)?;
    let mut service = FastcgiService::new(settings.clone(), None)?;
    let identity = fastcgi::identity(&config.master)?;
    let mut open_files = 0;
    service.fit(|wanted| {
        let told = identity.open_files();
        open_files = told.unwrap_or_else(|| process::raise_descriptor_limit(wanted));
        open_files
    });
    let folder = WorkingFolder::begin(settings)?;
    let owner = fastcgi::socket_owner(&config.listen);
    for address in fastcgi::addresses(&config.listen)? {
        process::look_at(&address, &owner)?;
    }
    control::look(config)?;
    if settings.explain {
        let mut out = std::io::stdout().lock();
        writeln!(out, "ok: requests would be explained")?;
        writeln!(out, "application: none, requests are explained")?;
    } else {
        let exit = import(config, &identity, &folder)?;
        if exit != Exit::Fine {
            return Ok(exit);
        }
    }
    let shown: Vec<SettingInForce> = config
        .in_force
        .iter()
        .filter(|told| config.shows_all || told.origin != Origin::Default)
        .map(|told| in_force(told, config, open_files))
        .collect();
    match print(&shown, &mut std::io::stdout().lock()) {
        // Whoever reads it has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Exit::Fine),
        printed => Ok(printed.map(|()| Exit::Fine)?),
    }
}

/// The setting, with the value that comes of a default that is a rule.
fn in_force(told: &SettingInForce, config: &Config, open_files: u64) -> SettingInForce {
    let (worker, master) = match config.persistent {
        true => persistent::in_force(config),
        false => (config.worker.clone(), config.master.clone()),
    };
    let (min, max) = launcher::sizes(&master);
    let rule = |plain: &str| match config.persistent {
        true => "with --persistent".to_owned(),
        false => plain.to_owned(),
    };
    let value = match told.key.as_str() {
        _ if told.origin != Origin::Default => None,
        "workers" => Some(format!("{max} ({})", rule("the number of CPUs"))),
        "min-workers" => Some(format!("{min} ({})", rule("as many as --workers"))),
        "idle-timeout" => {
            let time = master.idle_timeout.unwrap_or(config::IDLE_TIMEOUT);
            Some(format!("{}s", time.as_secs()))
        }
        "max-rss" => {
            let limit = worker.recycling.rss.map(|rss| format!("{}M", rss >> 20));
            Some(limit.unwrap_or_else(|| "no limit".to_owned()))
        }
        "max-open-files" => Some(format!("{open_files} (what --max-connections needs)")),
        "log-format" => Some("text".to_owned()),
        _ => None,
    };
    SettingInForce {
        value: value.unwrap_or_else(|| told.value.clone()),
        ..told.clone()
    }
}

/// Imports it in a process of its own, as the user of the workers, which says itself what is wrong.
fn import(config: &Config, identity: &Identity, folder: &WorkingFolder) -> Result<Exit, Failure> {
    let (mut begun, begins) = process::pipe()?;
    let installation = Installation::find();
    let work = || -> Failure {
        let begun = || -> Result<_, Failure> {
            identity.take_on()?;
            folder.enter()?;
            Ok(process::leave_open(&begins)?)
        };
        match begun() {
            Ok(begins) => {
                let work = Work::Check(begins);
                installation.become_python(&config.worker, work, false, &to_log())
            }
            Err(error) => error,
        }
    };
    let child = || {
        let error = work();
        log::error!("{}", config.with_origins(&format!("{error:#}")));
        // Or it would be taken for what has ended by itself.
        let _ = (&begins).write_all(b"!!");
        error.exit() as i32
    };
    // SAFETY: this process has begun no thread.
    let code = unsafe { process::in_child(child) }.context("no process can be made")?;
    drop(begins);
    // Who has ended has written it; children of the application may have the pipe still.
    let told = begun.read(&mut [0; 2]).unwrap_or(0);
    match (told, code) {
        (0, 3) => Ok(Exit::CannotLoad),
        (0, code) => Err(CannotLoad::new(ended(code)).into()),
        (1, 0..) => Err(CannotLoad::new(process::ended_itself(code)).into()),
        (1, _) => Err(CannotLoad::new(format!(
            "the process that loaded the application died by signal {}",
            -code
        ))
        .into()),
        _ => Ok(Exit::from_code(code)),
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
    if settings.is_empty() {
        return Ok(());
    }
    writeln!(out, "settings:")?;
    for SettingInForce { key, value, origin } in settings {
        writeln!(out, "  {key:keys$}  {value:values$}  {origin}")?;
    }
    Ok(())
}
