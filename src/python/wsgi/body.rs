//! What the application returned, on its way to the web server: a file, or blocks as they come; then `close()`.

use std::io;

use pyo3::exceptions::{PyAssertionError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyMemoryView, PyString};

use super::errors::{kind, traceback};
use super::exchange::OpenRequest;
use super::file_wrapper::{FileWrapper, as_block};
use super::signals::raised;
use super::timeout::RequestTimeout;
use crate::gateway::{KeptBytes, Pushed, forked};

/// A block up to this size, in bytes, is copied; above it the object itself is kept until it has been sent.
pub(super) const SMALL: usize = 16 * 1024;

/// How a response stands when its iterable is exhausted.
pub(super) enum BodyEnd {
    /// Its end is on its way.
    Ended,
    /// Its end has to be sent.
    Open,
}

/// Calls `close()` of what the application returned, once ("Specification Details": "upon completion of the current
/// request, whether the request was completed normally, or terminated early").
pub(super) struct Closer<'a, 'py> {
    pub(super) result: &'a Bound<'py, PyAny>,
}

impl Closer<'_, '_> {
    /// The body is complete by now, or it has failed for another reason: an error here is only told.
    pub(super) fn close(self, py: Python<'_>, open: &OpenRequest) {
        let close = self.result.getattr_opt(intern!(py, "close"));
        let closed = close.and_then(|close| close.map_or(Ok(()), |close| close.call0().map(drop)));
        // Who has raised the time-out has told of it.
        let closed = closed.or_else(|error| match error.is_instance_of::<RequestTimeout>(py) {
            true => Ok(()),
            false => Err(error),
        });
        if let Err(error) = closed {
            let text = traceback(py, &error);
            let subject = open.subject();
            let text = format!("{subject}: close() of the response failed\n{text}");
            py.detach(|| open.exchange.report(text.as_bytes()));
        }
    }
}

/// A bytes object that is sent without Python's lock, and without a copy. Let go of by a thread without the lock, it waits
/// for the next one that has it (PyO3 sees to that).
struct KeptBlock {
    block: Py<PyBytes>,
    start: *const u8,
    length: usize,
}

// SAFETY: a bytes object does not change and does not move, and it lives for as long as the reference in `block`, so its
// bytes may be read by any thread, with or without Python's lock.
unsafe impl Send for KeptBlock {}
// SAFETY: as above; nothing in it changes.
unsafe impl Sync for KeptBlock {}

impl AsRef<[u8]> for KeptBlock {
    fn as_ref(&self) -> &[u8] {
        let _ = &self.block;
        // SAFETY: these are the bytes of `block`, see above.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }
    }
}

/// Keeps a block for as long as it is to be sent.
pub(super) fn keep(block: &Bound<'_, PyBytes>) -> KeptBytes {
    let bytes = block.as_bytes();
    Box::new(KeptBlock {
        start: bytes.as_ptr(),
        length: bytes.len(),
        block: block.clone().unbind(),
    })
}

/// Sends a block behind which others may follow.
///
/// # Errors
/// When it cannot be sent.
pub(super) fn push_block(
    py: Python<'_>,
    open: &OpenRequest,
    block: &Bound<'_, PyBytes>,
) -> io::Result<Pushed> {
    let bytes = block.as_bytes();
    if bytes.len() <= SMALL {
        py.detach(|| open.push(&[bytes], false))
    } else {
        let kept = keep(block);
        py.detach(|| open.push_kept(vec![kept], false))
    }
}

/// Sends a file by the kernel, if the application returned one that the kernel can send.
pub(super) fn respond_file(
    py: Python<'_>,
    open: &OpenRequest,
    result: &Bound<'_, PyAny>,
) -> PyResult<Option<BodyEnd>> {
    let Ok(wrapper) = result.cast_exact::<FileWrapper>() else {
        return Ok(None);
    };
    let Some(file) = wrapper.get().real_file(py) else {
        return Ok(None);
    };
    must_have_started(open)?;
    let span = file.span();
    if open.is_bodiless() || span.length == 0 {
        return Ok(Some(BodyEnd::Open));
    }
    // Not an error where the file goes on: it is sent "until the end is reached, or until Content-Length bytes have been
    // written" (PEP 3333). Applications answer a Range so.
    let sent = py.detach(|| open.exchange.send_file(span));
    if let Err(error) = &sent {
        open.note(error);
    }
    if let Err(error) = sent {
        open.conclude(Err(error));
    }
    Ok(Some(BodyEnd::Ended))
}

/// Sends an iterable's blocks as they come: "must not delay the transmission of any block" ("Buffering and Streaming").
pub(super) fn respond_blocks(
    py: Python<'_>,
    open: &OpenRequest,
    result: &Bound<'_, PyAny>,
) -> PyResult<BodyEnd> {
    // A file may go on behind Content-Length, see `respond_file`.
    let a_file = result.cast_exact::<FileWrapper>().is_ok();
    for block in result
        .try_iter()
        .map_err(|error| not_iterable(result, error))?
    {
        let block = block?;
        if forked::is_child() {
            return Ok(BodyEnd::Ended);
        }
        let block = as_block(&block).map_err(|error| no_list(result).unwrap_or(error))?;
        let bytes = block.as_bytes();
        if bytes.is_empty() {
            continue;
        }
        must_have_started(open)?;
        if matches!(open.exchange.offer(bytes), Ok(true)) {
            continue;
        }
        if open.is_bodiless() {
            break;
        }
        let pushed = if a_file {
            py.detach(|| open.exchange.send(&[bytes], false))
                .inspect_err(|error| open.note(error))
        } else {
            push_block(py, open, block)
        };
        match pushed {
            Ok(Pushed::Whole) => {}
            Ok(Pushed::Cut | Pushed::Dropped) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(raised(error)),
            Err(error) => {
                log::debug!("{}: the web server has gone: {error}", open.subject());
                return Ok(BodyEnd::Ended);
            }
        }
    }
    must_have_started(open)?;
    Ok(BodyEnd::Open)
}

/// What `iter()` raised, said in WSGI's words where the object is no iterable at all.
fn not_iterable(result: &Bound<'_, PyAny>, error: PyErr) -> PyErr {
    let class = result.get_type();
    if ["__iter__", "__getitem__"]
        .iter()
        .any(|name| class.hasattr(*name).unwrap_or(true))
    {
        return error;
    }
    let kind = kind(result);
    PyTypeError::new_err(format!(
        "a WSGI application returns an iterable of bytes, and this one returned '{kind}'"
    ))
}

/// Why the application's whole body was taken for a list of blocks, where it returned that: what is iterated over then are
/// its numbers or letters.
fn no_list(result: &Bound<'_, PyAny>) -> Option<PyErr> {
    let way_out = if result.is_instance_of::<PyBytes>() {
        "[body]"
    } else if result.is_instance_of::<PyByteArray>() || result.is_instance_of::<PyMemoryView>() {
        "[bytes(body)]"
    } else if result.is_instance_of::<PyString>() {
        "[body.encode()]"
    } else if result.is_instance_of::<PyDict>() {
        "[json.dumps(body).encode()]"
    } else {
        return None;
    };
    let kind = kind(result);
    Some(PyTypeError::new_err(format!(
        "the application returned its body as {kind}, and WSGI wants a list of bytes, or another iterable of them: \
         return {way_out}"
    )))
}

/// A body needs a head ("the application must invoke start_response before the iterable yields its first body
/// bytestring").
pub(super) fn must_have_started(open: &OpenRequest) -> PyResult<()> {
    if open.is_started() {
        return Ok(());
    }
    Err(PyAssertionError::new_err(
        "the application did not call start_response before its body",
    ))
}
