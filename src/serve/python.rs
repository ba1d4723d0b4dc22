//! Starts Python and imports the application, as the operator's options say.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::exit::{NoPython, Usage};
use crate::cli::ApplicationOptions;
use crate::process;
use crate::wsgi::{Application, Interpreter, Mode, Python, Target};

/// Changes to the folder of `--chdir`, from which every other path is seen.
pub(super) fn change_folder(options: &ApplicationOptions) -> anyhow::Result<()> {
    match &options.general.chdir {
        Some(folder) => std::env::set_current_dir(folder).with_context(|| {
            format!(
                "cannot change to the folder {} of --chdir",
                std::path::absolute(folder)
                    .unwrap_or_else(|_| folder.clone())
                    .display()
            )
        }),
        None => Ok(()),
    }
}

/// Starts Python and imports the application.
pub(super) fn start_and_load(
    options: &ApplicationOptions,
    mode: Mode,
) -> anyhow::Result<(Interpreter, Application)> {
    let (interpreter, target) = start(options)?;
    let application = load(&target, mode)?;
    Ok((interpreter, application))
}

/// Starts Python.
pub(super) fn start(options: &ApplicationOptions) -> anyhow::Result<(Interpreter, Target)> {
    process::watch_forks();
    let target = Target::parse(&options.app).map_err(Usage)?;
    let unknown = "the working directory cannot be told";
    let near = target.folders().context(unknown)?;
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let by_variable = std::env::var_os("VIRTUAL_ENV").filter(|venv| !venv.is_empty());
    let by_variable = by_variable
        .filter(|_| options.general.venv.is_none())
        .map(PathBuf::from);
    let named = options.general.venv.clone().or_else(|| by_variable.clone());
    let by_variable = by_variable.map_or("", |_| " (the variable VIRTUAL_ENV names it)");
    let mut path: Vec<PathBuf> = options
        .general
        .pythonpath
        .iter()
        .map(|folder| absolute(folder))
        .collect();
    // As `python -m` does: a module is looked for where one stands. A file's own folder comes before all of these.
    if target.is_module() || options.general.chdir.is_some() {
        path.push(std::env::current_dir().context(unknown)?);
    }
    let python = Python {
        venv: named.map(|venv| absolute(&venv)),
        near,
        path,
        program: options.app.clone(),
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
