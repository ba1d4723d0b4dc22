//! A worker process: the application's threads, the one that controls them, and what they have in common. Knows Python only by
//! the traits here, and does without where requests are explained or no application can be loaded.

mod access_log;
mod context;
mod controller;
mod error;
mod failure;
mod overdue;
mod service;
mod serving;
mod watched;

use std::ffi::c_ulong;
use std::sync::Arc;
use std::time::Duration;

use crate::gateway::Exchange;

pub use access_log::open_line_files;
pub use error::{report, send_files, with_traceback};
pub use failure::Failure;
pub use service::FastcgiService;
pub use serving::Worker;

/// Raises an exception in the thread of this number.
pub type RaiseIn<'a> = &'a dyn Fn(c_ulong);

/// The Python of this process.
pub trait PythonRuntime: Sync {
    /// Has these signals write Python's stacks to a descriptor: `one` that of the thread that gets it, which does no harm;
    /// `all` those of all threads.
    ///
    /// # Errors
    /// What Python has to say.
    fn write_stacks_on(&self, one: i32, all: i32, fd: i32) -> Result<(), String>;

    /// Whether Python's lock can be had within this time. The thread that asks may wait for ever.
    fn lock_is_free(&self, within: Duration) -> bool;

    /// Python's number for the thread that calls this.
    fn this_thread(&self) -> c_ulong;

    /// Has this signal raise `RequestTimeout` on Python's main thread, in whatever it runs or waits for, when `is_due` says
    /// so there. To be called on that thread.
    ///
    /// # Errors
    /// What Python has to say.
    fn raise_timeout_on(
        &self,
        signal: i32,
        is_due: Box<dyn Fn() -> bool + Send + Sync>,
    ) -> Result<(), String>;

    /// Gives `work` what raises `RequestTimeout` in the thread of that number when it runs Python code next. Waits for
    /// Python's lock, which may be for ever.
    fn raise_timeout(&self, work: &dyn Fn(RaiseIn<'_>));

    /// Takes back what was to be raised in the thread that calls this, and was not.
    fn forget_timeout(&self);

    /// How many modules are imported.
    fn imported_count(&self) -> usize;

    /// Their files, one a line.
    fn imported_files(&self) -> String;

    /// Whether threads run Python code at the same time.
    fn is_parallel(&self) -> bool;
}

/// An imported application.
pub trait HostedApplication: Sync {
    /// Runs `work` with what calls the application, on one of its threads.
    ///
    /// # Errors
    /// When Python has no memory for the thread's objects.
    fn enter(&self, work: &mut (dyn FnMut(&mut dyn RequestHandler) + Send)) -> Result<(), String>;
}

/// Calls the application for one thread.
pub trait RequestHandler {
    /// Has the application answer a request.
    fn handle(&mut self, exchange: Arc<dyn Exchange>);
}

/// An application, and the Python that it was imported in.
pub struct LoadedApplication {
    /// The Python.
    pub python: &'static dyn PythonRuntime,
    /// The application.
    pub application: Box<dyn HostedApplication>,
}
