//! What comes first in the process that has become Python: its log, its signals, and its application.

use std::fs::File;
use std::os::fd::{OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::runtime::PYTHON;
use crate::config::{BUILD, Launch, Target, Work, WorkerSettings};
use crate::logging::{self, Destination};
use crate::process;
use crate::worker::{Failure, LoadedApplication};
use crate::wsgi::{self, Application, Interpreter, Mode};

/// Takes up what was inherited, but for what the work is about.
pub(super) fn begin(launch: &Launch) -> Result<(), Failure> {
    let settings = &launch.settings.log;
    let file = launch.log.map(inherited).transpose()?;
    let to = match (file, &settings.file) {
        (Some(file), Some(path)) => Destination::Opened(path.clone(), File::from(file)),
        _ => Destination::StandardError,
    };
    logging::start(settings, launch.alone, to)?;
    if launch.build != BUILD {
        log::info!(
            "the program is of build {}, its core of {}",
            launch.build,
            BUILD
        );
    }
    process::watch_forks();
    process::end_of_interrupts();
    wsgi::run_handlers_here();
    if !matches!(launch.work, Work::Cgi(..) | Work::Check(_)) {
        prepare_to_serve().map_err(|error| Failure::Python(error.to_string()))?;
    }
    Ok(())
}

/// What a process needs that serves for long.
fn prepare_to_serve() -> pyo3::PyResult<()> {
    // A library that sets a handler and puts back what was there, or the default, does not mean the gateway.
    wsgi::tell_of_handlers(process::insist_on)?;
    // On the thread that is to be its main one.
    pyo3::Python::attach(|py| pyo3::types::PyModule::import(py, "threading").map(drop))
}

/// A descriptor that was inherited for this process's own use.
pub(super) fn inherited(number: RawFd) -> anyhow::Result<OwnedFd> {
    // SAFETY: the program has left it open for us, and each of its numbers is asked for once.
    unsafe { process::take_inherited(number) }
        .with_context(|| format!("descriptor {number} was not inherited (a wrapper around Python that closes descriptors?)"))
}

/// What the application is told of where it runs.
pub(super) fn mode(launch: &Launch) -> Mode {
    let settings = &launch.settings;
    let serves = !matches!(launch.work, Work::Cgi(..) | Work::Check(_));
    Mode {
        multithread: serves && settings.threads > 1,
        // Also where there is one: its successor is there before it leaves, and a web server that starts processes
        // itself may have started others.
        multiprocess: !matches!(launch.work, Work::Check(_)),
        run_once: !serves,
        by_program: !serves || settings.for_cgi.is_some(),
        debug: settings.debug,
        mount: settings.mount.clone(),
    }
}

/// Imports the application.
///
/// # Errors
/// Why it cannot be served.
pub(super) fn load(launch: &Launch) -> Result<(Interpreter, Application), Failure> {
    let settings = &launch.settings;
    let target = Target::parse(&settings.app)?;
    let path = search_path(settings, &target)?;
    let interpreter = Interpreter::prepare(&settings.app, &path)?;
    let application = Application::load(&target, mode(launch))?;
    Ok((interpreter, application))
}

/// As [`load`], for a worker, with a line in the log of what was loaded.
///
/// # Errors
/// Why it cannot be served.
pub(super) fn load_to_serve(launch: &Launch) -> Result<LoadedApplication, Failure> {
    let (interpreter, application) = load(launch)?;
    log::info!(
        "{} ({}: {}), application {} ({})",
        interpreter.describe(),
        launch.interpreter.path.display(),
        launch.interpreter.reason,
        application.file,
        application.kind
    );
    Ok(LoadedApplication {
        python: &PYTHON,
        application: Box::new(application),
    })
}

fn search_path(settings: &WorkerSettings, target: &Target) -> anyhow::Result<Vec<PathBuf>> {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let named = settings.python.path.iter();
    let mut path: Vec<PathBuf> = named.map(|folder| absolute(folder)).collect();
    // As `python -m` does: a module is looked for where one stands. A file's own folder comes before all of these.
    if target.is_module() || settings.chdir.is_some() {
        path.push(std::env::current_dir().context("the working directory cannot be told")?);
    }
    Ok(path)
}
