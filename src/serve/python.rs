//! Starts Python and imports the application, as the operator's options say.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::exit::{NoPython, Usage};
use crate::config::WorkerSettings;
use crate::gateway::closed;
use crate::process;
use crate::wsgi::{Application, Interpreter, Mode, Python, Target};

/// The working directory by its name: a deploy may put another folder there, or point a symbolic link at one.
#[derive(Clone, Debug)]
pub(super) struct WorkingFolder {
    /// Absolute, and with the links in it; none where it was removed before the start.
    name: Option<PathBuf>,
    /// Whether it is that of `--chdir`.
    is_named: bool,
}

impl WorkingFolder {
    /// Changes to the folder of `--chdir`, from which every other path is seen.
    ///
    /// # Errors
    /// When that cannot be done.
    pub(super) fn begin(settings: &WorkerSettings) -> anyhow::Result<Self> {
        let start = start_folder();
        let folder = match &settings.chdir {
            Some(chdir) => Self {
                name: Some(start.unwrap_or_default().join(chdir)),
                is_named: true,
            },
            None => Self {
                name: start,
                is_named: false,
            },
        };
        if folder.is_named {
            folder.enter()?;
        }
        Ok(folder)
    }

    /// Changes to what has this name now, which every process does that is to import the application.
    ///
    /// # Errors
    /// When there is nothing, or a folder is closed. Not without `--chdir`: the operator has not asked to be anywhere, and
    /// may have started the gateway in a folder that is closed for the user of the workers.
    pub(super) fn enter(&self) -> anyhow::Result<()> {
        let Some(name) = &self.name else {
            return Ok(());
        };
        match std::env::set_current_dir(name) {
            Err(error) if self.is_named => {
                let reason = closed::to_enter(name).unwrap_or_else(|| error.to_string());
                bail!(
                    "cannot change to the folder {} of --chdir: {reason}",
                    name.display()
                )
            }
            Err(error) => {
                log::debug!(
                    "the folder {} of the start is kept: {error}",
                    name.display()
                );
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}

/// The folder that this process was started in, by the name that the shell has for it: the kernel's own has no links in it.
fn start_folder() -> Option<PathBuf> {
    let here = std::env::current_dir().ok();
    let number = |path: &Path| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.dev(), found.ino()))
    };
    std::env::var_os("PWD")
        .map(PathBuf::from)
        .filter(|shell| shell.is_absolute() && number(shell).is_some())
        .filter(|shell| number(shell) == number(Path::new(".")))
        .or(here)
}

/// Starts Python and imports the application.
pub(super) fn start_and_load(
    settings: &WorkerSettings,
    mode: Mode,
) -> anyhow::Result<(Interpreter, Application)> {
    let (interpreter, target) = start(settings)?;
    let application = load(&target, mode)?;
    Ok((interpreter, application))
}

/// Starts Python.
pub(super) fn start(settings: &WorkerSettings) -> anyhow::Result<(Interpreter, Target)> {
    process::watch_forks();
    let target = Target::parse(&settings.app).map_err(Usage)?;
    let unknown = "the working directory cannot be told";
    let near = target.folders().context(unknown)?;
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let by_variable = std::env::var_os("VIRTUAL_ENV").filter(|venv| !venv.is_empty());
    let by_variable = by_variable
        .filter(|_| settings.python.venv.is_none())
        .map(PathBuf::from);
    let named = settings.python.venv.clone().or_else(|| by_variable.clone());
    let by_variable = by_variable.map_or("", |_| " (the variable VIRTUAL_ENV names it)");
    let mut path: Vec<PathBuf> = settings
        .python
        .path
        .iter()
        .map(|folder| absolute(folder))
        .collect();
    // As `python -m` does: a module is looked for where one stands. A file's own folder comes before all of these.
    if target.is_module() || settings.chdir.is_some() {
        path.push(std::env::current_dir().context(unknown)?);
    }
    let python = Python {
        venv: named.map(|venv| absolute(&venv)),
        near,
        path,
        program: settings.app.clone(),
    };
    let interpreter = Interpreter::start(&python).map_err(|error| NoPython(error + by_variable))?;
    Ok((interpreter, target))
}

/// Imports the application.
pub(super) fn load(target: &Target, mode: Mode) -> anyhow::Result<Application> {
    let application = Application::load(target, mode).inspect_err(|error| {
        if let Some(traceback) = &error.traceback {
            log::error!("the application cannot be loaded\n{}", traceback.trim_end());
        }
    })?;
    Ok(application)
}
