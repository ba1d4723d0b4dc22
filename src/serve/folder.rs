//! The folder that the application is seen from.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::WorkerSettings;
use crate::gateway::closed;
use crate::worker::Failure;

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
    pub(super) fn begin(settings: &WorkerSettings) -> Result<Self, Failure> {
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
    pub(super) fn enter(&self) -> Result<(), Failure> {
        let Some(name) = &self.name else {
            return Ok(());
        };
        match std::env::set_current_dir(name) {
            Err(error) if self.is_named => {
                let reason = closed::to_enter(name).unwrap_or_else(|| error.to_string());
                Err(Failure::Folder {
                    path: name.clone(),
                    reason,
                })
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
