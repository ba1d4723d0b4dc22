//! The thread of a worker that never needs Python's lock: it obeys signals and the master, and watches the time that
//! requests take.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::access_log::AccessLog;
use super::context::WorkerContext;
use super::overdue::{OverdueEnd, OverdueRequests};
use crate::fastcgi::{Answered, FastcgiExchange, Idle, Listener};
use crate::gateway::{Bookkeeper as _, Page, TimeSpan};
use crate::logging;
use crate::process::{self, ChildMessage, MasterMessage, Received, Running, Signal, Signals};

/// How long a worker whose master has died may still answer: nobody watches it any more.
const ORPHANED: Duration = Duration::from_millis(400);

/// How long a worker that was told to end by somebody else than its master goes on serving until it does: who sends
/// SIGTERM to all processes of a service means the end of all, and then the master says so. What waits to be let in is
/// nobody's any more where a worker accepts nothing more before that word comes.
const MASTER_S_WORD: Duration = Duration::from_millis(250);

/// How often a worker with an overdue request looks whether its thread is back, or the other threads are done.
const OVERDUE: Duration = Duration::from_millis(20);

/// How often a worker with a lifetime looks whether that has begun.
const IMPORTING: Duration = Duration::from_millis(100);

/// How long Python's lock may be kept until it is said that somebody keeps it.
const KEPT: Duration = Duration::from_millis(300);

/// Starts the thread.
///
/// # Errors
/// When there is none to be had.
pub(super) fn start(signals: Signals, context: &Arc<WorkerContext>) -> io::Result<()> {
    let controller = Controller {
        signals,
        context: Arc::clone(context),
        slow: HashMap::new(),
        leaves: None,
        end_by: None,
        overdue: OverdueRequests::default(),
        has_lost_thread: false,
        was_orphaned: false,
    };
    std::thread::Builder::new()
        .name("controller".to_owned())
        .spawn(move || controller.run())
        .map(drop)
}

struct Controller {
    signals: Signals,
    context: Arc<WorkerContext>,
    /// The request of each thread that the slow log has told of, by its beginning.
    slow: HashMap<usize, u64>,
    /// When it begins to end by itself.
    leaves: Option<Instant>,
    /// When the process ends whatever it still does.
    end_by: Option<Instant>,
    overdue: OverdueRequests,
    /// Whether the worker ends for one of them.
    has_lost_thread: bool,
    was_orphaned: bool,
}

impl Controller {
    fn run(mut self) {
        loop {
            self.wait();
            while let Some(signal) = self.signals.read() {
                self.obey(signal);
            }
            self.hear();
            self.leave_when_due();
            self.watch_requests();
            self.watch_lifetime();
            self.end_when_due();
        }
    }

    fn wait(&self) {
        let now = Instant::now();
        let wait = self
            .next(now)
            .map(|next| next.saturating_duration_since(now));
        let channel = self.context.channel.as_ref().filter(|_| !self.was_orphaned);
        process::wait_readable(&self.signals, channel, wait);
    }

    /// When something is due without a word from anybody. A request that has not begun yet is not due before its limit
    /// has passed from now, so that an idle worker sleeps.
    fn next(&self, now: Instant) -> Option<Instant> {
        let limits = &self.context.limits;
        let mut next = self.end_by;
        let mut by = |at: Instant| next = Some(next.map_or(at, |next: Instant| next.min(at)));
        if let Some(lifetime) = limits.lifetime {
            match self.context.ready.get() {
                Some(_) if self.context.retiring.load(Ordering::Relaxed) => {}
                Some(&ready) => by(ready + lifetime),
                None => by(now + IMPORTING),
            }
        }
        if !self.overdue.is_empty() {
            by(now + OVERDUE);
        }
        self.leaves.into_iter().for_each(&mut by);
        if limits.request.is_none() && limits.slow.is_none() {
            return next;
        }
        let running = self.context.slot.running();
        for limit in [limits.request, limits.slow].into_iter().flatten() {
            by(now + limit);
        }
        for request in &running {
            for (limit, done) in [
                (limits.request, self.overdue.has(request)),
                (limits.slow, self.is_told(request)),
            ] {
                if let (Some(limit), false) = (limit, done) {
                    by(now + limit.saturating_sub(request.age));
                }
            }
        }
        next
    }

    fn is_told(&self, request: &Running) -> bool {
        self.slow.get(&request.thread) == Some(&request.begun)
    }

    fn obey(&mut self, signal: Signal) {
        match signal {
            Signal::Terminate if self.context.has_master() => {
                self.context
                    .tell(&ChildMessage::Leaving("SIGTERM".to_owned()));
                let now = Instant::now();
                self.leaves.get_or_insert(now + MASTER_S_WORD);
            }
            Signal::Terminate => {
                log::info!("told to end: finishing what is in flight");
                self.stop(Idle::Close);
                self.end_by = Some(Instant::now() + self.context.limits.grace);
            }
            Signal::Interrupt => process::end_at_once(0),
            Signal::ReopenLog => {
                logging::reopen();
                self.context.access_log.iter().for_each(AccessLog::reopen);
            }
            Signal::Reload | Signal::More | Signal::Fewer | Signal::Child => {}
        }
    }

    /// Reads what the master says.
    fn hear(&mut self) {
        while !self.was_orphaned {
            let Some(channel) = &self.context.channel else {
                return;
            };
            match channel.receive() {
                Received::Message(MasterMessage::Drain) => self.stop(Idle::Pass),
                Received::Message(MasterMessage::Finish) => self.stop(Idle::Close),
                Received::Message(MasterMessage::Abort(reason)) => self.abort(&reason),
                Received::Message(MasterMessage::Listen(sockets)) => {
                    let listeners = sockets.into_iter().map(|socket| {
                        let tcp = process::is_tcp(&socket);
                        Listener::new(socket, tcp)
                    });
                    if let Some(responder) = self.context.responder.get() {
                        responder.replace_listeners(listeners.collect());
                    }
                }
                Received::Message(MasterMessage::Stacks) => {
                    let stacks = self.context.all_stacks(None);
                    self.context.tell(&ChildMessage::Stacks(stacks));
                }
                Received::Message(MasterMessage::Resume) => self.context.resume(),
                Received::Message(MasterMessage::Trouble(text)) => self.context.set_trouble(text),
                Received::Message(_) => {}
                Received::Nothing => return,
                Received::Closed => {
                    self.was_orphaned = true;
                    self.stop(Idle::Close);
                    self.end_by = Some(Instant::now() + ORPHANED);
                }
            }
        }
    }

    /// Begins to end; at once where nothing is served yet.
    fn stop(&self, idle: Idle) {
        match self.context.responder.get() {
            Some(responder) => responder.stop(idle),
            None => process::end_at_once(0),
        }
    }

    /// Says where everything is and ends.
    fn abort(&self, reason: &str) -> ! {
        // Before the signal, which may interrupt the very call that keeps the lock.
        let kept = self.kept_lock();
        let stacks = self.context.last_stacks();
        log::error!("ending at once: {reason}{kept}\n{stacks}");
        self.context.flush_lines();
        process::end_at_once(1)
    }

    fn kept_lock(&self) -> &'static str {
        let python = self.context.python.get();
        if python.is_none_or(|python| python.lock_is_free(KEPT)) {
            ""
        } else {
            "; a thread is in C code that keeps Python's lock (GIL)"
        }
    }

    fn watch_requests(&mut self) {
        let limits = self.context.limits;
        // Stacks that nobody takes down any more would only delay the end.
        if self.was_orphaned || (limits.request.is_none() && limits.slow.is_none()) {
            return;
        }
        let running = self.context.slot.running();
        for request in &running {
            if limits.request.is_some_and(|limit| request.age >= limit) {
                if !self.overdue.has(request) {
                    self.time_out(request.clone());
                }
            } else if limits.slow.is_some_and(|limit| request.age >= limit)
                && !self.is_told(request)
            {
                self.slow.insert(request.thread, request.begun);
                self.context.slot.count_slow();
                let stack = self.context.stack(request.tid);
                let text = format!(
                    "slow: {} runs for {:.3?} (--slow-log, request {})\n{stack}",
                    request.request, request.age, request.id
                );
                match self.context.access_log.as_ref() {
                    Some(log) if log.has_slow_log() => log.tell_slow(&text),
                    _ => log::warn!("{text}"),
                }
            }
        }
        self.settle_overdue(&running);
    }

    /// The request has had its time: it is answered, and its thread interrupted.
    fn time_out(&mut self, request: Running) {
        let (thread, begun) = (request.thread, request.begun);
        let Some(exchange) = self.context.watched.exchange(thread, begun) else {
            // It has ended just now.
            return;
        };
        self.context.slot.count_timeout();
        let answered = self.answer(&request, &exchange);
        // Before the signal, which may interrupt the very call that keeps the lock.
        let kept = self.kept_lock();
        let stacks = self.context.all_stacks(Some(request.tid));
        let wait = self.context.limits.kill_after;
        let next = match wait {
            Duration::ZERO => String::new(),
            wait => format!(
                ", and RequestTimeout is raised in it; its worker is replaced if it has not ended {wait:?} later (--kill-after)"
            ),
        };
        log::error!(
            "timeout: {} runs for {:.3?}, longer than --request-timeout (request {}): {answered}{next}{kept}\n{stacks}",
            request.request,
            request.age,
            request.id
        );
        if !wait.is_zero() {
            self.context.interrupt(&request);
        }
        self.overdue.add(request, wait);
    }

    /// Sees whether the threads of overdue requests are back. The worker ends for one that is not, with the other requests
    /// answered.
    fn settle_overdue(&mut self, running: &[Running]) {
        if self.overdue.is_empty() {
            return;
        }
        for end in self.overdue.settle(running) {
            match end {
                OverdueEnd::Back(request, after) => log::info!(
                    "timeout: {} has ended {after:.3?} after that, and its worker goes on serving",
                    request.request
                ),
                OverdueEnd::Lost(request) => self.lose(&request),
            }
        }
    }

    /// The thread of this request has not come back.
    fn lose(&mut self, request: &Running) {
        let wait = self.context.limits.kill_after;
        let kept = self.kept_lock();
        let stack = match wait {
            // It was told just now.
            Duration::ZERO => String::new(),
            _ => format!("\n{}", self.context.stack(request.tid)),
        };
        log::error!(
            "timeout: {} does not end: its worker is replaced and ends when its other requests are answered{kept}{stack}",
            request.request
        );
        if !self.has_lost_thread {
            self.has_lost_thread = true;
            let reason = format!("{} took longer than --request-timeout", request.request);
            self.context.tell(&ChildMessage::Leaving(reason));
            self.stop(Idle::Pass);
            self.end_by
                .get_or_insert(Instant::now() + self.context.limits.grace);
        }
    }

    /// Answers in the application's place, which is not to be waited for; says how that went.
    fn answer(&self, request: &Running, exchange: &FastcgiExchange) -> &'static str {
        let text = "The application did not answer in time.";
        let page = Page::new("504 Gateway Timeout", text).with_id(&request.id);
        let answered = exchange.answer_instead(&page);
        // The thread may never come to count it.
        if answered != Answered::TooLate {
            exchange
                .take_status()
                .into_iter()
                .for_each(|status| self.context.slot.answered(status));
            if let Some(log) = &self.context.access_log {
                let duration = u64::try_from(request.age.as_nanos()).unwrap_or(u64::MAX);
                log.tell_timed_out(exchange, request.thread, duration);
            }
        }
        match answered {
            Answered::Whole => "answered with 504",
            Answered::Cut => "cut, the web server takes nothing",
            Answered::BrokenOff => "its response has begun and is cut",
            Answered::TooLate => "its response has left",
        }
    }

    fn watch_lifetime(&self) {
        let lifetime = self.context.limits.lifetime;
        if let (Some(lifetime), Some(ready)) = (lifetime, self.context.ready.get()) {
            if ready.elapsed() >= lifetime {
                self.context.retire("--max-lifetime");
            }
        }
    }

    fn leave_when_due(&mut self) {
        if self.leaves.is_some_and(|at| Instant::now() >= at) {
            self.leaves = None;
            self.stop(Idle::Pass);
        }
    }

    /// Ends the process where the time for it has come.
    fn end_when_due(&mut self) {
        if self.has_lost_thread {
            let running = self.context.slot.running();
            let others = running.iter().any(|request| !self.overdue.is_lost(request));
            let waiting = self
                .context
                .responder
                .get()
                .is_some_and(|responder| responder.has_work());
            // A thread that came back after all ends the worker in the usual way.
            if !running.is_empty() && !others && !waiting {
                self.context.flush_lines();
                process::end_at_once(0);
            }
        }
        if self.end_by.is_some_and(|end| Instant::now() >= end) {
            if self.was_orphaned || self.has_lost_thread {
                self.context.flush_lines();
                process::end_at_once(0);
            }
            let reason = format!(
                "requests in flight, or Python itself, did not end within {} (--graceful-timeout)",
                TimeSpan(self.context.limits.grace)
            );
            self.abort(&reason);
        }
    }
}
