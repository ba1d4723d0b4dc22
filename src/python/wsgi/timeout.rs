//! The exception that gets the application out of a request that takes too long, and how it comes into a thread that runs, or
//! waits for something else.

use std::ffi::{c_long, c_ulong};

use pyo3::create_exception;
use pyo3::exceptions::PyBaseException;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyModule, PyTuple};

/// The name of the module that the application imports it from.
const MODULE: &str = "wsgi_gateway";

create_exception!(
    wsgi_gateway,
    RequestTimeout,
    PyBaseException,
    "Raised in a request that takes longer than --request-timeout. Its client has its answer already: what is left to do is to \
     leave things behind in order."
);

/// Has `import wsgi_gateway` give a module with the exception, in place of any other of that name: who writes it means this one.
///
/// # Errors
/// When Python has no memory left.
pub(super) fn offer_module(py: Python<'_>) -> PyResult<()> {
    let module = PyModule::new(py, MODULE)?;
    module.setattr(
        "__doc__",
        "What the gateway has for the application that it serves.",
    )?;
    module.add("RequestTimeout", py.get_type::<RequestTimeout>())?;
    py.import("sys")?
        .getattr("modules")?
        .set_item(MODULE, module)
}

/// Python's number for the thread that calls this, as `threading.get_ident()` gives it.
pub(crate) fn this_thread() -> c_ulong {
    // SAFETY: it asks the system for the thread's number, and needs nothing of Python's.
    unsafe { ffi::PyThread_get_thread_ident() }
}

/// Has this signal raise the exception on the main thread, which calls this, where `is_due` says so there. As a signal of the
/// application's own it ends what Python waits for (PEP 475): a sleep, a lock, a socket.
///
/// # Errors
/// What Python has to say.
pub(crate) fn raise_timeout_on(
    signal: i32,
    is_due: Box<dyn Fn() -> bool + Send + Sync>,
) -> Result<(), String> {
    let handle = move |_: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| match is_due() {
        true => Err(RequestTimeout::new_err(
            "the request takes longer than --request-timeout",
        )),
        false => Ok(()),
    };
    let register = |py: Python<'_>| -> PyResult<()> {
        let name = Some(c"request_timeout");
        let doc = Some(
            c"Raise RequestTimeout in the request that this thread has, if it takes too long.",
        );
        let handler = PyCFunction::new_closure(py, name, doc, handle)?;
        py.import("_signal")?
            .call_method1("signal", (signal, handler))
            .map(drop)
    };
    Python::attach(register).map_err(|error| error.to_string())
}

/// Gives `work` what raises the exception in the thread of that number when it runs Python code next.
pub(crate) fn raise_timeout(work: impl FnOnce(&dyn Fn(c_ulong))) {
    Python::attach(|py| {
        let exception = py.get_type::<RequestTimeout>();
        work(&|thread| set_exception(thread, exception.as_ptr()));
    });
}

/// Takes back what was to be raised in the thread that calls this, and was not.
pub(crate) fn forget_timeout() {
    Python::attach(|_| set_exception(this_thread(), std::ptr::null_mut()));
}

/// To be called attached to Python, with an exception's type, or with nothing to take one back.
fn set_exception(thread: c_ulong, exception: *mut ffi::PyObject) {
    // What Python takes for an unsigned number (since 3.7) is declared as a signed one; the bits are the same.
    let thread = c_long::from_ne_bytes(thread.to_ne_bytes());
    // SAFETY: the callers are attached, and `exception` is null or an object that lives through the call, of which it takes a
    // reference of its own. A number that is no thread's has no effect.
    unsafe { ffi::PyThreadState_SetAsyncExc(thread, exception) };
}
