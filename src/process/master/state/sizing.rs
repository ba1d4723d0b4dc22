//! How many workers, and which of them go.

use std::time::{Duration, Instant};

use super::super::super::pool::{Backoff, Growth, Pool};
use super::super::reaction::Reaction;
use super::super::rules::WorkerState;
use super::TICK;
use super::generations::Generations;
use super::supply::Supply;
use super::worker::WorkerRecord;
use super::workers::Workers;

/// How long after a report that a worker is full it is taken for news.
const NEWS: Duration = Duration::from_millis(150);

/// The size of the pool.
#[derive(Debug)]
pub(super) struct Sizing {
    pool: Pool,
    idle_timeout: Duration,
    /// Whether the gateway is to end when all of them are idle.
    ends_when_idle: bool,
    /// How many workers are started at a time beside the first: importing is work for the processor.
    at_once: usize,
    /// Until when a report that all threads of a worker are in long requests is taken for news.
    full_until: Option<Instant>,
    /// Workers that no limit of --max-rss fits, and the code of which it was told.
    outgrown: Backoff,
    outgrown_told: u32,
    /// Whether there is more to be made at once.
    is_behind: bool,
}

impl Sizing {
    /// A pool of so many workers, of which so many are started at a time.
    pub(super) fn new(
        pool: Pool,
        idle_timeout: Duration,
        ends_when_idle: bool,
        at_once: usize,
    ) -> Self {
        Self {
            pool,
            idle_timeout,
            ends_when_idle,
            at_once,
            full_until: None,
            outgrown: Backoff::default(),
            outgrown_told: 0,
            is_behind: false,
        }
    }

    /// How many workers are wanted.
    #[cfg(test)]
    pub(super) fn wanted(&self) -> usize {
        self.pool.wanted()
    }

    /// All threads of a worker are in long requests.
    pub(super) fn note_full(&mut self, now: Instant) {
        self.full_until = Some(now + NEWS);
    }

    /// One worker more or fewer, on the operator's word.
    pub(super) fn change(&mut self, by: isize, workers: &Workers, reaction: &mut Reaction) {
        let most = (workers.capacity() / 2).max(1);
        self.pool.change(by, most);
        reaction.info(format!(
            "told to change the number of workers: {}",
            self.bounds()
        ));
    }

    /// At most so many workers, on the operator's word.
    pub(super) fn resize(&mut self, most: usize, workers: &Workers, reaction: &mut Reaction) {
        let by = isize::try_from(most).unwrap_or(isize::MAX);
        let by = by.saturating_sub_unsigned(self.pool.max);
        self.change(by, workers, reaction);
    }

    /// The least and the most number of workers.
    pub(super) fn pool(&self) -> (usize, usize) {
        (self.pool.min, self.pool.max)
    }

    /// The same in words.
    pub(super) fn bounds(&self) -> String {
        format!("at least {}, at most {}", self.pool.min, self.pool.max)
    }

    fn is_told(&self, now: Instant) -> bool {
        self.full_until.is_some_and(|until| now < until)
    }

    /// Grows and shrinks the pool.
    pub(super) fn size(
        &mut self,
        generations: &Generations,
        supply: &mut Supply,
        waits: bool,
        reaction: &mut Reaction,
    ) {
        let now = reaction.now();
        let Some(serving) = generations.serving() else {
            return;
        };
        let fresh = supply.workers.fresh(serving).count();
        if fresh >= self.pool.wanted() {
            if supply.workers.fresh(serving).any(WorkerRecord::has_room) {
                self.pool.worker_free();
            } else {
                let told = self.is_told(now);
                let matters = told || fresh == 0 || self.pool.has_room();
                match self.pool.no_worker_free(now, matters && waits, told) {
                    Growth::None => {}
                    Growth::By(added) => reaction.debug(format!(
                        "requests wait: {added} more workers, {} in all",
                        self.pool.wanted()
                    )),
                    Growth::TooFew => reaction.warn(format!(
                        "all {} workers are busy and requests wait: more of them need a larger --workers",
                        self.pool.max
                    )),
                }
            }
        }
        for number in self.idle_workers(serving, &supply.workers, now) {
            // The code on disk may not be what it has in memory any more, and nobody could be made after it.
            let is_last = supply.is_in_need(generations) && supply.workers.serving() <= 1;
            if is_last || !self.pool.shrink() {
                break;
            }
            if supply.workers.fresh(serving).count() <= self.pool.wanted() {
                // One that was wanted could not be made, and is wanted no more.
                continue;
            }
            let until = reaction.after(supply.grace());
            let workers = &mut supply.workers;
            workers.drain(number, "idle for --idle-timeout", until, reaction);
        }
    }

    /// Whether there are workers, and all have been idle for too long.
    pub(super) fn are_idle(&self, workers: &Workers, now: Instant) -> bool {
        let is_idle = |worker: &WorkerRecord| {
            worker.state() == WorkerState::Ready
                && worker
                    .idle(now)
                    .is_some_and(|idle| idle >= self.idle_timeout)
        };
        workers.count() > 0 && workers.iter().all(is_idle)
    }

    /// Workers that were idle for too long, the longest first.
    fn idle_workers(&self, serving: u32, workers: &Workers, now: Instant) -> Vec<u32> {
        if self.pool.is_static() {
            return Vec::new();
        }
        let mut idle: Vec<(Duration, u32)> = workers
            .fresh(serving)
            .filter(|worker| worker.state() == WorkerState::Ready)
            .filter_map(|worker| Some((worker.idle(now)?, worker.number())))
            .filter(|(idle, _)| *idle >= self.idle_timeout)
            .collect();
        idle.sort_by(|one, other| other.cmp(one));
        idle.into_iter().map(|(_, number)| number).collect()
    }

    /// When the size is to be looked at without an event, after it was at `now`.
    pub(super) fn next_look(
        &self,
        generations: &Generations,
        workers: &Workers,
        now: Instant,
    ) -> Option<Instant> {
        let serving = generations.serving()?;
        let outgrown = workers.iter().any(WorkerRecord::is_outgrown);
        let outgrown = self.outgrown.until(now).filter(|_| outgrown);
        let mut next = self.is_behind.then_some(now).or(outgrown);
        if self.pool.is_static() && !self.ends_when_idle {
            return next;
        }
        let mut by = |at: Instant| next = Some(next.map_or(at, |next: Instant| next.min(at)));
        for worker in workers.fresh(serving) {
            match worker.idle(now) {
                Some(idle) if idle < self.idle_timeout => by(now + self.idle_timeout - idle),
                Some(_) => {}
                // Busy, and perhaps all the others too.
                None => by(now + TICK),
            }
        }
        if self.pool.has_room() && workers.fresh(serving).next().is_some() {
            by(now + 10 * TICK);
        }
        next
    }

    /// Whether connections that nobody takes have to wake the master: then there is nobody who could take them, and
    /// somebody may be made.
    pub(super) fn watches_listeners(
        &self,
        generations: &Generations,
        workers: &Workers,
        now: Instant,
    ) -> bool {
        let Some(serving) = generations.serving().filter(|_| self.pool.has_room()) else {
            return false;
        };
        let count = workers.fresh(serving).count();
        let has_room = workers.fresh(serving).any(WorkerRecord::has_room);
        count >= self.pool.wanted() && (count == 0 || (self.is_told(now) && !has_room))
    }

    /// Has workers made that are missing: one, and the next when it is known whether there is that.
    pub(super) fn make_missing(
        &mut self,
        generations: &Generations,
        supply: &mut Supply,
        reaction: &mut Reaction,
    ) {
        self.is_behind = false;
        let Some(serving) = generations.serving() else {
            return;
        };
        if supply.backoff.until(reaction.now()).is_some() || !generations.can_make_workers() {
            return;
        }
        let is_starting = |worker: &&WorkerRecord| {
            worker.state() == WorkerState::Starting && !worker.is_fallback()
        };
        let starting = supply.workers.iter().filter(is_starting).count();
        let missing = self.pool.wanted();
        let missing = missing.saturating_sub(supply.workers.fresh(serving).count());
        let may = missing.min(self.at_once.saturating_sub(starting));
        if may > 0 && reaction.starts() {
            self.is_behind = true;
        } else if may > 0 {
            let is_made = supply.make_worker(serving, generations.has_template(serving), reaction);
            self.is_behind = is_made && may > 1;
        }
    }

    /// Sends away those that are to be replaced, as far as others are ready, and those that are too many.
    pub(super) fn relieve_old(
        &mut self,
        generations: &Generations,
        supply: &mut Supply,
        reaction: &mut Reaction,
    ) {
        let Some(serving) = generations.serving() else {
            return;
        };
        let until = reaction.after(supply.grace());
        let workers = &mut supply.workers;
        let ready = |worker: &&WorkerRecord| worker.state() == WorkerState::Ready;
        let fresh = workers.fresh(serving).filter(ready).count();
        let keep = self.pool.wanted().saturating_sub(fresh);
        let mut old: Vec<(bool, u32, String)> = workers
            .iter()
            .filter(|worker| worker.generation() < serving || worker.retires().is_some())
            .filter(|worker| worker.state() != WorkerState::Leaving)
            // A candidate's worker is neither old nor fresh.
            .filter(|worker| worker.generation() <= serving)
            .map(|worker| {
                let reason = worker.retires().unwrap_or("reload");
                (worker.serves(), worker.number(), reason.to_owned())
            })
            .collect();
        // Who does not serve yet goes first.
        old.sort_by_key(|(serves, ..)| *serves);
        let leave = old.len().saturating_sub(keep);
        for (_, number, reason) in old.drain(..leave) {
            workers.drain(number, &reason, until, reaction);
        }
        while workers.fresh(serving).filter(ready).count() > self.pool.wanted() {
            let idle = |worker: &WorkerRecord| worker.idle(reaction.now()).unwrap_or_default();
            let fresh = workers.fresh(serving).filter(ready);
            let longest = fresh.map(|worker| (idle(worker), worker.number())).max();
            let Some((_, number)) = longest else { break };
            workers.drain(number, "one worker too many", until, reaction);
        }
    }

    /// A worker's first request has broken a limit already. That may have been the request or the application, so that the
    /// worker is replaced, too; but no one after the other for nothing.
    pub(super) fn note_outgrown(
        &mut self,
        worker: &mut WorkerRecord,
        limit: &str,
        reaction: &mut Reaction,
    ) {
        if worker.note_outgrown(limit) && worker.generation() > self.outgrown_told {
            self.outgrown_told = worker.generation();
            reaction.warn(format!(
                "{} has taken more than {limit} with its first request already: give it more, or leave it out; a worker \
                 after which the next is no better goes on serving for a while",
                worker.name()
            ));
        }
    }

    /// Has a worker replaced that no limit fits, when it is time for one.
    pub(super) fn retire_outgrown(&mut self, workers: &mut Workers, now: Instant) {
        if self.outgrown.until(now).is_some() {
            return;
        }
        let mut workers = workers.iter_mut();
        let found = workers.find(|worker| worker.is_outgrown() && worker.retires().is_none());
        if let Some(worker) = found {
            worker.retire_outgrown();
            self.outgrown.died(now, Duration::ZERO);
        }
    }
}
