//! Which of the application threads polls.
//!
//! Threads that all poll wake each other up for Python's lock and get in each other's way (measured: 21 us of CPU time a
//! request instead of 12.5). So one thread at a time leads: it polls and, while requests are short, also runs them, the
//! others asleep. It passes the baton before a request that is likely to be long, and the watchdog passes it on when
//! one that should have been short is not back after a millisecond.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often the watchdog looks: a request is relieved of the baton after one to two of these.
const TICK: Duration = Duration::from_millis(1);

/// Ticks without a request after which the watchdog sleeps until there is one.
const QUIET_TICKS: u32 = 20;

#[derive(Debug, Default)]
pub(super) struct Baton {
    state: Mutex<State>,
    /// Somebody may take the baton, or all is over.
    free: Condvar,
    /// The watchdog has something to watch, or all is over.
    running: Condvar,
}

#[derive(Debug, Default)]
struct State {
    led: bool,
    over: bool,
    /// Counts the times that the baton was given up: a leader knows by it whether it still is one.
    turn: u64,
    run: Run,
    watchdog_sleeps: bool,
}

/// What the leader does.
#[derive(Debug, Default, PartialEq, Eq)]
enum Run {
    #[default]
    Polling,
    /// Runs the application since less than a tick.
    New,
    /// Ran it already when the watchdog last looked.
    Seen,
}

impl Baton {
    /// Waits for the baton, and gives the leader's turn; `None` when there is nothing more to lead.
    pub(super) fn take(&self) -> Option<u64> {
        let mut state = self.lock();
        while state.led && !state.over {
            state = wait(&self.free, state);
        }
        state.led = true;
        (!state.over).then_some(state.turn)
    }

    /// The leader passes the baton on.
    pub(super) fn pass(&self) {
        self.release(&mut self.lock());
    }

    /// The leader begins to run the application with the baton in hand.
    pub(super) fn begin_run(&self) {
        let mut state = self.lock();
        state.run = Run::New;
        if state.watchdog_sleeps {
            self.running.notify_one();
        }
    }

    /// The application is back: `false` when the watchdog has passed the baton on since that turn began.
    pub(super) fn end_run(&self, turn: u64) -> bool {
        let mut state = self.lock();
        if state.turn != turn {
            return false;
        }
        state.run = Run::Polling;
        true
    }

    /// Everything is over: all who wait return.
    pub(super) fn end(&self) {
        self.lock().over = true;
        self.free.notify_all();
        self.running.notify_all();
    }

    /// The watchdog's life. `relieve` is called before the baton of a thread in a long request goes to another.
    pub(super) fn watch(&self, relieve: impl Fn()) {
        let (mut quiet, mut state) = (0, self.lock());
        while !state.over {
            if state.run == Run::Polling && quiet >= QUIET_TICKS {
                state.watchdog_sleeps = true;
                state = wait(&self.running, state);
                state.watchdog_sleeps = false;
                quiet = 0;
                continue;
            }
            drop(state);
            std::thread::sleep(TICK);
            state = self.lock();
            quiet += 1;
            match state.run {
                Run::Polling => continue,
                Run::New => state.run = Run::Seen,
                Run::Seen => {
                    state.run = Run::Polling;
                    relieve();
                    self.release(&mut state);
                }
            }
            quiet = 0;
        }
    }

    fn release(&self, state: &mut State) {
        state.led = false;
        state.turn += 1;
        self.free.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait<'a>(condition: &Condvar, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
    condition
        .wait(state)
        .unwrap_or_else(PoisonError::into_inner)
}
