//! `wsgi.input` (PEP 3333, "Input and Error Streams"), with the semantics of `io.BufferedIOBase`: never past
//! CONTENT_LENGTH, `b""` at the end, an OSError for a body that ends too early, a ValueError after the request.

use std::io;
use std::sync::Arc;

use pyo3::exceptions::{PyMemoryError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyMemoryView, PySlice};

use super::exchange::{OpenRequest, RequestSlot};
use super::signals::raised;
use crate::gateway::{Exchange, RequestBody};

/// The request's body.
#[pyclass(frozen, module = "wsgi_gateway")]
pub(super) struct Input {
    request: Arc<RequestSlot>,
}

/// Bytes that one step of a read of unknown length asks for.
const STEP: usize = 64 * 1024;

impl Input {
    pub(super) fn new(request: Arc<RequestSlot>) -> Self {
        Self { request }
    }

    fn open(&self) -> PyResult<Arc<OpenRequest>> {
        self.request.get().ok_or_else(over)
    }

    /// Does something with the body that may block, detached from Python.
    fn detached<R: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&dyn Exchange) -> io::Result<R> + Send,
    ) -> PyResult<R> {
        let open = self.open()?;
        let done = py.detach(|| work(&*open.exchange).inspect_err(|error| open.note(error)));
        done.map_err(|error| match error.kind() {
            io::ErrorKind::OutOfMemory => PyMemoryError::new_err(()),
            io::ErrorKind::NotConnected => over(),
            _ => raised(error),
        })
    }

    /// The next bytes where they are all here, so that nothing has to be waited for.
    fn here<'py>(
        &self,
        py: Python<'py>,
        size: Option<usize>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let open = self.open()?;
        let left = open
            .exchange
            .remaining()
            .map(|left| usize::try_from(left).unwrap_or(usize::MAX));
        let wanted = match (size, left) {
            (Some(size), Some(left)) => size.min(left),
            (Some(size), None) => size,
            (None, Some(left)) => left,
            (None, None) => return Ok(None),
        };
        let mut bytes = None;
        let taken = open.exchange.take(&mut |here| {
            let Some(here) = here.get(..wanted) else {
                return 0;
            };
            bytes = Some(PyBytes::new(py, here));
            wanted
        });
        taken.map_err(|_| over())?;
        Ok(bytes)
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
        let count = self.detached(py, |body| {
            let mut count = 0;
            while count < size {
                match body.read(&mut place[count..])? {
                    0 => break,
                    read => count += read,
                }
            }
            Ok(count)
        })?;
        if count < size {
            bytes = PyBytes::new(py, &bytes.as_bytes()[..count]);
        }
        Ok(bytes)
    }

    /// Reads up to `size` bytes of a body whose length nobody announced, with no more room than what comes needs.
    fn read_unannounced<'py>(&self, py: Python<'py>, size: usize) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = self.detached(py, |body| {
            let mut bytes = Vec::new();
            while bytes.len() < size && body.fill()? {
                let room = size - bytes.len();
                take(body, |here| {
                    append(&mut bytes, &here[..here.len().min(room)])
                })?;
            }
            Ok(bytes)
        })?;
        new_bytes(py, &bytes)
    }

    fn read_line<'py>(&self, py: Python<'py>, most: usize) -> PyResult<Bound<'py, PyBytes>> {
        let line = self.detached(py, |body| {
            let (mut line, mut ended) = (Vec::new(), false);
            while !ended && line.len() < most && body.fill()? {
                let room = most - line.len();
                take(body, |here| {
                    let here = &here[..here.len().min(room)];
                    let end = here.iter().position(|&byte| byte == b'\n');
                    ended = end.is_some();
                    append(&mut line, &here[..end.map_or(here.len(), |end| end + 1)])
                })?;
            }
            Ok(line)
        })?;
        new_bytes(py, &line)
    }
}

/// Adds to a buffer that a client can make as large as it likes: without memory the request fails, not the process. Gives
/// the number of bytes.
fn append(buffer: &mut Vec<u8>, bytes: &[u8]) -> io::Result<usize> {
    buffer
        .try_reserve(bytes.len())
        .map_err(|_| io::ErrorKind::OutOfMemory)?;
    buffer.extend_from_slice(bytes);
    Ok(bytes.len())
}

/// Has `work` take what is here of the body, and say how many bytes that were.
fn take(
    body: &(impl RequestBody + ?Sized),
    work: impl FnOnce(&[u8]) -> io::Result<usize>,
) -> io::Result<()> {
    let (mut work, mut failed) = (Some(work), None);
    body.take(&mut |here| {
        let taken = work.take().map_or(Ok(0), |work| work(here));
        taken.unwrap_or_else(|error| {
            failed = Some(error);
            0
        })
    })?;
    failed.map_or(Ok(()), Err)
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
        let left = self.open()?.exchange.remaining();
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
        let bytes = self.detached(py, |body| {
            let mut bytes = Vec::new();
            if most > 0 && body.fill()? {
                take(body, |here| {
                    append(&mut bytes, &here[..here.len().min(most)])
                })?;
            }
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
    fn closed(&self) -> bool {
        self.request.get().is_none()
    }

    /// Does nothing, for wrappers such as `io.TextIOWrapper`, which call it at their own end.
    fn close(&self) {}

    /// Does nothing, for the same wrappers.
    fn flush(&self) {}
}
