//! One worker, as far as the master knows: what it was last known to do, and what follows for it alone.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::super::super::messages::MasterMessage;
use super::super::super::scoreboard::Running;
use super::super::super::snapshot::{WorkerSeen, WorkerStage};
use super::super::reaction::{Action, ChildId, Died, Figures, Reaction};
use super::super::rules::{Breach, Speaker, WorkerState};
use super::start_failure::StartFailure;
use crate::gateway::TimeSpan;

/// In place of a generation's number, for the fallback, which has none.
pub(super) const NO_GENERATION: u32 = u32::MAX;

/// How long a worker that was told to write its stacks and end may take.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(2);

/// How long a worker may be late in seeing that a request has had its time, before it is taken for stopped; and how long
/// it then has to show that it was not: everything may have been stopped and go on now.
pub(super) const PUNCTUAL: Duration = Duration::from_secs(2);

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

/// What came of a worker's deadlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// It keeps them.
    No,
    /// It is killed.
    Killed,
    /// It was told to write its stacks and end.
    Told,
    /// That, and it was not even ready.
    NeverReady,
}

/// A worker.
#[derive(Debug)]
pub(super) struct WorkerRecord {
    number: u32,
    generation: u32,
    /// Not known yet while it is being started.
    pid: Option<Pid>,
    state: WorkerState,
    spawned_at: Instant,
    ready: Option<Instant>,
    /// Why it is to be replaced, where it is.
    retires: Option<String>,
    /// The limit that its first request has broken already, if it has.
    outgrown: Option<String>,
    /// Why it was told to end.
    reason: Option<String>,
    /// That it was not ready in time, where it was not.
    late: Option<String>,
    /// When more is done about its end, and what.
    limit: Option<(Instant, Limit)>,
    /// Which listening sockets it has; nothing where that is not known.
    version: Option<u32>,
    is_deaf: bool,
    /// Whether it did what no worker of ours does: it is killed for it.
    has_breached: bool,
    /// Since when it is stopped by a signal.
    stopped: Option<Instant>,
    figures: Figures,
}

impl WorkerRecord {
    /// One that is being started, on this version of the listening sockets.
    pub(super) fn new(number: u32, generation: u32, version: u32, now: Instant) -> Self {
        Self {
            number,
            generation,
            pid: None,
            state: WorkerState::Starting,
            spawned_at: now,
            ready: None,
            retires: None,
            outgrown: None,
            reason: None,
            late: None,
            limit: None,
            version: Some(version),
            is_deaf: false,
            has_breached: false,
            stopped: None,
            figures: Figures::new(now),
        }
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    pub(super) fn id(&self) -> ChildId {
        ChildId::Worker(self.number)
    }

    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    pub(super) fn pid(&self) -> Option<Pid> {
        self.pid
    }

    pub(super) fn state(&self) -> WorkerState {
        self.state
    }

    pub(super) fn spawned_at(&self) -> Instant {
        self.spawned_at
    }

    /// Why its generation does not come to serve, where it was to be the first of it and has ended.
    pub(super) fn start_failure(&self, died: Died) -> StartFailure {
        match (&self.late, &self.reason) {
            (Some(late), _) => StartFailure::Late(late.clone()),
            (None, Some(reason)) => StartFailure::Left(died, reason.clone()),
            (None, None) => StartFailure::Ended(died),
        }
    }

    /// Why it is to be replaced, where it is.
    pub(super) fn retires(&self) -> Option<&str> {
        self.retires.as_deref()
    }

    /// Why it is to end, where it is.
    pub(super) fn ending(&self) -> Option<&str> {
        self.reason.as_deref().or(self.retires.as_deref())
    }

    pub(super) fn is_outgrown(&self) -> bool {
        self.outgrown.is_some()
    }

    pub(super) fn figures(&self) -> &Figures {
        &self.figures
    }

    pub(super) fn note_figures(&mut self, figures: Figures) {
        self.figures = figures;
    }

    /// Whether it answers in the workers' place.
    pub(super) fn is_fallback(&self) -> bool {
        self.generation == NO_GENERATION
    }

    /// Whether requests are answered by the application here.
    pub(super) fn serves(&self) -> bool {
        self.state == WorkerState::Ready && !self.is_fallback()
    }

    /// Whether it could take a request more, now or when it is ready.
    pub(super) fn has_room(&self) -> bool {
        self.state == WorkerState::Starting || !self.figures.is_full
    }

    /// How long it has been without a request; nothing while it has one.
    pub(super) fn idle(&self, now: Instant) -> Option<Duration> {
        self.figures
            .idle_since
            .map(|since| now.saturating_duration_since(since))
    }

    /// How long it has served.
    pub(super) fn served(&self, now: Instant) -> Duration {
        self.ready.map_or(Duration::ZERO, |ready| now - ready)
    }

    /// How the log names it.
    pub(super) fn name(&self) -> String {
        match self.pid {
            Some(pid) if self.is_fallback() => format!("the fallback (pid {pid})"),
            Some(pid) => format!("worker {} (pid {pid})", self.number),
            None => format!("worker {}", self.number),
        }
    }

    /// What there is to show of it.
    pub(super) fn seen(&self, now: Instant) -> WorkerSeen {
        WorkerSeen {
            number: self.number,
            pid: self.pid.map(Pid::as_raw),
            generation: (!self.is_fallback()).then_some(self.generation),
            stage: match self.state {
                WorkerState::Starting => WorkerStage::Starting,
                WorkerState::Ready => WorkerStage::Ready,
                WorkerState::Leaving => WorkerStage::Draining,
            },
            age: now.saturating_duration_since(self.spawned_at),
            start: self.ready.map(|ready| ready - self.spawned_at),
            reason: self.ending().map(str::to_owned),
            limit: self.limit.map(|(at, _)| at.saturating_duration_since(now)),
            is_stopped: self.stopped.is_some(),
        }
    }

    /// How far it has come, for the rules.
    pub(super) fn speaker(&self) -> Speaker {
        match self.pid {
            Some(_) => Speaker::Worker(self.state),
            None => Speaker::Unadopted,
        }
    }

    /// Whether anything more is heard of it.
    pub(super) fn is_deaf(&self) -> bool {
        self.is_deaf
    }

    /// Whether it never came to be: no process has the other end of its channel, and none will be waited for.
    pub(super) fn is_unadopted(&self) -> bool {
        self.is_deaf && self.pid.is_none()
    }

    /// Whether it is to have these listening sockets and has others.
    pub(super) fn lacks(&self, version: u32) -> bool {
        self.state == WorkerState::Ready && self.version != Some(version)
    }

    /// Which listening sockets it has.
    pub(super) fn note_version(&mut self, version: Option<u32>) {
        self.version = version;
    }

    /// Its process, or that the one which was taken for it is not.
    pub(super) fn note_pid(&mut self, pid: Option<Pid>) {
        self.pid = pid;
    }

    /// It serves.
    pub(super) fn note_ready(&mut self, now: Instant) {
        self.state = WorkerState::Ready;
        self.ready = Some(now);
    }

    /// The other end of its channel is closed.
    pub(super) fn note_hung_up(&mut self, now: Instant) {
        self.is_deaf = true;
        // One that has not died, and does not end by itself.
        self.limit.get_or_insert((now + LAST_WORDS, Limit::Kill));
    }

    /// A signal has stopped it, or has it go on.
    pub(super) fn note_stopped(&mut self, is_stopped: bool, reaction: &mut Reaction) {
        self.stopped = is_stopped.then(|| self.stopped.unwrap_or_else(|| reaction.now()));
        let what = if is_stopped { "is stopped" } else { "goes on" };
        reaction.info(format!("{} {what} by a signal", self.name()));
    }

    /// It has reached a limit, whatever it does: it is replaced.
    pub(super) fn note_limit(&mut self, limit: String, reaction: &mut Reaction) {
        let is_news = self.state != WorkerState::Leaving && self.retires.is_none();
        if is_news && !self.is_fallback() {
            reaction.info(format!("{} has reached {limit}: replacing it", self.name()));
            self.retires = Some(limit);
        }
    }

    /// Its first request has broken a limit already; `false` where that matters no more.
    pub(super) fn note_outgrown(&mut self, limit: &str) -> bool {
        let matters = self.state != WorkerState::Leaving && !self.is_fallback();
        if matters {
            self.outgrown.get_or_insert_with(|| limit.to_owned());
        }
        matters
    }

    /// It is replaced for the limit that its first request has broken.
    pub(super) fn retire_outgrown(&mut self) {
        self.retires = self.outgrown.take();
    }

    /// It takes nothing new any more, for this reason, and is seen to when it has not ended by then.
    pub(super) fn leave(&mut self, reason: Option<String>, limit: (Instant, Limit)) {
        self.state = WorkerState::Leaving;
        self.reason = reason.or(self.reason.take());
        self.limit = Some(limit);
    }

    /// It has so long, whatever it does.
    pub(super) fn give_until(&mut self, at: Instant) {
        self.limit = Some((at, Limit::Kill));
    }

    /// Ends it: it is not what it was, and nothing more is heard of it.
    pub(super) fn expel(&mut self, breach: Breach, reaction: &mut Reaction) {
        reaction.error(format!("{} is killed and replaced: {breach}", self.name()));
        reaction.kill(self.id());
        reaction.add(Action::HearNoMore(self.id()));
        self.is_deaf = true;
        self.has_breached = true;
        self.leave(None, (reaction.after(LAST_WORDS), Limit::Kill));
    }

    /// When something follows of its being slow.
    pub(super) fn deadline(&self, startup: Duration) -> Option<Instant> {
        let limit = self.limit.map(|(at, _)| at);
        limit.or_else(|| (self.state == WorkerState::Starting).then(|| self.spawned_at + startup))
    }

    /// When it is to be taken for frozen, where it is stopped and requests may take so long.
    pub(super) fn frozen_at(&self, request_timeout: Duration) -> Option<Instant> {
        let at = self.stopped? + request_timeout + PUNCTUAL;
        // Else the time for that has its own end.
        (self.state == WorkerState::Ready && self.limit.is_none()).then_some(at)
    }

    /// Sees whether it does not see to --request-timeout any more: stopped by a signal, for one.
    pub(super) fn watch_for_frozen(&mut self, request_timeout: Duration, now: Instant) {
        let running = &self.figures.running;
        let late = running
            .iter()
            .any(|request| request.age >= request_timeout + PUNCTUAL);
        // It cannot know what waits on its connections, and hands nothing over.
        let is_late = |since: Instant| now >= since + request_timeout + PUNCTUAL;
        let late = late || self.stopped.is_some_and(is_late);
        match self.limit {
            None if late && self.state == WorkerState::Ready => {
                self.limit = Some((now + PUNCTUAL, Limit::Frozen));
            }
            Some((_, Limit::Frozen)) if !late => self.limit = None,
            _ => {}
        }
    }

    /// Does what is due where it takes too long to start or to end.
    pub(super) fn enforce_deadlines(
        &mut self,
        startup: Duration,
        grace: Duration,
        reaction: &mut Reaction,
    ) -> Overdue {
        let now = reaction.now();
        if self.deadline(startup).is_none_or(|at| now < at) {
            return Overdue::No;
        }
        let name = self.name();
        match self.limit {
            Some((_, Limit::Frozen)) => {
                let serving = serving(&self.figures.running);
                reaction.error(format!(
                    "{name} does not see to --request-timeout: it is stopped, or the machine is overloaded; killing \
                     it{serving}"
                ));
                reaction.kill(self.id());
                self.give_until(now + LAST_WORDS);
                return Overdue::Killed;
            }
            Some((_, Limit::Kill)) => {
                reaction.error(format!("{name} does not end: killing it"));
                reaction.kill(self.id());
                // Whoever has the other end of its channel, nobody has said that it is there.
                self.is_deaf |= self.pid.is_none();
                self.give_until(now + LAST_WORDS);
                return Overdue::Killed;
            }
            Some((_, Limit::Abort)) | None => {}
        }
        let is_starting = self.state == WorkerState::Starting;
        let reason = if is_starting {
            let late = format!("it was not ready within {}", TimeSpan(startup));
            let reason = StartFailure::Late(late.clone()).to_string();
            self.late = Some(late);
            reason
        } else {
            format!(
                "requests in flight, or Python itself, did not end within {} (--graceful-timeout)",
                TimeSpan(grace)
            )
        };
        reaction.error(format!("{name} has to end: {reason}"));
        reaction.add(Action::Tell(
            self.number,
            MasterMessage::Abort(reason.clone()),
            None,
        ));
        self.reason = Some(reason);
        self.give_until(now + LAST_WORDS);
        match is_starting && !self.is_fallback() {
            true => Overdue::NeverReady,
            false => Overdue::Told,
        }
    }

    /// Tells of its end, which was expected where it was told to leave, or the gateway ends. Of the first of its generation more is
    /// told elsewhere.
    pub(super) fn tell_end(
        &self,
        died: Died,
        is_expected: bool,
        is_first: bool,
        reaction: &mut Reaction,
    ) {
        let name = self.name();
        let age = reaction.now() - self.spawned_at;
        let serving = serving(&self.figures.running);
        if self.has_breached {
            reaction.info(format!("{name} ended: {died} after {age:.1?}{serving}"));
        } else if is_expected && died == Died::Exited(0) {
            let reason = self
                .ending()
                .map_or(String::new(), |reason| format!(": {reason}"));
            let requests = self.figures.requests;
            reaction.info(format!(
                "{name} ended after {age:.1?} and {requests} requests{reason}"
            ));
        } else if self.state == WorkerState::Starting {
            let level = if is_first {
                log::Level::Debug
            } else {
                log::Level::Error
            };
            reaction.log(
                level,
                format!("{name} ended: {died} after {age:.1?}, before it was ready"),
            );
        } else {
            reaction.error(format!("{name} ended: {died} after {age:.1?}{serving}"));
        }
    }

    /// Tells it to take nothing new any more, or asks for that in another way where it cannot be told.
    pub(super) fn drain(
        &mut self,
        message: MasterMessage,
        reason: &str,
        until: Instant,
        reaction: &mut Reaction,
    ) {
        self.leave(Some(reason.to_owned()), (until, Limit::Abort));
        reaction.add(Action::Tell(self.number, message, Some(Signal::SIGTERM)));
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
