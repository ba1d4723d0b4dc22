//! The Python that this process has become, made what the application expects of it: nothing that its owner has not set up
//! himself, and nothing of how it came to load the core.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use pyo3::ffi;
use pyo3::prelude::*;

use super::timeout::offer_module;
use super::venv;
use crate::exit::CannotLoad;

/// The Python of this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interpreter;

impl Interpreter {
    /// Makes Python as it is for a script of this name: `sys.argv`, and folders in front of `sys.path`, first first.
    ///
    /// # Errors
    /// One sentence about a virtual environment that does not fit, or what Python has to say.
    pub(crate) fn prepare(program: &OsStr, path: &[PathBuf]) -> Result<Self, CannotLoad> {
        Python::attach(|py| {
            let refused = |error| CannotLoad::new(told(error));
            if let Some(mismatch) = mismatch(py).map_err(refused)? {
                return Err(CannotLoad::new(mismatch));
            }
            forget_the_start(py, program).map_err(refused)?;
            insert_paths(py, path).map_err(refused)?;
            offer_module(py).map_err(refused)?;
            Ok(Self)
        })
    }

    /// Makes what was imported so far last: the collector leaves it alone, so that its memory stays shared between this
    /// process and those that are forked from it. Gives how many threads the application has started, which will be
    /// missing there.
    pub(crate) fn freeze(self) -> usize {
        let freeze = |py: Python<'_>| -> PyResult<()> {
            let gc = py.import("gc")?;
            gc.call_method0("collect")?;
            gc.call_method0("freeze")?;
            Ok(())
        };
        if let Err(error) = Python::attach(freeze) {
            // Made text before, as that is Python's work.
            let error = error.to_string();
            log::debug!("gc.freeze failed: {error}");
        }
        let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
        threads.saturating_sub(1)
    }

    /// Forks with `fork`, which tells whether it has returned in the child, and has Python prepare for it and settle
    /// after it: random numbers are seeded anew, what was registered by `os.register_at_fork` runs.
    pub(crate) fn around_fork<T>(self, fork: impl FnOnce() -> (T, bool)) -> T {
        Python::attach(|_| {
            // SAFETY: this thread is attached, and each of the calls is made at its place around the fork, as the C API
            // asks for.
            unsafe {
                ffi::PyOS_BeforeFork();
                let (forked, is_child) = fork();
                if is_child {
                    ffi::PyOS_AfterFork_Child();
                } else {
                    ffi::PyOS_AfterFork_Parent();
                }
                forked
            }
        })
    }

    /// Which Python it is.
    pub(crate) fn describe(self) -> Description {
        Python::attach(|py| {
            let sys = py.import("sys").ok();
            let word = |name| -> String {
                let value = sys.as_ref().and_then(|sys| sys.getattr(name).ok());
                value
                    .and_then(|value| value.extract().ok())
                    .unwrap_or_default()
            };
            Description {
                version: Python::version_str()
                    .split(' ')
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
                executable: word("executable"),
                prefix: word("prefix"),
            }
        })
    }

    /// Whether threads run Python code at the same time (a free-threaded build with its lock off).
    pub(crate) fn is_parallel(self) -> bool {
        Python::attach(|py| {
            let enabled = py
                .import("sys")
                .and_then(|sys| sys.call_method0("_is_gil_enabled"));
            enabled.is_ok_and(|enabled| !enabled.is_truthy().unwrap_or(true))
        })
    }
}

/// Which Python it is.
#[derive(Debug)]
pub(crate) struct Description {
    /// `3.11.2`.
    pub(crate) version: String,
    /// `sys.executable`.
    pub(crate) executable: String,
    /// `sys.prefix`: the virtual environment, or where the Python is installed.
    pub(crate) prefix: String,
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Python {} of {}", self.version, self.prefix)
    }
}

fn told(error: PyErr) -> String {
    error.to_string()
}

fn mismatch(py: Python<'_>) -> PyResult<Option<String>> {
    let sys = py.import("sys")?;
    let prefix: PathBuf = sys.getattr("prefix")?.extract()?;
    let base: PathBuf = sys.getattr("base_prefix")?.extract()?;
    if prefix == base {
        return Ok(None);
    }
    let version = py.version_info();
    Ok(venv::mismatch(&prefix, (version.major, version.minor)))
}

/// `python -c` has put the working directory in front of `sys.path`, its words into `sys.argv`, and what it runs into `__main__`.
fn forget_the_start(py: Python<'_>, program: &OsStr) -> PyResult<()> {
    let sys = py.import("sys")?;
    let path = sys.getattr("path")?;
    let first: Option<OsString> = path.get_item(0).and_then(|first| first.extract()).ok();
    if first.is_some_and(|first| first.is_empty()) {
        path.del_item(0)?;
    }
    sys.setattr("argv", [program])?;
    if sys.hasattr("orig_argv")? {
        sys.setattr("orig_argv", (sys.getattr("executable")?, program))?;
        let list = py.import("builtins")?.getattr("list")?;
        let words = list.call1((sys.getattr("orig_argv")?,))?;
        sys.setattr("orig_argv", words)?;
    }
    let main = py.import("__main__")?.dict();
    let names: Vec<String> = main.keys().extract()?;
    for name in names.iter().filter(|name| !name.starts_with("__")) {
        main.del_item(name)?;
    }
    Ok(())
}

fn insert_paths(py: Python<'_>, paths: &[PathBuf]) -> PyResult<()> {
    let sys_path = py.import("sys")?.getattr("path")?;
    for path in paths.iter().rev() {
        sys_path.call_method1("insert", (0, Path::as_os_str(path)))?;
    }
    Ok(())
}
