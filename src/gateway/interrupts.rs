//! Signals that come while a transport waits for a thread that the application runs on: it may have handlers for them, which are
//! run by whoever knows how.

use std::cell::Cell;
use std::io;

thread_local! {
    /// Runs the handlers, on this thread; `false` where one of them wants the wait to end.
    static RUN: Cell<Option<fn() -> bool>> = const { Cell::new(None) };
}

/// From here on this runs the handlers of signals that interrupt a wait of this thread. It gives `false` where the wait is to
/// end.
pub fn run_handlers_by(run: fn() -> bool) {
    RUN.set(Some(run));
}

/// Says that a signal has interrupted a wait of this thread.
///
/// # Errors
/// Where the wait is to end ([`io::ErrorKind::Interrupted`]).
pub fn interrupted() -> io::Result<()> {
    match RUN.get() {
        Some(run) if !run() => Err(io::Error::new(
            io::ErrorKind::Interrupted,
            "a signal's handler has raised an exception",
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{interrupted, run_handlers_by};

    #[test]
    fn a_handler_may_end_the_wait_of_its_own_thread() {
        assert!(interrupted().is_ok());
        run_handlers_by(|| true);
        assert!(interrupted().is_ok());
        run_handlers_by(|| false);
        let error = interrupted().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::Interrupted);
        assert!(std::thread::spawn(|| interrupted().is_ok()).join().unwrap());
    }
}
