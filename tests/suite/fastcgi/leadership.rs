//! The hand-over of leadership under a scheduler that tries many orders of what the threads do: there are never two leaders,
//! nobody waits for ever, and the watchdog yields. A wait that never ends is a deadlock, which the scheduler reports.

use std::sync::Arc;

use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use shuttle::thread;

/// The gateway's own file, with these waits in the place of the standard library's.
#[path = "../../../src/fastcgi/leader.rs"]
mod leader;

mod waits {
    pub(super) use shuttle::sync::{Condvar, Mutex, MutexGuard};
    pub(super) use shuttle::thread::sleep;
}

/// Orders that are tried, and how often each thread comes to lead in one.
const ORDERS: usize = 100;
const TIMES: usize = 3;

struct Stage {
    leadership: leader::Leadership,
    /// Whether somebody leads.
    led: AtomicBool,
    /// Threads that have not led so often yet.
    left: AtomicUsize,
    /// Stands for the event descriptor by which the watchdog is woken while it leads.
    called: waits::Mutex<bool>,
    call: waits::Condvar,
}

impl Stage {
    fn begin_to_lead(&self) {
        assert!(!self.led.swap(true, Ordering::SeqCst), "two lead");
    }

    fn cease(&self) {
        assert!(self.led.swap(false, Ordering::SeqCst), "nobody led");
    }

    fn notify(&self) {
        *self.called.lock().unwrap() = true;
        self.call.notify_one();
    }

    fn work(&self) {
        for _ in 0..TIMES {
            let Some(turn) = self.leadership.take(|| self.notify()) else {
                panic!("all is over too soon");
            };
            self.begin_to_lead();
            if thread_rng().gen_range(0..3) > 0 {
                self.leadership.begin_run();
                for _ in 0..thread_rng().gen_range(0..8) {
                    thread::yield_now();
                }
                if !self.leadership.end_run(turn) {
                    // The watchdog has passed it on.
                    continue;
                }
            }
            self.cease();
            self.leadership.pass();
        }
        if self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.leadership.end();
            self.notify();
        }
    }

    /// The watchdog leads until it is wanted by somebody else.
    fn lead(&self) {
        self.begin_to_lead();
        while !self.leadership.is_wanted() {
            let mut called = self.called.lock().unwrap();
            while !*called {
                called = self.call.wait(called).unwrap();
            }
            *called = false;
        }
        self.cease();
    }
}

fn play(threads: usize) {
    let stage = Arc::new(Stage {
        leadership: leader::Leadership::new(threads),
        led: AtomicBool::new(false),
        left: AtomicUsize::new(threads),
        called: waits::Mutex::new(false),
        call: waits::Condvar::new(),
    });
    let watched = Arc::clone(&stage);
    let mut all = vec![thread::spawn(move || {
        watched
            .leadership
            .watch(|| watched.cease(), || watched.lead());
    })];
    for _ in 0..threads {
        let stage = Arc::clone(&stage);
        all.push(thread::spawn(move || stage.work()));
    }
    for thread in all {
        thread.join().unwrap();
    }
}

#[test]
fn leadership_goes_round_with_never_two_leaders() {
    for threads in 1..=3 {
        let hook = std::panic::take_hook();
        shuttle::check_random(move || play(threads), ORDERS);
        // The scheduler's own would speak up in every other test that fails.
        std::panic::set_hook(hook);
    }
}
