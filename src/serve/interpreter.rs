//! Which Python runs the application: the one that the operator names, else the one that the application has beside it, else
//! the machine's.
//!
//! Nothing of it is run here to find out: what it is shows when this process has become it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::config::{InterpreterChoice, Target, WorkerSettings};
use crate::exit::CannotLoad;
use crate::gateway::closed;

/// Where the machine's Python is when PATH does not say: web servers give programs next to nothing.
const USUAL: &str = "/usr/bin/python3";

const MAKE: &str = "make it with 'python3 -m venv', or name another with --venv";

/// Chooses the Python for the application, seen from the working directory. `program`: the file of this program.
///
/// # Errors
/// One sentence: what is not there or cannot be used, and the way out.
pub(super) fn choose(
    settings: &WorkerSettings,
    target: &Target,
    program: &Path,
) -> Result<InterpreterChoice, CannotLoad> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let path = variable("PATH").unwrap_or_default();
    if let Some(named) = &settings.python.program {
        return named_program(named, &path);
    }
    if let Some(venv) = &settings.python.venv {
        return of_venv(venv, "--venv").map_err(CannotLoad::new);
    }
    if let Some(venv) = variable("VIRTUAL_ENV") {
        return of_venv(Path::new(&venv), "VIRTUAL_ENV").map_err(|error| {
            CannotLoad::new(format!("{error} (the variable VIRTUAL_ENV names it)"))
        });
    }
    let near = target.folders().map_err(|error| {
        CannotLoad::new(format!("the working directory cannot be told: {error}"))
    })?;
    let around = near.iter().find_map(|folder| around(folder));
    let beside = || near.iter().find_map(|folder| beside(folder));
    let own = || {
        let venv = program.parent()?.parent()?;
        Some((venv.to_owned(), "the environment of this program")).filter(|_| is_venv(venv))
    };
    if let Some((venv, reason)) = around.or_else(beside).or_else(own) {
        return of_venv(&venv, reason).map_err(CannotLoad::new);
    }
    if let Some(found) = in_path(OsStr::new("python3"), &path) {
        return Ok(choice(found, "the first python3 in PATH"));
    }
    let usual = PathBuf::from(USUAL);
    if usual.exists() {
        return Ok(choice(usual, "there is no python3 in PATH"));
    }
    Err(CannotLoad::new(format!(
        "there is no Python: no python3 in PATH ({}) and no {USUAL}; install it, or name it with --python or --venv",
        Path::new(&path).display()
    )))
}

fn choice(path: PathBuf, reason: &str) -> InterpreterChoice {
    InterpreterChoice {
        path,
        reason: reason.to_owned(),
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn named_program(named: &Path, path: &OsStr) -> Result<InterpreterChoice, CannotLoad> {
    if named.as_os_str().as_bytes().contains(&b'/') {
        return Ok(choice(absolute(named), "--python"));
    }
    match in_path(named.as_os_str(), path) {
        Some(found) => Ok(choice(found, "--python")),
        None => Err(CannotLoad::new(format!(
            "there is no '{}' of --python in PATH ({}): name it with its folder",
            named.display(),
            Path::new(path).display()
        ))),
    }
}

/// The first program of this name in the folders of PATH that this user may execute. An empty one would be the working
/// directory, where anybody may have put something.
fn in_path(name: &OsStr, path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|file| crate::process::may_execute(file))
}

fn is_venv(folder: &Path) -> bool {
    folder.join("pyvenv.cfg").is_file()
}

/// The virtual environment that this folder or one above it is.
fn around(near: &Path) -> Option<(PathBuf, &'static str)> {
    let found = near.ancestors().find(|folder| is_venv(folder))?;
    Some((found.to_owned(), "the application lies in this environment"))
}

/// The one that lies in this folder under a usual name.
fn beside(near: &Path) -> Option<(PathBuf, &'static str)> {
    let venvs = [".venv", "venv"].map(|name| near.join(name));
    let found = venvs.into_iter().find(|venv| is_venv(venv))?;
    Some((found, "the environment beside the application"))
}

fn of_venv(venv: &Path, reason: &str) -> Result<InterpreterChoice, String> {
    let venv = absolute(venv);
    let shown = venv.display();
    let parts = ["pyvenv.cfg", "bin/python3", "bin/python"].map(|part| venv.join(part));
    if let Some(closed) = parts.iter().find_map(|part| closed::on_the_way(part)) {
        return Err(format!(
            "the virtual environment {shown} cannot be used: {closed}"
        ));
    }
    if !venv.exists() {
        return Err(format!("there is no virtual environment {shown}: {MAKE}"));
    }
    if let Err(error) = std::fs::File::open(&parts[0]) {
        return Err(format!(
            "{shown} is no virtual environment (its pyvenv.cfg: {error}): {MAKE}"
        ));
    }
    let found = parts.into_iter().skip(1).find(|path| path.exists());
    let found = found.ok_or_else(|| {
        format!(
            "the virtual environment {shown} has no bin/python3 that exists (its Python may have been removed): {MAKE}"
        )
    })?;
    Ok(choice(found, reason))
}

/// What to say of a Python that cannot be executed.
pub(super) fn cannot_execute(choice: &InterpreterChoice, error: &std::io::Error) -> CannotLoad {
    let (path, reason) = (choice.path.display(), &choice.reason);
    let is = |kind| error.kind() == kind;
    let closed = closed::on_the_way(&choice.path);
    CannotLoad::new(match closed {
        Some(closed) => format!("the Python {path} ({reason}) cannot be started: {closed}"),
        None if is(std::io::ErrorKind::NotFound) && !choice.path.exists() => format!(
            "the Python {path} ({reason}) is not there: install it, or name another with --python or --venv"
        ),
        None if is(std::io::ErrorKind::NotFound) => format!(
            "the Python {path} ({reason}) cannot be started: what its first line or its loader names is not there"
        ),
        None if is(std::io::ErrorKind::PermissionDenied) => format!(
            "the Python {path} ({reason}) cannot be started: {} may not execute it",
            closed::user()
        ),
        None => format!("the Python {path} ({reason}) cannot be started: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::{around, beside, in_path, named_program, of_venv};
    use std::ffi::OsStr;

    #[test]
    fn a_missing_environment_is_one_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let venv = folder.path().join("venv");
        let ask = || of_venv(&venv, "--venv");
        assert!(
            ask()
                .unwrap_err()
                .contains("there is no virtual environment")
        );
        std::fs::create_dir(&venv).unwrap();
        assert!(ask().unwrap_err().contains("is no virtual environment"));
        std::fs::write(venv.join("pyvenv.cfg"), "version = 3.11.0\n").unwrap();
        assert!(ask().unwrap_err().contains("has no bin/python3"));
        std::fs::create_dir(venv.join("bin")).unwrap();
        std::fs::write(venv.join("bin/python"), "").unwrap();
        assert_eq!(ask().unwrap().path, venv.join("bin/python"));
        let inside = venv.join("site/deep");
        assert_eq!(around(&inside).unwrap().0, venv);
        assert_eq!(beside(folder.path()).unwrap().0, venv);
        assert!(beside(&venv).is_none());
    }

    #[test]
    fn a_name_is_looked_for_in_folders_that_are_named_whole() {
        for (path, found) in [
            ("/bin", true),
            ("", false),
            (":bin", false),
            ("/nowhere:/bin", true),
        ] {
            let got = in_path(OsStr::new("sh"), OsStr::new(path));
            assert_eq!(got.is_some(), found, "{path:?}");
        }
        assert!(named_program("nothing-like-that".as_ref(), OsStr::new("/bin")).is_err());
    }
}
