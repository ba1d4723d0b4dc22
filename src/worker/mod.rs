//! A worker process: the application's threads, the one that controls them, and what they have in common. Knows Python only by
//! the traits here, and does without where requests are explained or no application can be loaded.

mod access_log;
mod context;
mod controller;
mod error;
mod failure;
mod service;
mod serving;

use std::sync::Arc;
use std::time::Duration;

use crate::gateway::Exchange;

pub use access_log::open_line_files;
pub use error::{report, send_files};
pub use failure::Failure;
pub use service::FastcgiService;
pub use serving::Worker;

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
