//! Python and the application as `worker` knows them.

use std::ffi::c_ulong;
use std::sync::Arc;
use std::time::Duration;

use crate::gateway::Exchange;
use crate::worker::{HostedApplication, PythonRuntime, RaiseIn, RequestHandler};
use crate::wsgi::{self, Application, Caller, Interpreter};

/// The Python of this process.
pub(super) static PYTHON: Runtime = Runtime;

/// The Python of this process, for who has never heard of it.
pub(super) struct Runtime;

impl PythonRuntime for Runtime {
    fn write_stacks_on(&self, one: i32, all: i32, fd: i32) -> Result<(), String> {
        wsgi::write_stacks_on(one, all, fd)
    }

    fn lock_is_free(&self, within: Duration) -> bool {
        wsgi::lock_is_free(within)
    }

    fn this_thread(&self) -> c_ulong {
        wsgi::this_thread()
    }

    fn raise_timeout_on(
        &self,
        signal: i32,
        is_due: Box<dyn Fn() -> bool + Send + Sync>,
    ) -> Result<(), String> {
        wsgi::raise_timeout_on(signal, is_due)
    }

    fn raise_timeout(&self, work: &dyn Fn(RaiseIn<'_>)) {
        wsgi::raise_timeout(work);
    }

    fn forget_timeout(&self) {
        wsgi::forget_timeout();
    }

    fn imported_count(&self) -> usize {
        wsgi::imported_count()
    }

    fn imported_files(&self) -> String {
        wsgi::imported_files()
    }

    fn is_parallel(&self) -> bool {
        Interpreter.is_parallel()
    }
}

impl HostedApplication for Application {
    fn enter(&self, work: &mut (dyn FnMut(&mut dyn RequestHandler) + Send)) -> Result<(), String> {
        Self::enter(self, |caller| work(caller))
    }
}

impl RequestHandler for Caller {
    fn handle(&mut self, exchange: Arc<dyn Exchange>) {
        self.call(exchange);
    }
}
