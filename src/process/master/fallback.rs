//! The fallback: a process that answers in the workers' place where none can be made, with a page that says when to come
//! again, so that nobody waits for nothing. The master itself reads nothing of a request.
//!
//! It is one of the master's workers but for its generation, of which it has none: it runs no application, counts for no
//! place in the pool, and leaves as soon as a worker serves, to which it passes the connections that web servers keep.

use std::time::{Duration, Instant};

use super::super::channel::Message;
use super::super::pool::Backoff;
use super::workers::{Limit, WorkerProcess, WorkerState};
use super::{Master, Stage};

/// In place of a generation's number.
pub(super) const NO_GENERATION: u32 = u32::MAX;

/// How long it is tried to make a worker before those who wait are told that there is none, if that is not over with
/// --startup-timeout already.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the connections that wait at the end of a first start that has failed may take to be told so.
const FAREWELL: Duration = Duration::from_secs(2);

/// Whether workers can be made, and who answers where they cannot.
#[derive(Debug, Default)]
pub(super) struct Need {
    /// When the making of the first process was begun of those that have failed since one has become ready.
    since: Option<Instant>,
    /// When the next fallback may be made, after those that have died.
    backoff: Backoff,
}

impl WorkerProcess {
    pub(super) fn is_fallback(&self) -> bool {
        self.generation == NO_GENERATION
    }

    /// Whether requests are answered by the application here.
    pub(super) fn serves(&self) -> bool {
        self.state == WorkerState::Ready && !self.is_fallback()
    }
}

impl Master<'_> {
    /// A process that was to serve has ended before it could, or could not be made; `begun` is when that was tried.
    pub(super) fn note_failure(&mut self, begun: Instant) {
        let since = self.need.since.get_or_insert(begun);
        *since = begun.min(*since);
        // Who takes nothing new until it is replaced would wait in vain.
        for worker in &self.workers {
            if worker.serves() && worker.retires.is_some() {
                let _ = worker.channel.send_now(&Message::Resume);
            }
        }
    }

    /// Workers can be made, as far as is known.
    pub(super) fn note_success(&mut self) {
        self.need.since = None;
    }

    /// Whether the workers that serve may be all that there will be for now: others cannot be made, or it is not known yet
    /// whether they can.
    pub(super) fn is_in_need(&self) -> bool {
        let is_tried = |worker: &WorkerProcess| worker.state == WorkerState::Starting;
        self.need.since.is_some()
            || self.candidate.is_some()
            || !self.can_make_workers()
            || self.workers.iter().any(is_tried)
    }

    /// How many workers serve.
    pub(super) fn serving_workers(&self) -> usize {
        self.workers.iter().filter(|worker| worker.serves()).count()
    }

    fn fallback(&self) -> Option<usize> {
        let answers =
            |worker: &WorkerProcess| worker.is_fallback() && worker.state != WorkerState::Leaving;
        self.workers.iter().position(answers)
    }

    /// From when on those who wait are to be told that there is no worker; nothing where there is one, or no sign that
    /// there will be none.
    fn fallback_due(&self, now: Instant) -> Option<Instant> {
        let since = self.need.since.or_else(|| self.hanging_since(now))?;
        if self.serving_workers() > 0 || self.fallback().is_some() || self.stage != Stage::Serving {
            return None;
        }
        let patience = PATIENCE.min(self.plan.startup_timeout / 2);
        let is_tried = self.current.is_some() || self.candidate.is_some();
        let mut due = if is_tried { since + patience } else { since };
        // This one may be different.
        for worker in &self.workers {
            if worker.state == WorkerState::Starting {
                due = due.max(worker.born + patience);
            }
        }
        Some(due)
    }

    /// When the template was made that workers are waiting for, where it has had its time and is about to be killed.
    fn hanging_since(&self, now: Instant) -> Option<Instant> {
        let generation = self.current.as_ref().or(self.candidate.as_ref())?;
        let template = generation.template.as_ref()?;
        let is_over = template.ready.is_none() && now >= template.born + self.plan.startup_timeout;
        is_over.then_some(template.born)
    }

    /// When the need for a fallback is to be looked at without an event.
    pub(super) fn next_fallback(&self, now: Instant) -> Option<Instant> {
        let due = self.fallback_due(now)?;
        let until = self.need.backoff.until(now);
        Some(until.map_or(due, |until| due.max(until))).filter(|at| *at > now)
    }

    /// Whether a connection that waits has to wake the master: nobody else is going to take it.
    pub(super) fn would_answer_itself(&self, now: Instant) -> bool {
        let is_due = self.fallback_due(now).is_some_and(|due| now >= due);
        is_due && self.need.backoff.until(now).is_none()
    }

    /// Has a fallback answer where somebody waits and no worker can be made, and none where there is one.
    pub(super) fn keep_fallback(&mut self, now: Instant) {
        if self.serving_workers() > 0 {
            self.send_fallback_away(&Message::Drain, now + self.plan.graceful_timeout);
        } else if self.would_answer_itself(now) && self.is_anyone_waiting() {
            log::error!(
                "no worker can be made, and requests wait: they are answered with 503 until one is ready"
            );
            self.make_fallback(now);
        }
    }

    /// The first start has failed: who waits already is told so before the end.
    pub(super) fn answer_before_the_end(&mut self, now: Instant) {
        if self.fallback().is_none() && self.is_anyone_waiting() {
            self.make_fallback(now);
        }
        self.send_fallback_away(&Message::Finish, now + FAREWELL);
    }

    fn make_fallback(&mut self, now: Instant) {
        let made = match self.free_number() {
            Some(number) => self.try_make_worker(NO_GENERATION, number, now),
            None => return,
        };
        if let Err(error) = made {
            let delay = self.need.backoff.died(now, Duration::ZERO);
            log::error!(
                "the process that answers with 503 cannot be made: {error}; tried again in {delay:?}"
            );
        }
    }

    /// It can answer now.
    pub(super) fn fallback_ready(&mut self, index: usize, now: Instant) {
        self.workers[index].state = WorkerState::Ready;
        self.workers[index].ready = Some(now);
        if self.stage == Stage::Ending {
            self.send_fallback_away(&Message::Finish, now + FAREWELL);
        }
    }

    /// Ends it as soon as it has answered whom it has let in. One that does not serve yet hears of it when it does.
    fn send_fallback_away(&mut self, message: &Message, limit: Instant) {
        let Some(index) = self.fallback() else { return };
        let worker = &mut self.workers[index];
        match worker.state {
            WorkerState::Starting => worker.limit = Some((limit, Limit::Kill)),
            WorkerState::Ready | WorkerState::Leaving => {
                worker.state = WorkerState::Leaving;
                worker.limit = Some((limit, Limit::Kill));
                let _ = worker.channel.send_now(message);
            }
        }
    }

    /// It has ended.
    pub(super) fn bury_fallback(
        &mut self,
        worker: &WorkerProcess,
        died: super::workers::Died,
        now: Instant,
    ) {
        if worker.state == WorkerState::Leaving {
            log::debug!("{} ended: {died}", worker.name());
            return;
        }
        let served = worker.ready.map_or(Duration::ZERO, |ready| now - ready);
        let delay = self.need.backoff.died(now, served);
        log::error!(
            "{} ended: {died}; the next is made in {delay:?}",
            worker.name()
        );
    }
}
