//! `wsgi.input` (PEP 3333, "Input and Error Streams"), with the semantics of `io.BufferedIOBase`: never past
//! CONTENT_LENGTH, `b""` at the end, an OSError for a body that ends too early, a ValueError after the request.

use std::io;
use std::sync::Arc;

use pyo3::exceptions::{PyMemoryError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyMemoryView, PySlice};

use super::exchange::{Open, Shared};

/// The request's body.
#[pyclass(frozen, module = "wsgi_gateway")]
pub(super) struct Input {
    shared: Arc<Shared>,
}

/// Bytes that one step of a read of unknown length asks for.
const STEP: usize = 64 * 1024;

impl Input {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Does something with the body that may wait, detached from Python; `work` is done again where it left off.
    fn detached<R: Send>(
        &self,
        py: Python<'_>,
        work: impl FnMut(&mut Open) -> io::Result<R> + Send,
    ) -> PyResult<R> {
        let done = py.detach(|| self.shared.with_body(work));
        done.ok_or_else(over)?.map_err(|error| match error.kind() {
            io::ErrorKind::OutOfMemory => PyMemoryError::new_err(()),
            _ => error.into(),
        })
    }

    /// The next bytes where they are all here, so that nothing has to be waited for.
    fn here<'py>(
        &self,
        py: Python<'py>,
        size: Option<usize>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let Some(mut guard) = self.shared.try_lock() else {
            return Ok(None);
        };
        let Some(open) = guard.as_mut() else {
            return Err(over());
        };
        let left = open
            .body_left()
            .map(|left| usize::try_from(left).unwrap_or(usize::MAX));
        let wanted = match (size, left) {
            (Some(size), Some(left)) => size.min(left),
            (Some(size), None) => size,
            (None, Some(left)) => left,
            (None, None) => return Ok(None),
        };
        if open.buffered().len() < wanted {
            return Ok(None);
        }
        let bytes = PyBytes::new(py, &open.buffered()[..wanted]);
        open.consume(wanted);
        Ok(Some(bytes))
    }

    /// Reads a known number of bytes straight into a new bytes object; fewer where the body ends.
    fn read_known<'py>(&self, py: Python<'py>, size: usize) -> PyResult<Bound<'py, PyBytes>> {
        let length = ffi::Py_ssize_t::try_from(size)?;
        // SAFETY: with a null pointer the call makes a bytes object of that length whose bytes nobody has set, or
        // returns null with an exception.
        let mut bytes = unsafe {
            let bytes = ffi::PyBytes_FromStringAndSize(std::ptr::null(), length);
            Bound::from_owned_ptr_or_err(py, bytes)?.cast_into_unchecked::<PyBytes>()
        };
        // SAFETY: the object was made above and nobody else has it, so that its `size` bytes are ours to write, also
        // while detached. u8 has no invalid values; they are only written before they count as read.
        let place = unsafe {
            let start = ffi::PyBytes_AsString(bytes.as_ptr()).cast::<u8>();
            std::slice::from_raw_parts_mut(start, size)
        };
        let mut count = 0;
        self.detached(py, |open| {
            while count < size {
                match open.read(&mut place[count..])? {
                    0 => break,
                    read => count += read,
                }
            }
            Ok(())
        })?;
        if count < size {
            bytes = PyBytes::new(py, &bytes.as_bytes()[..count]);
        }
        Ok(bytes)
    }

    /// Reads up to `size` bytes of a body whose length nobody announced, with no more room than what comes needs.
    fn read_unannounced<'py>(&self, py: Python<'py>, size: usize) -> PyResult<Bound<'py, PyBytes>> {
        let mut bytes = Vec::new();
        self.detached(py, |open| {
            while bytes.len() < size && open.fill()? {
                let here = open.buffered();
                let here = &here[..here.len().min(size - bytes.len())];
                let count = here.len();
                append(&mut bytes, here)?;
                open.consume(count);
            }
            Ok(())
        })?;
        new_bytes(py, &bytes)
    }

    fn read_line<'py>(&self, py: Python<'py>, most: usize) -> PyResult<Bound<'py, PyBytes>> {
        let mut line = Vec::new();
        self.detached(py, |open| {
            while line.len() < most && open.fill()? {
                let here = open.buffered();
                let here = &here[..here.len().min(most - line.len())];
                let end = here.iter().position(|&byte| byte == b'\n');
                let count = end.map_or(here.len(), |end| end + 1);
                append(&mut line, &here[..count])?;
                open.consume(count);
                if end.is_some() {
                    break;
                }
            }
            Ok(())
        })?;
        new_bytes(py, &line)
    }
}

/// Adds to a buffer that a client can make as large as it likes: without memory the request fails, not the process.
fn append(buffer: &mut Vec<u8>, bytes: &[u8]) -> io::Result<()> {
    buffer
        .try_reserve(bytes.len())
        .map_err(|_| io::ErrorKind::OutOfMemory)?;
    buffer.extend_from_slice(bytes);
    Ok(())
}

/// A bytes object, or a MemoryError.
fn new_bytes<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    PyBytes::new_with(py, bytes.len(), |place| {
        place.copy_from_slice(bytes);
        Ok(())
    })
}

/// A size argument: `None` and negative numbers mean "all".
fn wanted(size: Option<isize>) -> Option<usize> {
    size.and_then(|size| usize::try_from(size).ok())
}

/// Puts what `read` gives into a writable buffer.
fn fill_buffer<'py>(
    buffer: &Bound<'py, PyAny>,
    read: impl FnOnce(isize) -> PyResult<Bound<'py, PyBytes>>,
) -> PyResult<usize> {
    let place = PyMemoryView::from(buffer)?.call_method1("cast", ("B",))?;
    let bytes = read(isize::try_from(place.len()?)?)?;
    let count = bytes.as_bytes().len();
    place.set_item(
        PySlice::new(buffer.py(), 0, isize::try_from(count)?, 1),
        bytes,
    )?;
    Ok(count)
}

fn over() -> PyErr {
    PyValueError::new_err("I/O operation on wsgi.input after its request has ended")
}

#[pymethods]
impl Input {
    #[pyo3(signature = (size = None, /))]
    fn read<'py>(&self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        let size = wanted(size);
        if let Some(bytes) = self.here(py, size)? {
            return Ok(bytes);
        }
        let left = self.detached(py, |open| Ok(open.body_left()))?;
        let left = left.map(|left| usize::try_from(left).unwrap_or(usize::MAX));
        match (size, left) {
            (size, Some(left)) => self.read_known(py, size.unwrap_or(left).min(left)),
            (size, None) => self.read_unannounced(py, size.unwrap_or(usize::MAX)),
        }
    }

    /// As `io.BufferedIOBase.read1`: what is here, else what one wait brings.
    #[pyo3(signature = (size = None, /))]
    fn read1<'py>(&self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        let most = wanted(size).unwrap_or(STEP);
        let bytes = self.detached(py, |open| {
            if most == 0 || !open.fill()? {
                return Ok(Vec::new());
            }
            let here = open.buffered();
            let bytes = here[..here.len().min(most)].to_vec();
            open.consume(bytes.len());
            Ok(bytes)
        })?;
        Ok(PyBytes::new(py, &bytes))
    }

    #[pyo3(signature = (size = None, /))]
    fn readline<'py>(&self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        self.read_line(py, wanted(size).unwrap_or(usize::MAX))
    }

    /// Lines until their lengths reach the hint, which a server may use or not (PEP 3333, note 3).
    #[pyo3(signature = (hint = None, /))]
    fn readlines<'py>(&self, py: Python<'py>, hint: Option<isize>) -> PyResult<Bound<'py, PyList>> {
        let most = wanted(hint).filter(|&hint| hint > 0).unwrap_or(usize::MAX);
        let (lines, mut total) = (PyList::empty(py), 0usize);
        while total < most {
            let line = self.read_line(py, usize::MAX)?;
            if line.as_bytes().is_empty() {
                break;
            }
            total = total.saturating_add(line.as_bytes().len());
            lines.append(line)?;
        }
        Ok(lines)
    }

    fn readinto(&self, py: Python<'_>, buffer: &Bound<'_, PyAny>) -> PyResult<usize> {
        fill_buffer(buffer, |room| self.read(py, Some(room)))
    }

    fn readinto1(&self, py: Python<'_>, buffer: &Bound<'_, PyAny>) -> PyResult<usize> {
        fill_buffer(buffer, |room| self.read1(py, Some(room)))
    }

    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let line = self.read_line(py, usize::MAX)?;
        Ok((!line.as_bytes().is_empty()).then_some(line))
    }

    fn readable(&self) -> bool {
        true
    }

    fn writable(&self) -> bool {
        false
    }

    fn seekable(&self) -> bool {
        false
    }

    fn isatty(&self) -> bool {
        false
    }

    /// Whether the request is over. The stream is the gateway's: an application has no business closing it.
    #[getter]
    fn closed(&self, py: Python<'_>) -> bool {
        py.detach(|| self.shared.lock().is_none())
    }

    /// Does nothing, for wrappers such as `io.TextIOWrapper`, which call it at their own end.
    fn close(&self) {}

    /// Does nothing, for the same wrappers.
    fn flush(&self) {}
}
