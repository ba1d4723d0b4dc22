//! One request's life: `environ`, the call of the application, its iterable, `close()`, and what is left when it fails
//! (PEP 3333, "Specification Details").

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use pyo3::exceptions::{PyAssertionError, PyOSError, PyRuntimeError, PySystemExit, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use super::environ::{Environ, Made};
use super::errors::{Errors, traceback};
use super::exchange::{Open, Pushed, Response, Shared};
use super::file_wrapper::{FileWrapper, as_block};
use super::input::Input;
use super::load::{LoadError, load};
use super::response::StartResponse;
use super::target::Target;
use crate::gateway::{Exchange, Page, forked};

/// How the application is run, as `environ` tells it.
#[derive(Clone, Copy, Debug)]
pub struct Mode {
    /// Whether other threads of this process may call it at the same time.
    pub multithread: bool,
    /// Whether other processes may.
    pub multiprocess: bool,
    /// Whether this process calls it once only.
    pub run_once: bool,
    /// Whether error pages have the traceback.
    pub debug: bool,
}

/// An imported application.
#[derive(Debug)]
pub struct Application {
    object: Py<PyAny>,
    /// The file that it comes from.
    pub file: String,
    /// The type of the object.
    pub kind: String,
    mode: Mode,
}

impl Application {
    /// Imports the application.
    ///
    /// # Errors
    /// One sentence, and the traceback where the application's own code raised.
    pub fn load(target: &Target, mode: Mode) -> Result<Self, LoadError> {
        Python::attach(|py| load(py, target)).map(|loaded| Self {
            object: loaded.application,
            file: loaded.file,
            kind: loaded.kind,
            mode,
        })
    }

    /// Runs `work` with a caller of the application, keeping this thread's Python state for as long: making one for
    /// each request is slow.
    ///
    /// # Errors
    /// When Python has no memory for the thread's objects.
    pub fn enter(&self, work: impl FnOnce(&mut Caller) + Send) -> Result<(), String> {
        Python::attach(|py| {
            let mut caller = Caller {
                application: self.object.clone_ref(py),
                environ: Environ::new(py, self.mode)?,
                shared: Arc::default(),
                body: Vec::new(),
                mode: self.mode,
                failed: false,
            };
            py.detach(|| work(&mut caller));
            Ok(())
        })
        .map_err(|error: PyErr| error.to_string())
    }
}

/// Calls the application for one thread.
pub struct Caller {
    application: Py<PyAny>,
    environ: Environ,
    /// What the objects of the last request share: used again where nobody has kept one of them.
    shared: Arc<Shared>,
    /// A small body, put together.
    body: Vec<u8>,
    mode: Mode,
    failed: bool,
}

/// A complete body up to this size is copied and sent in one piece with its head.
const SMALL: usize = 16 * 1024;

/// The pieces of a large complete body that are sent at once.
const PIECES: usize = 64;

/// What is left to do for a response once Python has been left.
enum Rest {
    /// The body is in [`Caller::body`], complete.
    Small,
    /// Nothing: it was sent.
    Nothing,
}

impl Caller {
    /// Has the application answer a request, and gives the exchange back. Nothing is told of how it went but what was
    /// sent: where the response did not come to its end, the transport has to cut it.
    pub fn call<E: Exchange + 'static>(&mut self, exchange: Box<E>) -> Box<E> {
        if Arc::get_mut(&mut self.shared).is_none() {
            self.shared = Arc::default();
        }
        // A panic is a fault of this program's own; its hook has told of it. The request is cut like one that failed, and
        // the thread lives.
        let run = AssertUnwindSafe(|| Python::attach(|py| self.run(py, exchange)));
        let rest = catch_unwind(run);
        self.failed |= rest.is_err();
        if let Ok(Rest::Small) = rest {
            if let Some(open) = self.shared.lock().as_mut() {
                let pushed = open.push(&[&self.body], true);
                note_end(open, pushed);
            }
        }
        let exchange = self
            .shared
            .close()
            .expect("only this takes the exchange away");
        exchange
            .into_any()
            .downcast()
            .expect("the exchange is the one that was given")
    }

    /// Whether the application raised in the last call.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    fn run(&mut self, py: Python<'_>, exchange: Box<dyn Exchange>) -> Rest {
        let made = self.make_environ(py, &*exchange);
        let shared = Arc::clone(&self.shared);
        let (content_length, is_head) = made
            .as_ref()
            .map_or((None, false), |made| (made.content_length, made.is_head));
        shared.open(exchange, content_length, is_head);
        let answered = made.and_then(|made| {
            let environ = made.environ;
            environ.set_item(
                intern!(py, "wsgi.input"),
                Py::new(py, Input::new(Arc::clone(&shared)))?,
            )?;
            environ.set_item(
                intern!(py, "wsgi.errors"),
                Py::new(py, Errors::new(Arc::clone(&shared)))?,
            )?;
            let start_response = Py::new(py, StartResponse::new(Arc::clone(&shared)))?;
            let result = self.application.bind(py).call1((environ, start_response))?;
            self.respond(&shared, &result)
        });
        if forked::is_child() {
            end_child(py, answered.as_ref().err());
        }
        self.failed = answered.is_err();
        answered.unwrap_or_else(|error| {
            self.fail(py, &shared, &error);
            Rest::Nothing
        })
    }

    /// Makes the request's `environ`. After a failure, which is one of memory or of this program, the template is begun
    /// anew: half of one request in it must not become part of the next.
    fn make_environ<'py>(
        &mut self,
        py: Python<'py>,
        exchange: &dyn Exchange,
    ) -> PyResult<Made<'py>> {
        let unframed = exchange.marks_end_of_body();
        let make = AssertUnwindSafe(|| self.environ.make(py, exchange.variables(), unframed));
        let made = catch_unwind(make).unwrap_or_else(|_| {
            Err(PyRuntimeError::new_err(
                "the request's environ could not be made",
            ))
        });
        if made.is_err() {
            self.environ = Environ::new(py, self.mode)?;
        }
        made
    }

    /// Sends what the application returned, and calls its `close()` however that goes.
    fn respond(&mut self, shared: &Shared, result: &Bound<'_, PyAny>) -> PyResult<Rest> {
        let py = result.py();
        // A list's or tuple's blocks are all there, and it has no close().
        if let Ok(list) = result.cast_exact::<PyList>() {
            return self.respond_complete(py, shared, list.iter());
        }
        if let Ok(tuple) = result.cast_exact::<PyTuple>() {
            return self.respond_complete(py, shared, tuple.iter());
        }
        let closer = Closer { result };
        let sent = respond_file(py, shared, result).and_then(|sent| match sent {
            Some(rest) => Ok(rest),
            None => respond_blocks(py, shared, result),
        });
        closer.close(py, shared);
        match sent? {
            Ending::Ended => {}
            Ending::Open => py.detach(|| finish(shared))?,
        }
        Ok(Rest::Nothing)
    }

    fn respond_complete<'py>(
        &mut self,
        py: Python<'py>,
        shared: &Shared,
        blocks: impl Iterator<Item = Bound<'py, PyAny>>,
    ) -> PyResult<Rest> {
        self.body.clear();
        let mut large: Vec<Bound<'py, PyAny>> = Vec::new();
        for block in blocks {
            let bytes = as_block(&block)?.as_bytes();
            if large.is_empty() && self.body.len() + bytes.len() <= SMALL {
                self.body.extend_from_slice(bytes);
            } else {
                large.push(block);
            }
        }
        if large.is_empty() {
            must_have_started(py, shared)?;
            return Ok(Rest::Small);
        }
        must_have_started(py, shared)?;
        let mut pieces: Vec<&[u8]> = vec![&self.body];
        for block in &large {
            pieces.push(as_block(block)?.as_bytes());
        }
        py.detach(|| {
            let mut guard = shared.lock();
            let Some(open) = guard.as_mut() else { return };
            let mut groups = pieces.chunks(PIECES).peekable();
            while let Some(group) = groups.next() {
                let last = groups.peek().is_none();
                let pushed = open.push(group, last);
                let stopped = !matches!(pushed, Ok(Pushed::Whole));
                let rest_is_unwanted = matches!(pushed, Ok(Pushed::Cut | Pushed::Dropped));
                note_end(open, pushed);
                if rest_is_unwanted && !last {
                    let ended = open.push(&[], true);
                    note_end(open, ended);
                }
                if stopped {
                    break;
                }
            }
        });
        self.body.shrink_to(SMALL);
        Ok(Rest::Nothing)
    }

    /// The application failed: an error page through the same door where the head has not left, else a cut.
    fn fail(&self, py: Python<'_>, shared: &Shared, error: &PyErr) {
        let text = traceback(py, error);
        let is_abort = error.is_instance_of::<PyOSError>(py);
        py.detach(|| {
            let mut guard = shared.lock();
            let Some(open) = guard.as_mut() else { return };
            if open.gone && is_abort {
                log::debug!(
                    "{}: the web server has gone: {}",
                    open.subject(),
                    text.trim_end()
                );
            } else {
                let subject = open.subject();
                open.report(format!("{subject}: the application failed\n{text}").as_bytes());
            }
            if open.has_begun() {
                return open.flush_reports();
            }
            let page = if open.too_large {
                Page::new(
                    "413 Content Too Large",
                    "The request's body is larger than this server takes.",
                )
            } else if open.timed_out && is_abort {
                Page::new(
                    "408 Request Timeout",
                    "The request's body did not come within the time limit.",
                )
            } else if self.mode.debug {
                Page::new("500 Internal Server Error", text.trim_end())
            } else {
                let text = "The application could not answer this request. Its log has the reason.";
                Page::new("500 Internal Server Error", text)
            };
            let (head, body) = page.render();
            let answered = open.answer(head, &body);
            note_end(open, answered);
        });
    }
}

/// Ends a child that the application forked and that has left the application: the request is the parent's to answer.
fn end_child(py: Python<'_>, error: Option<&PyErr>) -> ! {
    let code = match error {
        None => 0,
        Some(error) if error.is_instance_of::<PySystemExit>(py) => {
            let code = error
                .value(py)
                .getattr("code")
                .and_then(|code| code.extract::<Option<i32>>());
            code.map_or(1, |code| code.unwrap_or(0))
        }
        Some(error) => {
            error.print(py);
            1
        }
    };
    // As a child of os.fork() is to end: without the parent's atexit functions.
    let ended = py
        .import("os")
        .and_then(|os| os.call_method1("_exit", (code,)));
    drop(ended);
    std::process::abort();
}

/// How a response stands when its iterable is exhausted.
enum Ending {
    /// Its last byte has left.
    Ended,
    /// Its end has to be sent.
    Open,
}

/// Calls `close()` of what the application returned, once ("Specification Details": "upon completion of the current
/// request, whether the request was completed normally, or terminated early").
struct Closer<'a, 'py> {
    result: &'a Bound<'py, PyAny>,
}

impl Closer<'_, '_> {
    /// The body is complete by now, or it has failed for another reason: an error here is only told.
    fn close(self, py: Python<'_>, shared: &Shared) {
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
fn respond_file(
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
        let pushed = open.push_file(span, false);
        log_cut(open, &pushed);
        pushed
            .map(|_| Some(Ending::Open))
            .or_else(|error| swallow(open, error).map(Some))
    })
    .map_err(PyErr::from)
}

/// Sends an iterable's blocks as they come: "must not delay the transmission of any block" ("Buffering and Streaming").
fn respond_blocks(py: Python<'_>, shared: &Shared, result: &Bound<'_, PyAny>) -> PyResult<Ending> {
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
            log_cut(open, &pushed);
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
fn must_have_started(py: Python<'_>, shared: &Shared) -> PyResult<()> {
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
fn finish(shared: &Shared) -> io::Result<()> {
    if let Some(open) = shared.lock().as_mut() {
        let pushed = open.push(&[], true);
        note_end(open, pushed);
    }
    Ok(())
}

/// Tells the log how the last piece of a response went.
fn note_end(open: &mut Open, pushed: io::Result<Pushed>) {
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
