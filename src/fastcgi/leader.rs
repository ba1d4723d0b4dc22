//! Which of the application threads polls.
//!
//! Threads that all poll wake each other up for Python's lock and get in each other's way (measured: 21 us of CPU time a
//! request instead of 12.5). So one thread at a time leads: it polls and, while requests are short, also runs them, the
//! others asleep. It passes leadership before a request that is likely to be long, and the watchdog passes it on when
//! one that should have been short is not back after a millisecond.
//!
//! When no thread is free to take leadership for some 5 ms, the watchdog takes it itself and does what can be done
//! without the application. The holder is written under the lock only, so there are never two: the watchdog becomes it
//! only while nobody is and no thread waits to be, and a thread that comes to wait later asks it to yield.

use std::sync::PoisonError;
use std::time::Duration;

use super::waits::{Condvar, Mutex, MutexGuard, sleep};

#[derive(Debug)]
pub(super) struct Leadership {
    pace: Pace,
    state: Mutex<LeaderState>,
    /// Somebody may take leadership, or all is over.
    free: Condvar,
    /// The watchdog has something to watch, or all is over.
    running: Condvar,
}

/// How closely the watchdog watches.
#[derive(Debug)]
struct Pace {
    /// How often it looks: a request is relieved of leadership after one to two of these.
    tick: Duration,
    /// Ticks without a request after which it sleeps until there is one.
    quiet: u32,
    /// Ticks for which no thread takes leadership until it does so itself.
    stuck: u32,
}

#[derive(Debug, Default)]
struct LeaderState {
    holder: Holder,
    over: bool,
    /// Threads that wait for leadership.
    waiting: usize,
    /// Whether a thread ever came for it: before that, nobody is busy.
    begun: bool,
    /// A thread wants it back from the watchdog.
    wanted: bool,
    /// Counts the times that leadership was given up: a leader knows by it whether it still is one.
    turn: u64,
    run: Run,
    watchdog_sleeps: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Holder {
    #[default]
    Nobody,
    Thread,
    Watchdog,
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

impl LeaderState {
    /// Whether all threads are in requests.
    fn is_stuck(&self) -> bool {
        self.begun && self.holder == Holder::Nobody && self.waiting == 0
    }
}

impl Leadership {
    /// That of so many threads.
    pub(super) fn new(threads: usize) -> Self {
        let millisecond = Duration::from_millis(1);
        let pace = if threads > 1 {
            Pace {
                tick: millisecond,
                quiet: 20,
                stuck: 4,
            }
        } else {
            // With nobody to give leadership to, relief can wait for the time when the watchdog takes it itself.
            Pace {
                tick: 3 * millisecond,
                quiet: 7,
                stuck: 0,
            }
        };
        Self {
            pace,
            state: Mutex::default(),
            free: Condvar::new(),
            running: Condvar::new(),
        }
    }

    /// Waits for leadership, and gives the leader's turn; `None` when there is nothing more to lead. `call` is to have
    /// the watchdog see that [`Leadership::is_wanted`].
    pub(super) fn take(&self, call: impl Fn()) -> Option<u64> {
        let mut state = self.lock();
        state.begun = true;
        state.waiting += 1;
        while state.holder != Holder::Nobody && !state.over {
            if state.holder == Holder::Watchdog && !state.wanted {
                state.wanted = true;
                call();
            }
            state = wait(&self.free, state);
        }
        state.waiting -= 1;
        if state.over {
            return None;
        }
        state.holder = Holder::Thread;
        Some(state.turn)
    }

    /// The leader passes leadership on.
    pub(super) fn pass(&self) {
        self.release(&mut self.lock());
    }

    /// The leader begins to run the application with leadership in hand.
    pub(super) fn begin_run(&self) {
        let mut state = self.lock();
        state.run = Run::New;
        if state.watchdog_sleeps {
            self.running.notify_one();
        }
    }

    /// The application is back: `false` when the watchdog has passed leadership on since that turn began.
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

    /// Whether the watchdog is to yield leadership.
    pub(super) fn is_wanted(&self) -> bool {
        let state = self.lock();
        state.wanted || state.over
    }

    /// The watchdog's life. `relieve` is called before leadership of a thread in a long request goes to another, `lead`
    /// with leadership in hand when there is no other: it returns when leadership is wanted.
    pub(super) fn watch(&self, relieve: impl Fn(), lead: impl Fn()) {
        let (mut quiet, mut stuck) = (0, 0);
        let mut state = self.lock();
        while !state.over {
            if !state.is_stuck() {
                stuck = 0;
                if state.run == Run::Polling && quiet >= self.pace.quiet {
                    state.watchdog_sleeps = true;
                    state = wait(&self.running, state);
                    state.watchdog_sleeps = false;
                    quiet = 0;
                    continue;
                }
            } else if stuck >= self.pace.stuck {
                state.holder = Holder::Watchdog;
                drop(state);
                lead();
                state = self.lock();
                self.release(&mut state);
                (quiet, stuck) = (0, 0);
                continue;
            }
            let turn = state.turn;
            drop(state);
            sleep(self.pace.tick);
            state = self.lock();
            // A thread that came and went meanwhile has polled.
            stuck = if state.turn == turn { stuck + 1 } else { 0 };
            quiet += 1;
            match state.run {
                Run::Polling => continue,
                Run::New => state.run = Run::Seen,
                Run::Seen => {
                    state.run = Run::Polling;
                    relieve();
                    self.release(&mut state);
                    stuck = 0;
                }
            }
            quiet = 0;
        }
    }

    fn release(&self, state: &mut LeaderState) {
        state.holder = Holder::Nobody;
        state.turn += 1;
        state.wanted = false;
        if state.waiting > 0 {
            self.free.notify_one();
        } else if state.watchdog_sleeps {
            self.running.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, LeaderState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait<'a>(
    condition: &Condvar,
    state: MutexGuard<'a, LeaderState>,
) -> MutexGuard<'a, LeaderState> {
    condition
        .wait(state)
        .unwrap_or_else(PoisonError::into_inner)
}
