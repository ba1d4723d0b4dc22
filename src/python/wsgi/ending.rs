//! The end of Python's process: what Python's own does for the application, and not the taking apart of an interpreter that the
//! kernel is about to take back whole, which costs as much as many a request.

use pyo3::prelude::*;
use pyo3::types::{PyList, PyType};

/// Waits for threads that are no daemons, runs `atexit` functions and writes what is left in buffers, as Py_FinalizeEx() does in
/// this order.
pub(crate) fn end() {
    Python::attach(|py| {
        let steps: [fn(Python<'_>) -> PyResult<()>; 3] = [join_threads, run_exit_functions, flush];
        for step in steps {
            if let Err(error) = step(py) {
                error.print(py);
            }
        }
    });
}

fn join_threads(py: Python<'_>) -> PyResult<()> {
    let modules = py.import("sys")?.getattr("modules")?;
    if let Ok(threading) = modules.get_item("threading") {
        threading.call_method0("_shutdown")?;
    }
    Ok(())
}

fn run_exit_functions(py: Python<'_>) -> PyResult<()> {
    // What one of them raises it prints itself.
    py.import("atexit")?.call_method0("_run_exitfuncs")?;
    Ok(())
}

/// Writes what is left in the buffers of files that are open: those that the application has left to be closed when its modules
/// are taken apart. Text before the bytes that it becomes.
fn flush(py: Python<'_>) -> PyResult<()> {
    let sys = py.import("sys")?;
    for name in ["stdout", "stderr"] {
        if let Ok(stream) = sys.getattr(name) {
            if !stream.is_none() {
                let _ = stream.call_method0("flush");
            }
        }
    }
    let io = py.import("_io")?;
    let objects = py.import("gc")?.call_method0("get_objects")?;
    let objects = objects.cast::<PyList>()?;
    for name in ["TextIOWrapper", "BufferedWriter", "BufferedRandom"] {
        let class = io.getattr(name)?.cast_into::<PyType>()?;
        for object in objects.iter() {
            if object.is_instance(&class)? {
                // One that is closed, or whose file takes no more.
                let _ = object.call_method0("flush");
            }
        }
    }
    Ok(())
}
