//! One request's life: `environ`, the call of the application, its iterable, `close()`, and what is left when it fails
//! (PEP 3333, "Specification Details").

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use pyo3::exceptions::{PyOSError, PyRuntimeError, PySystemExit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use super::body::{BodyEnd, Closer, SMALL, keep, must_have_started, respond_blocks, respond_file};
use super::environ::{Environ, Made, Mode, native};
use super::errors::{Errors, traceback};
use super::exchange::{FAILED, OpenRequest, RequestSlot, failed_page};
use super::file_wrapper::as_block;
use super::input::Input;
use super::load::load;
use super::response::StartResponse;
use super::timeout::RequestTimeout;
use crate::config::Target;
use crate::exit::CannotLoad;
use crate::gateway::{Exchange, KeptBytes, Mount, Page, forked};

/// An imported application.
#[derive(Debug)]
pub(crate) struct Application {
    object: Py<PyAny>,
    /// The file that it comes from.
    pub(crate) file: String,
    /// The type of the object.
    pub(crate) kind: String,
    mode: Mode,
}

impl Application {
    /// Imports the application.
    ///
    /// # Errors
    /// One sentence, and the traceback where the application's own code raised.
    pub(crate) fn load(target: &Target, mode: Mode) -> Result<Self, CannotLoad> {
        let loaded = Python::attach(|py| {
            let loaded = load(py, target);
            if forked::is_child() {
                // It was forked while the application was imported, which is the parent's to serve.
                end_child(py, None);
            }
            loaded
        });
        loaded.map(|loaded| Self {
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
    pub(crate) fn enter(&self, work: impl FnOnce(&mut Caller) + Send) -> Result<(), String> {
        Python::attach(|py| {
            let mut caller = Caller {
                application: self.object.clone_ref(py),
                environ: Environ::new(py, &self.mode)?,
                request: Arc::default(),
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
pub(crate) struct Caller {
    application: Py<PyAny>,
    environ: Environ,
    /// What the objects of the last request share: used again where nobody has kept one of them.
    request: Arc<RequestSlot>,
    /// A small body, put together.
    body: Vec<u8>,
    mode: Mode,
    failed: bool,
}

/// What is left to do for a response once Python has been left.
enum Rest {
    /// The body is in [`Caller::body`], complete.
    Small,
    /// Nothing: it was sent.
    Nothing,
}

impl Caller {
    /// Has the application answer a request. Nothing is told of how it went but what was sent: where the response did not
    /// come to its end, the transport has to cut it.
    pub(crate) fn call(&mut self, exchange: Arc<dyn Exchange>) {
        if Arc::get_mut(&mut self.request).is_none() {
            self.request = Arc::default();
        }
        let open = self.request.open(exchange);
        // A panic is a fault of this program's own; its hook has told of it. The request is cut like one that failed, and
        // the thread lives.
        let run = AssertUnwindSafe(|| Python::attach(|py| self.run(py, &open)));
        let rest = catch_unwind(run);
        if rest.is_err() {
            self.failed = true;
            open.note_exception(false);
        }
        if let Ok(Rest::Small) = rest {
            open.conclude(open.push(&[&self.body], true));
        }
        self.failed |= open.has_failed();
        self.request.close();
    }

    /// Whether the application raised in the last call.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    fn run(&mut self, py: Python<'_>, open: &OpenRequest) -> Rest {
        let answered = self.make_environ(py, &*open.exchange).and_then(|made| {
            if made.is_outside {
                self.answer_outside(py, open);
                return Ok(Rest::Nothing);
            }
            let environ = made.environ;
            environ.set_item(
                intern!(py, "wsgi.input"),
                Py::new(py, Input::new(Arc::clone(&self.request)))?,
            )?;
            environ.set_item(
                intern!(py, "wsgi.errors"),
                Py::new(py, Errors::of(Arc::clone(&self.request)))?,
            )?;
            // An ASCII string: latin-1 is what costs the least to make one of.
            let id = native(py, open.exchange.id().as_bytes());
            environ.set_item(intern!(py, "wsgi_gateway.request_id"), id)?;
            let start_response = Py::new(py, StartResponse::new(Arc::clone(&self.request)))?;
            let result = self.application.bind(py).call1((environ, start_response))?;
            if forked::is_child() {
                return Ok(Rest::Nothing);
            }
            self.respond(open, &result)
        });
        if forked::is_child() {
            end_child(py, answered.as_ref().err());
        }
        self.failed = answered.is_err();
        answered.unwrap_or_else(|error| {
            self.fail(py, open, &error);
            Rest::Nothing
        })
    }

    /// Answers a request that is not under `--mount`.
    fn answer_outside(&self, py: Python<'_>, open: &OpenRequest) {
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
        py.detach(|| open.conclude(open.exchange.answer_page(&page)));
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
    fn respond(&mut self, open: &OpenRequest, result: &Bound<'_, PyAny>) -> PyResult<Rest> {
        let py = result.py();
        // A list's or tuple's blocks are all there, and it has no close().
        if let Ok(list) = result.cast_exact::<PyList>() {
            return self.respond_complete(py, open, list.iter());
        }
        if let Ok(tuple) = result.cast_exact::<PyTuple>() {
            return self.respond_complete(py, open, tuple.iter());
        }
        let closer = Closer { result };
        let sent = respond_file(py, open, result).and_then(|sent| match sent {
            Some(rest) => Ok(rest),
            None => respond_blocks(py, open, result),
        });
        closer.close(py, open);
        match sent? {
            BodyEnd::Ended => {}
            BodyEnd::Open => py.detach(|| open.conclude(open.push(&[], true))),
        }
        Ok(Rest::Nothing)
    }

    fn respond_complete<'py>(
        &mut self,
        py: Python<'py>,
        open: &OpenRequest,
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
        must_have_started(open)?;
        if large.is_empty() {
            return Ok(Rest::Small);
        }
        let mut pieces = Vec::with_capacity(1 + large.len());
        if !self.body.is_empty() {
            pieces.push(Box::new(std::mem::take(&mut self.body)) as KeptBytes);
        }
        for block in &large {
            pieces.push(keep(as_block(block)?));
        }
        py.detach(|| open.conclude(open.push_kept(pieces, true)));
        Ok(Rest::Nothing)
    }

    /// The application failed: an error page through the same door where the head has not left, else a cut.
    fn fail(&self, py: Python<'_>, open: &OpenRequest, error: &PyErr) {
        let text = traceback(py, error);
        let is_abort = error.is_instance_of::<PyOSError>(py);
        // Nothing of Python's was running where this program raised it itself.
        let is_ours = error.traceback(py).is_none();
        // Who has raised it has told where the request was, and answered.
        let is_timeout = error.is_instance_of::<RequestTimeout>(py);
        py.detach(|| {
            let subject = open.subject();
            if is_timeout && open.exchange.has_begun() {
                log::debug!("{subject}: {}", text.trim_end());
            } else if open.is_gone() && is_abort {
                log::debug!("{subject}: the web server has gone: {}", text.trim_end());
            } else {
                open.note_exception(is_ours);
                let id = open.exchange.id();
                let heading = format!("{subject}: the application failed (request {id})\n");
                open.exchange.report(format!("{heading}{text}").as_bytes());
            }
            open.exchange.note_exit(FAILED);
            if open.exchange.has_begun() {
                return open.exchange.flush_reports();
            }
            let page = open.page_of_body(is_abort).unwrap_or_else(|| {
                if self.mode.debug {
                    Page::new("500 Internal Server Error", text.trim_end())
                } else {
                    failed_page()
                }
            });
            let page = page.with_id(open.exchange.id());
            open.conclude(open.exchange.answer_page(&page));
        });
    }
}

/// Ends a child that the application forked and that has left the application, its import or its answer to a request: what
/// follows is the parent's to do.
pub(super) fn end_child(py: Python<'_>, error: Option<&PyErr>) -> ! {
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
