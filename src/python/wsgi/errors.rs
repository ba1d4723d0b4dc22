//! `wsgi.errors` (PEP 3333, "Input and Error Streams"), and the text of a traceback.

use std::sync::Arc;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView, PyString};

use super::exchange::RequestSlot;

/// What the request's error stream has as text and as bytes alike. What is written after the request goes to the log alone.
/// Beside what the PEP names it has what programs use of `sys.stderr`, as some put it there.
#[pyclass(frozen, subclass, module = "wsgi_gateway")]
pub(super) struct ErrorStream {
    request: Arc<RequestSlot>,
}

/// The request's error stream.
#[pyclass(frozen, extends = ErrorStream, module = "wsgi_gateway")]
pub(super) struct Errors;

/// The same for bytes: `buffer`, as text streams have it.
#[pyclass(frozen, extends = ErrorStream, module = "wsgi_gateway")]
struct ErrorBytes;

impl Errors {
    pub(super) fn of(request: Arc<RequestSlot>) -> (Self, ErrorStream) {
        (Self, ErrorStream { request })
    }
}

impl ErrorStream {
    /// Reports these bytes to the web server while the request lasts, else to the log.
    fn report(&self, py: Python<'_>, bytes: &[u8]) {
        py.detach(|| match self.request.get() {
            Some(open) => open.exchange.report(bytes),
            None => {
                let text = String::from_utf8_lossy(bytes);
                log::error!(target: "wsgi.errors", "{}", text.trim_end_matches('\n'));
            }
        });
    }
}

/// What `fileno()` raises of a stream without a descriptor, in Python's own words.
fn no_descriptor(py: Python<'_>) -> PyResult<i32> {
    let error = py.import("io")?.getattr("UnsupportedOperation")?;
    Err(PyErr::from_value(error.call1(("fileno",))?))
}

#[pymethods]
impl ErrorStream {
    #[classattr]
    #[pyo3(name = "name")]
    const NAME: &str = "<wsgi.errors>";
    #[classattr]
    #[pyo3(name = "closed")]
    const CLOSED: bool = false;

    fn writelines(slf: &Bound<'_, Self>, lines: &Bound<'_, PyAny>) -> PyResult<()> {
        for line in lines.try_iter()? {
            slf.call_method1("write", (line?,))?;
        }
        Ok(())
    }

    fn flush(&self, py: Python<'_>) {
        py.detach(|| {
            if let Some(open) = self.request.get() {
                open.exchange.flush_reports();
            }
        });
    }

    /// The stream is the web server's: it stays open, whoever closes it.
    fn close(&self, py: Python<'_>) {
        self.flush(py);
    }

    fn isatty(&self) -> bool {
        false
    }

    fn readable(&self) -> bool {
        false
    }

    fn writable(&self) -> bool {
        true
    }

    fn seekable(&self) -> bool {
        false
    }

    fn fileno(&self, py: Python<'_>) -> PyResult<i32> {
        no_descriptor(py)
    }
}

#[pymethods]
impl Errors {
    #[classattr]
    #[pyo3(name = "encoding")]
    const ENCODING: &str = "utf-8";
    #[classattr]
    #[pyo3(name = "errors")]
    const ERRORS: &str = "backslashreplace";
    #[classattr]
    #[pyo3(name = "mode")]
    const MODE: &str = "w";
    #[classattr]
    #[pyo3(name = "newlines")]
    const NEWLINES: Option<&str> = None;
    #[classattr]
    #[pyo3(name = "line_buffering")]
    const LINE_BUFFERING: bool = true;

    fn write(slf: &Bound<'_, Self>, text: &Bound<'_, PyAny>) -> PyResult<usize> {
        let text = text.cast::<PyString>().map_err(|_| {
            PyTypeError::new_err(format!(
                "wsgi.errors is a text stream: write() takes a str, and not '{}'; bytes go to its buffer",
                kind(text)
            ))
        })?;
        let bytes = encoded(text)?;
        slf.as_super().get().report(slf.py(), &bytes);
        text.len()
    }

    #[getter]
    fn buffer(slf: &Bound<'_, Self>) -> PyResult<Py<ErrorBytes>> {
        let request = Arc::clone(&slf.as_super().get().request);
        Py::new(slf.py(), (ErrorBytes, ErrorStream { request }))
    }
}

#[pymethods]
impl ErrorBytes {
    #[classattr]
    #[pyo3(name = "mode")]
    const MODE: &str = "wb";

    fn write(slf: &Bound<'_, Self>, data: &Bound<'_, PyAny>) -> PyResult<usize> {
        let bytes = match data.cast::<PyBytes>() {
            Ok(bytes) => bytes.clone(),
            Err(_) => {
                let view = PyMemoryView::from(data).map_err(|_| {
                    PyTypeError::new_err(format!(
                        "the buffer of wsgi.errors takes bytes, and not '{}'; a str goes to wsgi.errors itself",
                        kind(data)
                    ))
                })?;
                view.call_method0("tobytes")?.cast_into()?
            }
        };
        slf.as_super().get().report(slf.py(), bytes.as_bytes());
        Ok(bytes.as_bytes().len())
    }
}

/// The name of an object's type, for messages.
pub(super) fn kind(object: &Bound<'_, PyAny>) -> String {
    let name = object.get_type().name();
    name.map_or_else(|_| "?".to_owned(), |name| name.to_string())
}

/// The text as UTF-8; what UTF-8 cannot say is escaped, since an error message is no place for another error.
fn encoded(text: &Bound<'_, PyString>) -> PyResult<Vec<u8>> {
    if let Ok(text) = text.to_str() {
        return Ok(text.as_bytes().to_vec());
    }
    let bytes = text.call_method1("encode", ("utf-8", "backslashreplace"))?;
    Ok(bytes.cast::<PyBytes>()?.as_bytes().to_vec())
}

/// An exception as Python prints it.
pub(super) fn traceback(py: Python<'_>, error: &PyErr) -> String {
    let lines = || -> PyResult<String> {
        let format = py.import("traceback")?.getattr("format_exception")?;
        let lines = format.call1((error.get_type(py), error.value(py), error.traceback(py)))?;
        let text = PyString::new(py, "").call_method1("join", (lines,))?;
        let bytes = encoded(text.cast::<PyString>()?)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    lines().unwrap_or_else(|_| format!("{error}\n"))
}
