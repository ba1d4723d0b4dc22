//! `start_response` and the `write` that it returns (PEP 3333, "The start_response() Callable").

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::{PyAssertionError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::string::PyStringData;
use pyo3::types::{PyBool, PyInt, PyList, PyString, PyTraceback, PyTuple};

use super::body::log_cut;
use super::exchange::{Response, Shared};
use super::file_wrapper::as_block;
use crate::gateway::Head;

/// The callable that begins a response.
#[pyclass(frozen, module = "wsgi_gateway")]
pub(super) struct StartResponse {
    shared: Arc<Shared>,
}

impl StartResponse {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

/// The imperative way to send a body ("The write() Callable").
#[pyclass(frozen, module = "wsgi_gateway")]
pub(super) struct Write {
    shared: Arc<Shared>,
}

#[pymethods]
impl StartResponse {
    #[pyo3(signature = (status, response_headers, exc_info = None))]
    fn __call__(
        &self,
        py: Python<'_>,
        status: &Bound<'_, PyAny>,
        response_headers: &Bound<'_, PyAny>,
        exc_info: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Write> {
        if let Some(exc_info) = exc_info {
            if py.detach(|| {
                self.shared
                    .lock()
                    .as_ref()
                    .is_some_and(|open| open.has_begun())
            }) {
                // "re-raise the exception" once headers have left: the client must not take two responses for one.
                return Err(raised(exc_info)?);
            }
        }
        let head = head(status, response_headers)?;
        let replaces = exc_info.is_some();
        let started = py.detach(|| {
            let mut guard = self.shared.lock();
            let Some(open) = guard.as_mut() else {
                return Err("start_response was called after its request has ended");
            };
            // Without exc_info a second call is "a fatal error".
            if !matches!(open.response, Response::NotStarted) && !replaces {
                return Err("start_response was called a second time without exc_info");
            }
            if open.has_begun() {
                return Err("the head left while start_response was being called again");
            }
            open.response = Response::Started(head);
            Ok(())
        });
        started.map_err(PyAssertionError::new_err)?;
        Ok(Write {
            shared: Arc::clone(&self.shared),
        })
    }
}

#[pymethods]
impl Write {
    fn __call__(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let block = as_block(data)?.as_bytes();
        let pushed = py.detach(|| {
            let mut guard = self.shared.lock();
            guard.as_mut().map(|open| {
                let pushed = open.push(&[block], false);
                log_cut(open, &pushed);
                pushed
            })
        });
        match pushed {
            Some(pushed) => {
                pushed?;
                Ok(())
            }
            None => Err(PyValueError::new_err(
                "write() was called after its request has ended",
            )),
        }
    }
}

/// The exception of an `exc_info` triple, with its traceback.
fn raised(exc_info: &Bound<'_, PyAny>) -> PyResult<PyErr> {
    let triple = exc_info.cast::<PyTuple>()?;
    let error = PyErr::from_value(triple.get_item(1)?);
    if let Ok(traceback) = triple.get_item(2)?.cast::<PyTraceback>() {
        error.set_traceback(exc_info.py(), Some(traceback.clone()));
    }
    Ok(error)
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
    let kind = object
        .get_type()
        .name()
        .map_or_else(|_| "?".to_owned(), |name| name.to_string());
    format!("{short} of type '{kind}'")
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
