//! Where Python is, told from inside the process by faulthandler: it needs no lock of Python's and no other process's
//! leave, so that it works where a thread is stuck, and in a container.

use std::sync::mpsc;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Has these signals write Python's stacks to a descriptor: `one` that of the thread that gets it, which does no harm;
/// `all` those of all threads. A fatal signal writes all to standard error.
///
/// # Errors
/// What faulthandler has to say.
pub(crate) fn write_stacks_on(one: i32, all: i32, fd: i32) -> Result<(), String> {
    let register = |py: Python<'_>| -> PyResult<()> {
        let faulthandler = py.import("faulthandler")?;
        for (signal, all_threads) in [(one, false), (all, true)] {
            let how = PyDict::new(py);
            how.set_item("file", fd)?;
            how.set_item("all_threads", all_threads)?;
            faulthandler.call_method("register", (signal,), Some(&how))?;
        }
        let how = PyDict::new(py);
        how.set_item("file", 2)?;
        faulthandler.call_method("enable", (), Some(&how))?;
        Ok(())
    };
    Python::attach(register).map_err(|error| error.to_string())
}

/// Whether Python's lock can be had within this time. It cannot where a thread is in C code that keeps it: Python code
/// gives it up every few milliseconds. To be called where the process is about to end, as the thread that asks may wait
/// for ever.
pub(crate) fn lock_is_free(within: Duration) -> bool {
    let (tell, told) = mpsc::channel();
    let asked = std::thread::Builder::new().spawn(move || {
        Python::attach(|_| ());
        let _ = tell.send(());
    });
    asked.is_err() || told.recv_timeout(within).is_ok()
}

/// How many modules Python has imported.
pub(crate) fn imported_count() -> usize {
    let count = |py: Python<'_>| -> PyResult<usize> { py.import("sys")?.getattr("modules")?.len() };
    Python::attach(count).unwrap_or_default()
}

/// The files of the modules that Python has imported, one a line; none where it could not be started.
pub(crate) fn imported_files() -> String {
    let list = |py: Python<'_>| -> PyResult<Vec<String>> {
        let modules = py.import("sys")?.getattr("modules")?;
        let modules = modules.call_method0("copy")?.call_method0("values")?;
        let mut files = Vec::new();
        for module in modules.try_iter()? {
            let file = module?.getattr("__file__").and_then(|file| file.extract());
            files.extend(file);
        }
        Ok(files)
    };
    Python::try_attach(|py| list(py).unwrap_or_default())
        .unwrap_or_default()
        .join("\n")
}
