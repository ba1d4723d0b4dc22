//! What the application returned, on its way to the web server: a file, or blocks as they come; then `close()`.

use std::io;

use pyo3::exceptions::{PyAssertionError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyMemoryView, PyString};

use super::errors::{kind, traceback};
use super::exchange::{Open, Pushed, Response, Shared};
use super::file_wrapper::{FileWrapper, as_block};

/// How a response stands when its iterable is exhausted.
pub(super) enum Ending {
    /// Its last byte has left.
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
    pub(super) fn close(self, py: Python<'_>, shared: &Shared) {
        let close = self.result.getattr_opt(intern!(py, "close"));
        let closed = close.and_then(|close| close.map_or(Ok(()), |close| close.call0().map(drop)));
        if let Err(error) = closed {
            let text = traceback(py, &error);
            py.detach(|| {
                if let Some(open) = shared.lock().as_mut() {
                    let subject = open.subject();
                    open.report(
                        format!("{subject}: close() of the response failed\n{text}").as_bytes(),
                    );
                }
            });
        }
    }
}

/// Sends a file by the kernel, if the application returned one that the kernel can send.
pub(super) fn respond_file(
    py: Python<'_>,
    shared: &Shared,
    result: &Bound<'_, PyAny>,
) -> PyResult<Option<Ending>> {
    let Ok(wrapper) = result.cast_exact::<FileWrapper>() else {
        return Ok(None);
    };
    let Some(file) = wrapper.get().real_file(py) else {
        return Ok(None);
    };
    must_have_started(py, shared)?;
    py.detach(|| {
        let mut guard = shared.lock();
        let Some(open) = guard.as_mut() else {
            return Ok(Some(Ending::Ended));
        };
        let span = file.span();
        if open.bodiless() || span.length == 0 {
            return Ok(Some(Ending::Open));
        }
        // Not an error where the file goes on: it is sent "until the end is reached, or until Content-Length bytes have been
        // written" (PEP 3333). Applications answer a Range so.
        open.push_file(span, false)
            .map(|_| Some(Ending::Open))
            .or_else(|error| swallow(open, error).map(Some))
    })
    .map_err(PyErr::from)
}

/// Sends an iterable's blocks as they come: "must not delay the transmission of any block" ("Buffering and Streaming").
pub(super) fn respond_blocks(
    py: Python<'_>,
    shared: &Shared,
    result: &Bound<'_, PyAny>,
) -> PyResult<Ending> {
    // A file may go on behind Content-Length, see `respond_file`.
    let a_file = result.cast_exact::<FileWrapper>().is_ok();
    for block in result
        .try_iter()
        .map_err(|error| not_iterable(result, error))?
    {
        let block = block?;
        let bytes = as_block(&block)
            .map_err(|error| no_list(result).unwrap_or(error))?
            .as_bytes();
        if bytes.is_empty() {
            continue;
        }
        must_have_started(py, shared)?;
        let offered = shared
            .try_lock()
            .map(|mut guard| guard.as_mut().map(|open| open.offer(bytes)));
        if let Some(Some(Ok(true))) = offered {
            continue;
        }
        let more = py.detach(|| {
            let mut guard = shared.lock();
            let Some(open) = guard.as_mut() else {
                return false;
            };
            if open.bodiless() {
                return false;
            }
            let pushed = open.push(&[bytes], false);
            if !a_file {
                log_cut(open, &pushed);
            }
            match pushed {
                Ok(Pushed::Whole) => true,
                Ok(Pushed::Cut | Pushed::Dropped) => false,
                Err(error) => {
                    log::debug!("{}: the web server has gone: {error}", open.subject());
                    false
                }
            }
        });
        if !more {
            break;
        }
    }
    must_have_started(py, shared)?;
    Ok(Ending::Open)
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
pub(super) fn must_have_started(py: Python<'_>, shared: &Shared) -> PyResult<()> {
    let started = |open: &Option<Open>| {
        open.as_ref()
            .is_some_and(|open| !matches!(open.response, Response::NotStarted))
    };
    let has = match shared.try_lock() {
        Some(guard) => started(&guard),
        None => py.detach(|| started(&shared.lock())),
    };
    if has {
        return Ok(());
    }
    Err(PyAssertionError::new_err(
        "the application did not call start_response before its body",
    ))
}

/// Sends the end of a response.
pub(super) fn finish(shared: &Shared) -> io::Result<()> {
    if let Some(open) = shared.lock().as_mut() {
        let pushed = open.push(&[], true);
        note_end(open, pushed);
    }
    Ok(())
}

/// Tells the log how the last piece of a response went.
pub(super) fn note_end(open: &mut Open, pushed: io::Result<Pushed>) {
    log_cut(open, &pushed);
    match pushed {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            log::error!(
                "{}: {error}; the connection is cut, so that the client can tell",
                open.subject()
            );
        }
        Err(error) => log::debug!("{}: the web server has gone: {error}", open.subject()),
    }
}

fn log_cut(open: &Open, pushed: &io::Result<Pushed>) {
    if let Ok(Pushed::Cut) = pushed {
        log::error!(
            "{}: the response's body is longer than its Content-Length and was cut there",
            open.subject()
        );
    }
}

/// The web server's leaving is no error of the application's.
fn swallow(open: &mut Open, error: io::Error) -> io::Result<Ending> {
    if open.gone && error.kind() != io::ErrorKind::UnexpectedEof {
        log::debug!("{}: the web server has gone: {error}", open.subject());
        return Ok(Ending::Ended);
    }
    Err(error)
}
