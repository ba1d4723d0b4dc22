//! `wsgi.errors` (PEP 3333, "Input and Error Streams"), and the text of a traceback.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::exchange::RequestSlot;

/// The request's error stream. What is written after the request goes to the log alone.
#[pyclass(frozen, module = "wsgi_gateway")]
pub(super) struct Errors {
    request: Arc<RequestSlot>,
}

impl Errors {
    pub(super) fn new(request: Arc<RequestSlot>) -> Self {
        Self { request }
    }
}

#[pymethods]
impl Errors {
    fn write(&self, py: Python<'_>, text: &Bound<'_, PyString>) -> PyResult<usize> {
        let bytes = encoded(text)?;
        py.detach(|| match self.request.get() {
            Some(open) => open.exchange.report(&bytes),
            None => {
                let text = String::from_utf8_lossy(&bytes);
                log::error!(target: "wsgi.errors", "{}", text.trim_end_matches('\n'));
            }
        });
        text.len()
    }

    fn writelines(&self, py: Python<'_>, lines: &Bound<'_, PyAny>) -> PyResult<()> {
        for line in lines.try_iter()? {
            self.write(py, line?.cast::<PyString>()?)?;
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
