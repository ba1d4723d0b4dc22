//! The workers that there are: what each was last known to do, and what it says.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::super::channel::{Channel, Heard, Message};
use super::super::child::Child;
use super::super::output::Output;
use super::super::scoreboard::{Running, WorkerSlot};
use super::generations::Generation;
use super::rules::{Breach, MessageAllowance, Speaker, judge, plausible_files};
use super::{Master, Stage};

/// The most messages of one worker that are read before the others have their turn.
pub(super) const AT_ONCE: usize = 64;

/// The most outputs of dead workers that are read on for children of theirs: each takes a descriptor.
const STRAYS: usize = 64;

/// How long a worker that was told to write its stacks and end may take.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How long a worker may be late in seeing that a request has had its time, before it is taken for stopped; and how long
/// it then has to show that it was not: everything may have been stopped and go on now.
const PUNCTUAL: Duration = Duration::from_secs(2);

/// How long after a report that a worker is full it is taken for news.
const NEWS: Duration = Duration::from_millis(150);

/// How far a worker has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WorkerState {
    /// It imports the application.
    Starting,
    /// It serves.
    Ready,
    /// It takes nothing new any more.
    Leaving,
}

/// A worker.
#[derive(Debug)]
pub(super) struct WorkerProcess {
    pub(super) number: u32,
    pub(super) generation: u32,
    /// Not known yet while the template makes it.
    pub(super) process: Option<Child>,
    pub(super) place: WorkerSlot,
    pub(super) channel: Channel,
    pub(super) output: Output,
    pub(super) state: WorkerState,
    pub(super) born: Instant,
    pub(super) ready: Option<Instant>,
    /// Why it is to be replaced, where it is.
    pub(super) retires: Option<String>,
    /// The limit that its first request has broken already, if it has.
    pub(super) outgrown: Option<String>,
    /// Why it was told to end.
    pub(super) reason: Option<String>,
    /// When more is done about its end, and what.
    pub(super) limit: Option<(Instant, Limit)>,
    /// Which listening sockets it has.
    pub(super) version: u32,
    pub(super) hung_up: bool,
    /// How much was heard of it lately.
    pub(super) budget: MessageAllowance,
    /// What it did that no worker of ours does: it is killed for it.
    pub(super) breach: Option<Breach>,
    /// Since when it is stopped by a signal.
    pub(super) stopped: Option<Instant>,
}

/// What follows when a worker does not end in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// It writes its stacks and ends.
    Abort,
    /// It is killed.
    Kill,
    /// It is killed, unless it shows until then that it still watches its requests.
    Frozen,
}

impl WorkerProcess {
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let is_heard = !self.hung_up && self.budget.until().is_none();
        let channel = is_heard.then(|| self.channel.as_fd());
        let output = (!self.output.is_closed).then(|| self.output.as_fd());
        channel.into_iter().chain(output)
    }

    pub(super) fn deadline(&self, startup: Duration) -> Option<Instant> {
        let limit = self.limit.map(|(at, _)| at);
        limit.or_else(|| (self.state == WorkerState::Starting).then(|| self.born + startup))
    }

    /// How the log names it.
    pub(super) fn name(&self) -> String {
        match &self.process {
            Some(process) if self.is_fallback() => format!("the fallback (pid {})", process.pid()),
            Some(process) => format!("worker {} (pid {})", self.number, process.pid()),
            None => format!("worker {}", self.number),
        }
    }

    pub(super) fn signal(&self, signal: Signal) {
        if let Some(process) = &self.process {
            process.signal(signal);
        }
    }

    /// What it was doing, for the line about its death.
    fn serving(running: &[Running]) -> String {
        let Some(first) = running.first() else {
            return String::new();
        };
        let others = match running.len() {
            1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        format!(
            " while serving {} for {:.1?}{others}",
            first.request, first.age
        )
    }
}

impl Master<'_> {
    /// Reads what workers and templates have said.
    pub(super) fn read_all(&mut self) {
        for index in 0..self.workers.len() {
            self.read_worker(index);
        }
        for (number, output) in &mut self.strays {
            output.read(|line| tell(*number, line));
        }
        self.strays.retain(|(_, output)| !output.is_closed);
        let many = self.strays.len().saturating_sub(STRAYS);
        for (number, _) in self.strays.drain(..many) {
            log::warn!(
                "worker {number} has left processes behind whose output is read no more: {STRAYS} others have, too"
            );
        }
        self.read_templates();
    }

    /// Reads what a worker has said, as much as is its turn.
    fn read_worker(&mut self, index: usize) {
        let now = Instant::now();
        let number = self.workers[index].number;
        for _ in 0..AT_ONCE {
            let worker = &mut self.workers[index];
            if worker.hung_up || worker.budget.is_spent(now) || !self.hear(index, now) {
                break;
            }
        }
        self.workers[index].output.read(|line| tell(number, line));
    }

    /// Hears the next that a worker has to say; whether there was something.
    fn hear(&mut self, index: usize, now: Instant) -> bool {
        let watches = self.plan.watch_files;
        let worker = &mut self.workers[index];
        let judged = match worker.channel.hear() {
            Heard::Nothing => return false,
            Heard::Closed => {
                worker.hung_up = true;
                // One that has not died, and does not end by itself.
                let limit = (now + LAST_WORDS, Limit::Kill);
                worker.limit.get_or_insert(limit);
                return false;
            }
            Heard::Nonsense(what) => Err(Breach(what)),
            Heard::Message(message, sender) => {
                worker.budget.spend(&message);
                let pid = worker.process.as_ref().map(Child::pid);
                let speaker = pid.map_or(Speaker::Unborn, |_| Speaker::WorkerProcess(worker.state));
                let judged = match pid {
                    Some(pid) if pid != sender => Err(Breach("by another process")),
                    _ => judge(&message, speaker, watches),
                };
                judged.map(|()| (message, sender))
            }
        };
        match judged {
            Ok((Message::Forked, sender)) => self.is_born(index, sender, now),
            Ok((message, _)) => self.obey(index, message, now),
            Err(breach) => self.expel(index, breach, now),
        }
        true
    }

    /// A worker that the template has made is there, and this is its number.
    fn is_born(&mut self, index: usize, pid: Pid, now: Instant) {
        let is = |child: &Child| child.pid() == pid;
        let templates = self.current.iter().chain(&self.candidate);
        let mut templates = templates.filter_map(|known| known.template.as_ref());
        let is_known = templates.any(|template| is(&template.process))
            || self
                .workers
                .iter()
                .any(|worker| worker.process.as_ref().is_some_and(is));
        match Child::find(pid).filter(|_| !is_known) {
            Some(child) => self.workers[index].process = Some(child),
            None => self.expel(index, Breach("in another's name"), now),
        }
    }

    /// Ends a worker that is not what it was: nothing more is heard of it.
    fn expel(&mut self, index: usize, breach: Breach, now: Instant) {
        let worker = &mut self.workers[index];
        let served = worker.ready.map_or(Duration::ZERO, |ready| now - ready);
        let begun = worker.born;
        log::error!("{} is killed and replaced: {breach}", worker.name());
        worker.signal(Signal::SIGKILL);
        worker.hung_up = true;
        worker.breach = Some(breach);
        worker.state = WorkerState::Leaving;
        worker.limit = Some((now + LAST_WORDS, Limit::Kill));
        let is_current = self.current.as_ref().map(|it| it.number) == Some(worker.generation);
        if is_current && self.stage == Stage::Serving {
            self.backoff.died(now, served);
            self.note_failure(begun);
        }
    }

    /// Gives up workers that never came to be: the template that was to fork them has ended, or was refused a process. No
    /// process has the other end of such a worker's channel, and none will be waited for.
    pub(super) fn forget_unborn(&mut self) {
        while let Some(index) = self
            .workers
            .iter()
            .position(|worker| worker.hung_up && worker.process.is_none())
        {
            let worker = self.workers.remove(index);
            let number = |generation: &Option<Generation>| generation.as_ref().map(|it| it.number);
            let asked_by = Some(worker.generation);
            if self.stage == Stage::Ending {
                continue;
            }
            if asked_by == number(&self.candidate) {
                self.candidate_failed(Died::Exited(1), Some("no worker can be made"));
            } else if asked_by == number(&self.current) {
                let delay = self.backoff.died(Instant::now(), Duration::ZERO);
                self.note_failure(worker.born);
                log::error!(
                    "worker {} was not made: its template has ended, or the system makes no more processes; tried again \
                     in {delay:?}",
                    worker.number
                );
            }
        }
    }

    fn obey(&mut self, index: usize, message: Message, now: Instant) {
        let worker = &mut self.workers[index];
        let number = worker.number;
        match message {
            Message::Ready => self.worker_ready(index, now),
            Message::Full => self.full_until = Some(now + NEWS),
            Message::Retire(limit) => self.note_limit(index, limit),
            Message::Outgrown(limit) => self.note_outgrown(index, limit),
            Message::Leaving(reason) => {
                if worker.state != WorkerState::Leaving {
                    worker.state = WorkerState::Leaving;
                    worker.reason = Some(reason);
                    worker.limit = Some((now + self.plan.graceful_timeout, Limit::Abort));
                    // It may be that the sockets are not what they were, and that the next will find that, too.
                    self.next_look = now;
                    if worker.place.requests() == 0 {
                        self.backoff.died(now, Duration::ZERO);
                    }
                }
            }
            Message::Log(level, text) => say(level, &format!("worker {number}: {text}")),
            Message::CannotLoad(text) => {
                let generation = worker.generation;
                self.note_trouble(generation, text);
            }
            Message::Files(files) => {
                let files = plausible_files(&files, self.files.len());
                self.note_files(&files);
            }
            // Heard before, or not let through by the rules.
            Message::Forked
            | Message::Drain
            | Message::Finish
            | Message::Abort(_)
            | Message::Listen(_)
            | Message::Trouble(_)
            | Message::Resume
            | Message::Fork(..) => {}
        }
    }

    fn worker_ready(&mut self, index: usize, now: Instant) {
        let worker = &mut self.workers[index];
        if worker.state != WorkerState::Starting {
            return;
        }
        if worker.is_fallback() {
            self.fallback_ready(index, now);
            return;
        }
        worker.state = WorkerState::Ready;
        worker.ready = Some(now);
        // Only this: it may have begun its first request before its word was heard.
        worker.place.begin_idling();
        log::info!("{} is ready", worker.name());
        self.note_success();
        self.tell_trouble();
        self.tell_listeners();
    }

    /// Sends the listening sockets to the workers that have others.
    pub(super) fn tell_listeners(&mut self) {
        for worker in &mut self.workers {
            if worker.state != WorkerState::Ready || worker.version == self.version {
                continue;
            }
            let Ok(sockets) = self.listening.try_clone() else {
                log::error!(
                    "the new sockets cannot be passed to the workers: no descriptors are left"
                );
                return;
            };
            let sockets = sockets.into_iter().map(|bound| bound.socket).collect();
            match worker.channel.send_now(&Message::Listen(sockets)) {
                Ok(()) => worker.version = self.version,
                Err(error) => {
                    log::error!(
                        "{} cannot be told of the new sockets: {error}",
                        worker.name()
                    );
                }
            }
        }
    }

    /// When it is to be looked whether workers are frozen, where they have deadlines to keep.
    pub(super) fn next_frozen(&self, now: Instant) -> Option<Instant> {
        let limit = self.plan.request_timeout?;
        let serves = |worker: &WorkerProcess| worker.state == WorkerState::Ready;
        let is_any = self.workers.iter().any(serves);
        let looks = is_any.then(|| now + limit.max(PUNCTUAL));
        let stopped = self.workers.iter().filter_map(|worker| worker.stopped);
        let stopped = stopped.min().map(|since| since + limit + PUNCTUAL);
        looks.into_iter().chain(stopped).min()
    }

    /// A signal has stopped a worker, or has it go on.
    fn note_stopped(&mut self, pid: Pid, is_stopped: bool) {
        let is = |worker: &&mut WorkerProcess| worker.process.as_ref().map(Child::pid) == Some(pid);
        if let Some(worker) = self.workers.iter_mut().find(is) {
            worker.stopped = is_stopped.then(|| worker.stopped.unwrap_or_else(Instant::now));
            let what = if is_stopped { "is stopped" } else { "goes on" };
            log::info!("{} {what} by a signal", worker.name());
        }
    }

    /// Finds workers that do not see to --request-timeout any more: stopped by a signal, for one.
    pub(super) fn watch_for_frozen(&mut self, now: Instant) {
        let Some(limit) = self.plan.request_timeout else {
            return;
        };
        for worker in &mut self.workers {
            let running = worker.place.running();
            let late = running
                .iter()
                .any(|request| request.age >= limit + PUNCTUAL);
            // It cannot know what waits on its connections, and hands nothing over.
            let late = late
                || worker
                    .stopped
                    .is_some_and(|since| now >= since + limit + PUNCTUAL);
            match worker.limit {
                None if late && worker.state == WorkerState::Ready => {
                    worker.limit = Some((now + PUNCTUAL, Limit::Frozen));
                }
                Some((_, Limit::Frozen)) if !late => worker.limit = None,
                _ => {}
            }
        }
    }

    /// Does what is due with workers that take too long to start or to end.
    pub(super) fn enforce_deadlines(&mut self, now: Instant) {
        let (startup, grace) = (self.plan.startup_timeout, self.plan.graceful_timeout);
        let mut failed = None;
        for worker in &mut self.workers {
            if worker.deadline(startup).is_none_or(|at| now < at) {
                continue;
            }
            if worker
                .limit
                .is_some_and(|(_, limit)| limit == Limit::Frozen)
            {
                let serving = WorkerProcess::serving(&worker.place.running());
                log::error!(
                    "{} does not see to --request-timeout: it is stopped, or the machine is overloaded; killing it{serving}",
                    worker.name()
                );
                worker.signal(Signal::SIGKILL);
                worker.limit = Some((now + LAST_WORDS, Limit::Kill));
                continue;
            }
            let reason = if worker.state == WorkerState::Starting {
                format!("it was not ready within {startup:?} (--startup-timeout)")
            } else {
                format!(
                    "requests in flight, or Python itself, did not end within {grace:?} (--graceful-timeout)"
                )
            };
            if worker.limit.is_some_and(|(_, limit)| limit == Limit::Kill) {
                log::error!("{} does not end: killing it", worker.name());
                worker.signal(Signal::SIGKILL);
                // Whoever has the other end of its channel, nobody has said that it is there.
                worker.hung_up |= worker.process.is_none();
                worker.limit = Some((now + LAST_WORDS, Limit::Kill));
                continue;
            }
            if worker.state == WorkerState::Starting && !worker.is_fallback() {
                failed.get_or_insert(worker.born);
            }
            log::error!("{} has to end: {reason}", worker.name());
            let _ = worker.channel.send_now(&Message::Abort(reason.clone()));
            worker.reason = Some(reason);
            worker.limit = Some((now + LAST_WORDS, Limit::Kill));
            if self.stage == Stage::Ending {
                self.ending = super::Ending::Cut;
            }
        }
        if let Some(begun) = failed {
            self.note_failure(begun);
        }
    }

    /// Buries the dead.
    pub(super) fn reap(&mut self) {
        loop {
            let changes = WaitPidFlag::WEXITED | WaitPidFlag::WSTOPPED | WaitPidFlag::WCONTINUED;
            let changes = changes | WaitPidFlag::WNOHANG;
            let found = waitid(Id::All, changes | WaitPidFlag::WNOWAIT);
            let ended = match found {
                Ok(WaitStatus::Exited(pid, code)) => Ok((pid, Died::Exited(code))),
                Ok(WaitStatus::Signaled(pid, signal, _)) => Ok((pid, Died::Killed(signal))),
                Ok(WaitStatus::Stopped(pid, _)) => Err((pid, true)),
                Ok(WaitStatus::Continued(pid)) => Err((pid, false)),
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
                Err(Errno::EINTR) | Ok(_) => continue,
                Err(error) => {
                    log::error!("waitid failed: {error}");
                    return;
                }
            };
            // Its last words, and what it has said of its birth: until it was waited for its number is its own.
            self.read_all();
            let (pid, status) = match ended {
                Ok(ended) => ended,
                Err((pid, is_stopped)) => {
                    let _ = waitid(Id::Pid(pid), changes);
                    self.note_stopped(pid, is_stopped);
                    continue;
                }
            };
            let _ = waitid(Id::Pid(pid), changes);
            let found = self
                .workers
                .iter()
                .position(|worker| worker.process.as_ref().map(Child::pid) == Some(pid));
            match found {
                Some(index) => self.bury(index, status),
                None if self.bury_template(pid, status) => {}
                None => log::debug!("reaped process {pid}, left behind by a worker"),
            }
        }
    }

    fn bury(&mut self, index: usize, died: Died) {
        /// More than the channel holds is a child's of the worker.
        const TURNS: usize = 16;
        let now = Instant::now();
        for _ in 0..TURNS * AT_ONCE {
            if self.workers[index].hung_up || !self.hear(index, now) {
                break;
            }
        }
        let mut worker = self.workers.remove(index);
        worker.output.read_last(|line| tell(worker.number, line));
        let running = worker.place.running();
        let requests = worker.place.requests();
        self.requests = self.requests.saturating_add(requests);
        let age = now - worker.born;
        let name = worker.name();
        if worker.is_fallback() {
            self.bury_fallback(&worker, died, now);
            return;
        }
        let serving = WorkerProcess::serving(&running);
        let expected = worker.state == WorkerState::Leaving || self.stage == Stage::Ending;
        if worker.breach.is_some() {
            log::info!("{name} ended: {died} after {age:.1?}{serving}");
        } else if expected && died == Died::Exited(0) {
            let reason = worker.reason.as_deref().or(worker.retires.as_deref());
            let reason = reason.map_or(String::new(), |reason| format!(": {reason}"));
            log::info!("{name} ended after {age:.1?} and {requests} requests{reason}");
        } else if worker.state == WorkerState::Starting {
            log::error!("{name} ended: {died} after {age:.1?}, before it was ready");
        } else {
            log::error!("{name} ended: {died} after {age:.1?}{serving}");
        }
        if !worker.output.is_closed {
            self.strays.push((worker.number, worker.output));
        }
        if self.stage == Stage::Ending {
            return;
        }
        if self
            .candidate
            .as_ref()
            .is_some_and(|next| next.number == worker.generation)
        {
            self.candidate_failed(died, worker.reason.as_deref());
        } else if !expected {
            if self
                .workers
                .iter()
                .any(|worker| worker.state == WorkerState::Ready)
            {
                self.crew.worker_died();
            }
            let served = worker.ready.map_or(Duration::ZERO, |ready| now - ready);
            let delay = if requests > running.len() as u64 {
                self.backoff.pardon()
            } else {
                self.note_failure(worker.born);
                self.backoff.died(now, served)
            };
            if !delay.is_zero() {
                log::warn!("workers die one after another: the next is made in {delay:?}");
            }
        }
    }
}

/// How a process has died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Died {
    /// With this exit code.
    Exited(i32),
    /// By this signal.
    Killed(Signal),
}

impl std::fmt::Display for Died {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit code {code}"),
            Self::Killed(signal) => write!(f, "killed by signal {signal}"),
        }
    }
}

/// Tells a line of a worker's output.
pub(super) fn tell(number: u32, line: &str) {
    if !line.is_empty() {
        log::info!("worker {number}: {line}");
    }
}

/// Tells what a worker logs, at its level.
pub(super) fn say(level: u8, text: &str) {
    let level = log::Level::iter()
        .find(|known| *known as usize == usize::from(level))
        .unwrap_or(log::Level::Error);
    let is_odd = |letter: char| letter.is_control() && letter != '\n' && letter != '\t';
    if text.contains(is_odd) {
        // Not for a terminal to obey.
        let text = text.replace(is_odd, "\u{fffd}");
        log::log!(level, "{text}");
    } else {
        log::log!(level, "{text}");
    }
}
