//! Which Python the application wants: a virtual environment named or found, else the interpreter of the build.
//!
//! CPython takes any path for its executable in silence, and a virtual environment of another version only shows as
//! confusing import errors, so both are checked here.

use std::path::{Path, PathBuf};

use crate::gateway::closed;

/// The executable that CPython is told it is, which decides `sys.prefix` and the site-packages.
///
/// # Errors
/// One sentence: what is not there or does not fit, and the way out.
pub(super) fn executable(
    named: Option<&Path>,
    near: &[PathBuf],
    linked: (u8, u8),
) -> Result<PathBuf, String> {
    let venv = match named {
        Some(venv) => Some(venv.to_owned()),
        None => near.iter().find_map(|folder| find(folder)),
    };
    match venv {
        Some(venv) => of_venv(&venv, linked),
        None => {
            let build = PathBuf::from(env!("BUILD_PYTHON"));
            if build.exists() {
                return Ok(build);
            }
            Err(format!(
                "the Python that this gateway was built for, {}, is not there: install it, name a virtual environment \
                 with --venv, or build the gateway again with PYO3_PYTHON=/path/to/python3",
                build.display()
            ))
        }
    }
}

/// The virtual environment that this folder or one above it is.
fn find(near: &Path) -> Option<PathBuf> {
    let found = near
        .ancestors()
        .find(|folder| folder.join("pyvenv.cfg").is_file());
    found.map(Path::to_owned)
}

fn of_venv(venv: &Path, linked: (u8, u8)) -> Result<PathBuf, String> {
    let shown = venv.display();
    let make = "make it with 'python3 -m venv', or name another with --venv";
    let parts = ["pyvenv.cfg", "bin/python3", "bin/python"].map(|part| venv.join(part));
    if let Some(closed) = parts.iter().find_map(|part| closed::on_the_way(part)) {
        return Err(format!(
            "the virtual environment {shown} cannot be used: {closed}"
        ));
    }
    if !venv.exists() {
        return Err(format!("there is no virtual environment {shown}: {make}"));
    }
    let config = std::fs::read_to_string(venv.join("pyvenv.cfg")).map_err(|error| {
        format!("{shown} is no virtual environment (its pyvenv.cfg: {error}): {make}")
    })?;
    if let Some((major, minor)) = version(&config) {
        if (major, minor) != linked {
            return Err(format!(
                "the virtual environment {shown} is of Python {major}.{minor}, and this gateway is linked with Python \
                 {}.{}: make the environment again with that version, or build the gateway for this one",
                linked.0, linked.1
            ));
        }
    }
    let bin = venv.join("bin");
    let found = ["python3", "python"]
        .map(|name| bin.join(name))
        .into_iter()
        .find(|path| path.exists());
    found.ok_or_else(|| {
        format!(
            "the virtual environment {shown} has no bin/python3 that exists (its Python may have been removed): {make}"
        )
    })
}

/// The version that a pyvenv.cfg tells: `version = 3.11.2` (venv) or `version_info = 3.11.2.final.0` (virtualenv, uv).
fn version(config: &str) -> Option<(u8, u8)> {
    config.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        if !matches!(key.trim(), "version" | "version_info") {
            return None;
        }
        let mut parts = value.trim().split('.').map(str::parse);
        Some((parts.next()?.ok()?, parts.next()?.ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::{executable, version};

    #[test]
    fn the_version_is_read_from_either_tool_s_file() {
        assert_eq!(
            version("home = /usr/bin\nversion = 3.11.2\n"),
            Some((3, 11))
        );
        assert_eq!(version("version_info=3.13.5.final.0"), Some((3, 13)));
        assert_eq!(version("home = /usr/bin"), None);
    }

    #[test]
    fn a_missing_or_foreign_environment_is_one_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let venv = folder.path().join("venv");
        let ask = || executable(Some(&venv), &[], (3, 11));
        assert!(
            ask()
                .unwrap_err()
                .contains("there is no virtual environment")
        );
        std::fs::create_dir(&venv).unwrap();
        assert!(ask().unwrap_err().contains("is no virtual environment"));
        std::fs::write(venv.join("pyvenv.cfg"), "version = 3.9.1\n").unwrap();
        assert!(ask().unwrap_err().contains("is of Python 3.9"));
        std::fs::write(venv.join("pyvenv.cfg"), "version = 3.11.1\n").unwrap();
        assert!(ask().unwrap_err().contains("no bin/python3"));
        std::fs::create_dir(venv.join("bin")).unwrap();
        std::fs::write(venv.join("bin/python"), "").unwrap();
        assert_eq!(ask().unwrap(), venv.join("bin/python"));
        let inside = venv.join("app");
        std::fs::create_dir(&inside).unwrap();
        assert_eq!(
            executable(None, &["/nowhere".into(), inside], (3, 11)).unwrap(),
            venv.join("bin/python")
        );
    }
}
