//! The supply of workers: the making of one, whether that is possible as far as is known, and who answers where it is not.
//!
//! That is the fallback: a process that answers in the workers' place where none can be made, with a page that says when to
//! come again, so that nobody waits for nothing. The master itself reads nothing of a request. It is one of the workers but
//! for its generation, of which it has none: it runs no application, counts for no place in the pool, and leaves as soon as a
//! worker serves, to which it passes the connections that web servers keep.

use std::time::{Duration, Instant};

use super::super::super::messages::MasterMessage;
use super::super::super::pool::Backoff;
use super::super::super::service::ForkError;
use super::super::reaction::{Action, Died, Reaction};
use super::super::rules::WorkerState;
use super::generations::Generations;
use super::worker::{Limit, NO_GENERATION, WorkerRecord};
use super::workers::Workers;
use crate::gateway::TimeSpan;

/// How long it is tried to make a worker before those who wait are told that there is none, if that is not over with
/// --startup-timeout already.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the connections that wait at the end of a first start that has failed may take to be told so.
const FAREWELL: Duration = Duration::from_secs(2);

/// The workers, and how it stands with making them.
#[derive(Debug)]
pub(super) struct Supply {
    pub(super) workers: Workers,
    /// When the next worker may be made, after those that have died.
    pub(super) backoff: Backoff,
    /// When the making of the first process was begun of those that have failed since one has become ready.
    failing_since: Option<Instant>,
    /// When the next fallback may be made, after those that have died.
    fallback_backoff: Backoff,
    startup: Duration,
    grace: Duration,
}

impl Supply {
    /// None yet, of at most so many; `startup` and `grace` as in [`Plan`](super::Plan).
    pub(super) fn new(capacity: usize, startup: Duration, grace: Duration) -> Self {
        Self {
            workers: Workers::new(capacity),
            backoff: Backoff::default(),
            failing_since: None,
            fallback_backoff: Backoff::default(),
            startup,
            grace,
        }
    }

    /// How long a worker, or the template, may take until it is ready.
    pub(super) fn startup(&self) -> Duration {
        self.startup
    }

    /// How long a worker that was told to end may take.
    pub(super) fn grace(&self) -> Duration {
        self.grace
    }

    /// Has a worker of this generation made, by its template where it has one; `false` when there is no place for it.
    pub(super) fn make_worker(
        &mut self,
        generation: u32,
        has_template: bool,
        reaction: &mut Reaction,
    ) -> bool {
        let Some(number) = self.workers.add(generation, reaction.now()) else {
            return false;
        };
        reaction.add(match has_template {
            true => Action::RequestFork { number, generation },
            false => Action::StartWorker {
                number,
                is_fallback: false,
                trouble: None,
            },
        });
        true
    }

    /// A worker cannot be made; it was not the fallback.
    pub(super) fn note_not_made(&mut self, error: &str, reaction: &mut Reaction) {
        let delay = self.backoff.died(reaction.now(), Duration::ZERO);
        self.note_failure(reaction.now(), reaction);
        let refused = ForkError(error.to_owned());
        reaction.error(format!("{refused}; tried again in {}", TimeSpan(delay)));
    }

    /// A process that was to serve has ended before it could, or could not be made; `begun` is when that was tried.
    pub(super) fn note_failure(&mut self, begun: Instant, reaction: &mut Reaction) {
        let since = self.failing_since.get_or_insert(begun);
        *since = begun.min(*since);
        // Who takes nothing new until it is replaced would wait in vain.
        for worker in self.workers.iter() {
            if worker.serves() && worker.retires().is_some() {
                reaction.add(Action::Tell(worker.number(), MasterMessage::Resume, None));
            }
        }
    }

    /// Workers can be made, as far as is known.
    pub(super) fn note_success(&mut self) {
        self.failing_since = None;
    }

    /// Whether the workers that serve may be all that there will be for now: others cannot be made, or it is not known yet
    /// whether they can.
    pub(super) fn is_in_need(&self, generations: &Generations) -> bool {
        let is_tried = |worker: &WorkerRecord| worker.state() == WorkerState::Starting;
        self.failing_since.is_some()
            || generations.candidate().is_some()
            || !generations.can_make_workers()
            || self.workers.iter().any(is_tried)
    }

    fn fallback(&mut self) -> Option<&mut WorkerRecord> {
        let mut workers = self.workers.iter_mut();
        workers.find(|worker| worker.is_fallback() && worker.state() != WorkerState::Leaving)
    }

    /// Whether somebody answers in the workers' place.
    pub(super) fn has_fallback(&self) -> bool {
        let mut workers = self.workers.iter();
        workers.any(|worker| worker.is_fallback() && worker.state() != WorkerState::Leaving)
    }

    /// From when on those who wait are to be told that there is no worker; nothing where there is one, or no sign that
    /// there will be none.
    fn fallback_due(&self, generations: &Generations, now: Instant) -> Option<Instant> {
        let hanging = || generations.hanging_since(self.startup, now);
        let since = self.failing_since.or_else(hanging)?;
        if self.workers.serving() > 0 || self.has_fallback() {
            return None;
        }
        let patience = PATIENCE.min(self.startup / 2);
        let mut due = match generations.are_there() {
            true => since + patience,
            false => since,
        };
        // This one may be different.
        for worker in self.workers.iter() {
            if worker.state() == WorkerState::Starting {
                due = due.max(worker.spawned_at() + patience);
            }
        }
        Some(due)
    }

    /// When the need for a fallback is to be looked at without an event.
    pub(super) fn next_fallback(&self, generations: &Generations, now: Instant) -> Option<Instant> {
        let due = self.fallback_due(generations, now)?;
        let until = self.fallback_backoff.until(now);
        Some(until.map_or(due, |until| due.max(until))).filter(|at| *at > now)
    }

    /// Whether a connection that waits has to wake the master: nobody else is going to take it.
    pub(super) fn would_answer(&self, generations: &Generations, now: Instant) -> bool {
        let due = self.fallback_due(generations, now);
        due.is_some_and(|due| now >= due) && self.fallback_backoff.until(now).is_none()
    }

    /// Has a fallback answer where somebody waits and no worker can be made, and none where there is one.
    pub(super) fn keep_fallback(
        &mut self,
        generations: &Generations,
        waits: bool,
        reaction: &mut Reaction,
    ) {
        if self.workers.serving() > 0 {
            let until = reaction.after(self.grace);
            self.send_fallback_away(MasterMessage::Drain, until, reaction);
        } else if self.would_answer(generations, reaction.now()) && waits && !reaction.starts() {
            reaction.error(
                "no worker can be made, and requests wait: they are answered with 503 until one is ready",
            );
            self.make_fallback(generations.trouble(), reaction);
        }
    }

    /// Whether one that answers in the workers' place has failed, too.
    pub(super) fn fallback_has_failed(&self) -> bool {
        self.fallback_backoff.has_failed()
    }

    /// The first start has failed: who comes is told so.
    pub(super) fn show_failure(
        &mut self,
        trouble: Option<&str>,
        waits: bool,
        reaction: &mut Reaction,
    ) {
        if !self.has_fallback() && waits {
            self.make_fallback(trouble, reaction);
        }
    }

    /// The first start has failed: who waits already is told so before the end.
    pub(super) fn answer_before_the_end(
        &mut self,
        trouble: Option<&str>,
        waits: bool,
        reaction: &mut Reaction,
    ) {
        self.show_failure(trouble, waits, reaction);
        self.send_fallback_away(MasterMessage::Finish, reaction.after(FAREWELL), reaction);
    }

    fn make_fallback(&mut self, trouble: Option<&str>, reaction: &mut Reaction) {
        if let Some(number) = self.workers.add(NO_GENERATION, reaction.now()) {
            reaction.add(Action::StartWorker {
                number,
                is_fallback: true,
                trouble: trouble.map(str::to_owned),
            });
        }
    }

    /// It cannot be made.
    pub(super) fn note_no_fallback(&mut self, error: &str, reaction: &mut Reaction) {
        let delay = self.fallback_backoff.died(reaction.now(), Duration::ZERO);
        reaction.error(format!(
            "the process that answers with 503 cannot be made: {error}; tried again in {}",
            TimeSpan(delay)
        ));
    }

    /// It can answer now: the last ones, where the gateway ends.
    pub(super) fn note_fallback_ready(&mut self, is_ending: bool, reaction: &mut Reaction) {
        if let Some(worker) = self.fallback() {
            worker.note_ready(reaction.now());
        }
        if is_ending {
            self.send_fallback_away(MasterMessage::Finish, reaction.after(FAREWELL), reaction);
        }
    }

    /// Ends it as soon as it has answered whom it has let in. One that does not serve yet hears of it when it does.
    fn send_fallback_away(
        &mut self,
        message: MasterMessage,
        until: Instant,
        reaction: &mut Reaction,
    ) {
        let Some(worker) = self.fallback() else {
            return;
        };
        if worker.state() == WorkerState::Starting {
            worker.give_until(until);
        } else {
            worker.leave(None, (until, Limit::Kill));
            reaction.add(Action::Tell(worker.number(), message, None));
        }
    }

    /// It has ended.
    pub(super) fn note_fallback_dead(
        &mut self,
        worker: &WorkerRecord,
        died: Died,
        reaction: &mut Reaction,
    ) {
        let name = worker.name();
        if worker.state() == WorkerState::Leaving {
            return reaction.debug(format!("{name} ended: {died}"));
        }
        let served = worker.served(reaction.now());
        let delay = self.fallback_backoff.died(reaction.now(), served);
        reaction.error(format!(
            "{name} ended: {died}; the next is made in {}",
            TimeSpan(delay)
        ));
    }

    /// A worker that was made has died without having been told to.
    pub(super) fn note_dead(&mut self, worker: &WorkerRecord, reaction: &mut Reaction) {
        let figures = worker.figures();
        let delay = if figures.requests > figures.running.len() as u64 {
            self.backoff.allow_next()
        } else {
            self.note_failure(worker.spawned_at(), reaction);
            self.backoff
                .died(reaction.now(), worker.served(reaction.now()))
        };
        if !delay.is_zero() {
            reaction.warn(format!(
                "workers die one after another: the next is made in {}",
                TimeSpan(delay)
            ));
        }
    }
}
