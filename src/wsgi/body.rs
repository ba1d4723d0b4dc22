//! What the application returned, on its way to the web server: a file, or blocks as they come; then `close()`.

use std::io;

use pyo3::exceptions::{PyAssertionError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;

use super::errors::traceback;
use super::exchange::{Open, Pushed, Response, Shared};
use super::file_wrapper::{FileWrapper, as_block};
use crate::gateway::{FileError, Page};

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
        if open.bodiless() {
            return Ok(Some(Ending::Open));
        }
        match open.push_file(file.span()) {
            Ok(()) => Ok(Some(Ending::Open)),
            Err(FileError::Peer(error)) => {
                log::debug!("{}: the web server has gone: {error}", open.subject());
                Ok(Some(Ending::Ended))
            }
            Err(FileError::Unread { error, .. } | FileError::Broken(error)) => Err(error),
        }
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
        let bytes = as_block(&block)?.as_bytes();
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
    let kind = class
        .name()
        .map_or_else(|_| "?".to_owned(), |name| name.to_string());
    PyTypeError::new_err(format!(
        "a WSGI application returns an iterable of bytes, and this one returned '{kind}'"
    ))
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

/// Tells the log how the last piece of a response went. A body that is shorter than announced is answered with a page where nothing
/// has left.
pub(super) fn note_end(open: &mut Open, pushed: io::Result<Pushed>) {
    log_cut(open, &pushed);
    match pushed {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            open.failed = true;
            if open.has_begun() {
                let subject = open.subject();
                log::error!(
                    "{subject}: {error}; the connection is cut, so that the client can tell"
                );
                return;
            }
            log::error!("{}: {error}; answered with 500", open.subject());
            let (head, body) = Page::new("500 Internal Server Error", FAILED).render();
            if let Err(error) = open.answer(head, &body) {
                log::debug!("{}: the web server has gone: {error}", open.subject());
            }
        }
        Err(error) => log::debug!("{}: the web server has gone: {error}", open.subject()),
    }
}

/// What the client is told of an application that failed.
pub(super) const FAILED: &str =
    "The application could not answer this request. Its log has the reason.";

/// Tells the log, once a request, that a part of the body was cut off.
pub(super) fn log_cut(open: &mut Open, pushed: &io::Result<Pushed>) {
    if matches!(pushed, Ok(Pushed::Cut)) && !open.cut_told {
        open.cut_told = true;
        log::error!(
            "{}: the response's body is longer than its Content-Length and was cut there",
            open.subject()
        );
    }
}
