//! One request's life: `environ`, the call of the application, its iterable, `close()`, and what is left when it fails
//! (PEP 3333, "Specification Details").

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use pyo3::exceptions::{PyOSError, PyRuntimeError, PySystemExit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use super::body::{
    Closer, Ending, FAILED, finish, must_have_started, note_end, respond_blocks, respond_file,
};
use super::environ::{Environ, Made, Mode};
use super::errors::{Errors, traceback};
use super::exchange::{Pushed, Shared};
use super::file_wrapper::as_block;
use super::input::Input;
use super::load::{LoadError, load};
use super::response::StartResponse;
use super::target::Target;
use crate::gateway::{Exchange, Mount, Page, forked};

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
                environ: Environ::new(py, &self.mode)?,
                shared: Arc::default(),
                body: Vec::new(),
                mode: self.mode.clone(),
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
        self.failed |= self.shared.lock().as_ref().is_some_and(|open| open.failed);
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
            if made.is_outside {
                self.answer_outside(py, &shared);
                return Ok(Rest::Nothing);
            }
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

    /// Answers a request that is not under `--mount`.
    fn answer_outside(&self, py: Python<'_>, shared: &Shared) {
        let mount = self
            .mode
            .mount
            .as_ref()
            .map(Mount::prefix)
            .unwrap_or_default();
        let mount = String::from_utf8_lossy(mount);
        let page = Page::new(
            "404 Not Found",
            format!("There is nothing here: the application begins at {mount}/."),
        );
        let (head, body) = page.render();
        py.detach(|| {
            if let Some(open) = shared.lock().as_mut() {
                let answered = open.answer(head, &body);
                note_end(open, answered);
            }
        });
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
            self.environ = Environ::new(py, &self.mode)?;
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
            let total = pieces.iter().map(|piece| piece.len() as u64).sum();
            if let Some(error) = open.falls_short(total) {
                return note_end(open, Err(error));
            }
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
                Page::new("500 Internal Server Error", FAILED)
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
