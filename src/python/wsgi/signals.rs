//! Signals as a Python program has them: its handlers run while a request waits for its web server, and what the gateway needs of
//! them for itself stays so, whatever the application does with Python's `signal`.

use std::cell::RefCell;
use std::io;
use std::sync::OnceLock;

use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};

use crate::gateway::run_handlers_by;

thread_local! {
    /// What a handler has raised in a wait, until it is raised where that was called.
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// Has Python's handlers run in the waits of this thread, which Python takes for its main one.
pub(crate) fn run_handlers_here() {
    run_handlers_by(|| {
        let checked = Python::attach(|py| py.check_signals());
        checked.map_err(|error| RAISED.set(Some(error))).is_ok()
    });
}

/// The exception for an error of a wait: that of the handler that has ended it, if one has.
pub(super) fn raised(error: io::Error) -> PyErr {
    match error.kind() {
        io::ErrorKind::Interrupted => RAISED.take().unwrap_or_else(|| error.into()),
        _ => error.into(),
    }
}

/// Called with the number of a signal whose handler the application has set.
static HANDLER_WAS_SET: OnceLock<fn(i32)> = OnceLock::new();

/// Has `was_set` called whenever a handler was set by Python's `signal.signal()`, asyncio's among them. Python's own word for what is
/// in force stays, so that it can be asked for and set back.
///
/// # Errors
/// When Python has no memory left.
pub(crate) fn tell_of_handlers(was_set: fn(i32)) -> PyResult<()> {
    let _ = HANDLER_WAS_SET.set(was_set);
    Python::attach(|py| {
        // What all of `signal` comes down to; the module itself, written in Python, asks for it by name at each call.
        let module = py.import("_signal")?;
        let original = module.getattr("signal")?.unbind();
        let set = move |arguments: &Bound<'_, PyTuple>, named: Option<&Bound<'_, PyDict>>| {
            let py = arguments.py();
            let before = original.bind(py).call(arguments, named)?.unbind();
            let number = arguments.get_item(0).and_then(|number| number.extract());
            if let (Ok(number), Some(was_set)) = (number, HANDLER_WAS_SET.get()) {
                was_set(number);
            }
            PyResult::Ok(before)
        };
        let name = Some(c"signal");
        let doc = Some(c"Set the action for the given signal.");
        module.setattr("signal", PyCFunction::new_closure(py, name, doc, set)?)
    })
}
