//! The requests that the application's threads have, for who watches the time that they take: to be answered in the
//! application's place, and to be interrupted by an exception, which must not reach the request that comes next.

use std::ffi::c_ulong;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::PythonRuntime;
use crate::fastcgi::FastcgiExchange;
use crate::gateway::forked;

/// The requests of all threads; of none where no time is watched.
pub(super) struct WatchedThreads(Vec<Mutex<Option<WatchedRequest>>>);

/// The request of a thread.
struct WatchedRequest {
    /// When it began, which tells it from the next one.
    begun: u64,
    exchange: Arc<FastcgiExchange>,
    /// Python's number for the thread.
    thread: c_ulong,
    interruption: Interruption,
}

/// Whether a request is interrupted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Interruption {
    NotAsked,
    /// The exception is to be raised.
    Asked,
    /// It was, or waits in Python for the thread to run Python code again.
    Raised,
}

impl WatchedThreads {
    pub(super) fn new(threads: usize) -> Self {
        Self((0..threads).map(|_| Mutex::default()).collect())
    }

    fn lock(&self, thread: usize) -> Option<MutexGuard<'_, Option<WatchedRequest>>> {
        let watched = self.0.get(thread)?;
        Some(watched.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The application has this request from here on, on the thread that calls this.
    pub(super) fn begin(
        &self,
        thread: usize,
        begun: u64,
        exchange: &Arc<FastcgiExchange>,
        python: Option<&dyn PythonRuntime>,
    ) {
        if let Some(mut watched) = self.lock(thread) {
            *watched = Some(WatchedRequest {
                begun,
                exchange: Arc::clone(exchange),
                thread: python.map_or(0, PythonRuntime::this_thread),
                interruption: Interruption::NotAsked,
            });
        }
    }

    /// The application is done with it. Takes back an exception that has not come any more.
    pub(super) fn end(&self, thread: usize, python: Option<&dyn PythonRuntime>) {
        let ended = self.lock(thread).and_then(|mut watched| watched.take());
        let is_raised = ended.is_some_and(|ended| ended.interruption == Interruption::Raised);
        if let (true, Some(python)) = (is_raised, python) {
            python.forget_timeout();
        }
    }

    /// The request of this thread that began then, if the application still has it.
    pub(super) fn exchange(&self, thread: usize, begun: u64) -> Option<Arc<FastcgiExchange>> {
        let watched = self.lock(thread)?;
        let request = watched.as_ref()?;
        (request.begun == begun).then(|| Arc::clone(&request.exchange))
    }

    /// The request of this thread that began then is to be interrupted. `false` where it is over.
    pub(super) fn ask(&self, thread: usize, begun: u64) -> bool {
        let Some(mut watched) = self.lock(thread) else {
            return false;
        };
        let request = watched.as_mut().filter(|request| request.begun == begun);
        request
            .map(|request| request.interruption = Interruption::Asked)
            .is_some()
    }

    /// Whether this thread, which calls this, is to raise the exception now. Once for each request that is asked for.
    pub(super) fn is_due(&self, thread: usize) -> bool {
        // In a child the lock may be held by a thread that is not there, and no request is the child's.
        if forked::is_child() {
            return false;
        }
        let Some(mut watched) = self.lock(thread) else {
            return false;
        };
        let due = watched
            .as_mut()
            .filter(|request| request.interruption == Interruption::Asked);
        due.map(|request| request.interruption = Interruption::Raised)
            .is_some()
    }

    /// Has `raise` raise it in the thread, whose number it is given, if the request that began then still is to be
    /// interrupted. That cannot end meanwhile.
    pub(super) fn raise(&self, thread: usize, begun: u64, raise: &dyn Fn(c_ulong)) {
        let Some(mut watched) = self.lock(thread) else {
            return;
        };
        let due = watched.as_mut().filter(|request| {
            request.begun == begun && request.interruption == Interruption::Asked
        });
        if let Some(request) = due {
            request.interruption = Interruption::Raised;
            raise(request.thread);
        }
    }
}
