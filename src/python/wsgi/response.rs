//! `start_response` and the `write` that it returns (PEP 3333, "The start_response() Callable").

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::{PyAssertionError, PyBaseException, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::string::PyStringData;
use pyo3::types::{PyBool, PyInt, PyList, PyString, PyTraceback, PyTuple};

use super::body::push_block;
use super::errors::kind;
use super::exchange::RequestSlot;
use super::file_wrapper::as_block;
use super::signals::raised;
use crate::gateway::{Head, StartError};

/// The callable that begins a response.
#[pyclass(frozen, module = "wsgi_gateway")]
pub(super) struct StartResponse {
    request: Arc<RequestSlot>,
}

impl StartResponse {
    pub(super) fn new(request: Arc<RequestSlot>) -> Self {
        Self { request }
    }

    fn start(
        &self,
        status: &Bound<'_, PyAny>,
        response_headers: &Bound<'_, PyAny>,
        replaces: bool,
    ) -> PyResult<()> {
        let head = head(status, response_headers)?;
        let started = match self.request.get() {
            Some(open) => open.exchange.start(head, replaces),
            None => Err(StartError::Over),
        };
        started.map_err(|error| PyAssertionError::new_err(error.to_string()))
    }
}

/// The imperative way to send a body ("The write() Callable").
#[pyclass(frozen, module = "wsgi_gateway")]
pub(super) struct Write {
    request: Arc<RequestSlot>,
}

#[pymethods]
impl StartResponse {
    #[pyo3(signature = (status, response_headers, exc_info = None))]
    fn __call__(
        &self,
        status: &Bound<'_, PyAny>,
        response_headers: &Bound<'_, PyAny>,
        exc_info: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Write> {
        if let Some(exc_info) = exc_info {
            let error = Raised::of(exc_info)?;
            let open = self.request.get();
            if open.is_some_and(|open| open.exchange.has_begun()) {
                // "re-raise the exception" once headers have left: the client must not take two responses for one.
                return Err(error.again()?);
            }
        }
        self.start(status, response_headers, exc_info.is_some())
            .inspect_err(|_| {
                if let Some(open) = self.request.get() {
                    open.note_misuse();
                }
            })?;
        Ok(Write {
            request: Arc::clone(&self.request),
        })
    }
}

#[pymethods]
impl Write {
    fn __call__(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let block = as_block(data)?;
        let Some(open) = self.request.get() else {
            return Err(PyValueError::new_err(
                "write() was called after its request has ended",
            ));
        };
        push_block(py, &open, block).map_err(raised)?;
        Ok(())
    }
}

/// The triple of `exc_info`.
struct Raised<'a, 'py> {
    triple: &'a Bound<'py, PyTuple>,
}

impl<'a, 'py> Raised<'a, 'py> {
    fn of(exc_info: &'a Bound<'py, PyAny>) -> PyResult<Self> {
        let triple = exc_info.cast::<PyTuple>().ok();
        let triple = triple.filter(|triple| triple.len() == 3).ok_or_else(|| {
            PyTypeError::new_err(format!(
                "exc_info must be the tuple of three that sys.exc_info() gives, and is {}",
                shown(exc_info)
            ))
        })?;
        Ok(Self { triple })
    }

    /// The exception, with its traceback, to be raised again.
    fn again(&self) -> PyResult<PyErr> {
        let value = self.triple.get_item(1)?;
        if !value.is_instance_of::<PyBaseException>() {
            return Err(PyAssertionError::new_err(format!(
                "the head has left, and exc_info has no exception to raise again, but {}: sys.exc_info() has one inside \
                 an except block only",
                shown(&value)
            )));
        }
        let error = PyErr::from_value(value);
        if let Ok(traceback) = self.triple.get_item(2)?.cast::<PyTraceback>() {
            error.set_traceback(self.triple.py(), Some(traceback.clone()));
        }
        Ok(error)
    }
}

fn head(status: &Bound<'_, PyAny>, headers: &Bound<'_, PyAny>) -> PyResult<Head> {
    let refused = |error: crate::gateway::HeadError| PyValueError::new_err(error.to_string());
    let mut head = latin1(status, "the status", |bytes| {
        Head::new(bytes).map_err(refused)
    })?;
    let Ok(headers) = headers.cast::<PyList>() else {
        let message = format!(
            "response_headers must be a list of tuples, and is {}",
            shown(headers)
        );
        return Err(PyTypeError::new_err(message));
    };
    for header in headers.iter() {
        let pair = header.cast::<PyTuple>().ok().filter(|pair| pair.len() == 2);
        let Some(pair) = pair else {
            let message = format!(
                "a header must be a (name, value) tuple, and is {}",
                shown(&header)
            );
            return Err(PyTypeError::new_err(message));
        };
        let (name, value) = (pair.get_borrowed_item(0)?, pair.get_borrowed_item(1)?);
        latin1(&name, "a header's name", |name| {
            if is_number(&value) {
                warn_of_number(name);
                return head
                    .field(name, value.str()?.to_str()?.as_bytes())
                    .map_err(refused);
            }
            latin1(&value, "a header's value", |value| {
                head.field(name, value).map_err(refused)
            })
        })?;
    }
    Ok(head)
}

/// Gives the bytes of a native string to `work`: one of latin-1 characters only ("Unicode Issues").
fn latin1<R>(
    text: &Bound<'_, PyAny>,
    what: &str,
    work: impl FnOnce(&[u8]) -> PyResult<R>,
) -> PyResult<R> {
    let Ok(string) = text.cast::<PyString>() else {
        let message = format!("{what} must be a str, and is {}", shown(text));
        return Err(PyTypeError::new_err(message));
    };
    // SAFETY: the string was made by Python and is complete; it cannot change while this reference is held.
    match unsafe { string.data() }? {
        PyStringData::Ucs1(bytes) => work(bytes),
        _ => Err(PyValueError::new_err(format!(
            "{what} has characters outside latin-1: {}",
            shown(text)
        ))),
    }
}

/// `'text'`, shortened, with its type where that is the matter.
fn shown(object: &Bound<'_, PyAny>) -> String {
    let repr = object.repr().map_or_else(
        |_| "?".to_owned(),
        |repr| repr.to_string_lossy().into_owned(),
    );
    let short: String = repr.chars().take(80).collect();
    format!("{short} of type '{}'", kind(object))
}

fn is_number(value: &Bound<'_, PyAny>) -> bool {
    value.is_instance_of::<PyInt>() && !value.is_instance_of::<PyBool>()
}

/// Content-Length as a number is against the PEP and common: said once, and served.
fn warn_of_number(name: &[u8]) {
    static WARNED: AtomicBool = AtomicBool::new(false);
    if !WARNED.swap(true, Ordering::Relaxed) {
        let name = String::from_utf8_lossy(name);
        log::warn!(
            "the application gives {name} as an int where PEP 3333 asks for a str; its digits are sent"
        );
    }
}
