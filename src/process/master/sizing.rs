//! How many workers, and which of them go.

use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;

use super::super::channel::Message;
use super::workers::{Limit, WorkerProcess, WorkerState};
use super::{Master, TICK};

impl Master<'_> {
    /// The number of the generation that serves.
    fn serving(&self) -> u32 {
        self.current.as_ref().map_or(0, |current| current.number)
    }

    /// Workers that are to stay.
    fn fresh(&self) -> impl Iterator<Item = &WorkerProcess> {
        let serving = self.serving();
        self.workers.iter().filter(move |worker| {
            worker.generation == serving
                && worker.state != WorkerState::Leaving
                && worker.retires.is_none()
        })
    }

    /// Grows and shrinks the pool.
    pub(super) fn size(&mut self, now: Instant) {
        if self.current.is_none() {
            return;
        }
        let fresh = self.fresh().count();
        let is_free = |worker: &WorkerProcess| {
            worker.state == WorkerState::Starting || !worker.place.is_full()
        };
        if fresh >= self.pool.wanted() {
            if self.fresh().any(is_free) {
                self.pool.worker_free();
            } else {
                let told = self.full_until.is_some_and(|until| now < until);
                let waiting =
                    (told || fresh == 0 || self.pool.has_room()) && self.is_anyone_waiting();
                let added = self.pool.no_worker_free(now, waiting, told);
                if added > 0 {
                    log::debug!(
                        "requests wait: {added} more workers, {} in all",
                        self.pool.wanted()
                    );
                }
            }
        }
        for number in self.idle_workers() {
            // The code on disk may not be what it has in memory any more, and nobody could be made after it.
            let is_last = self.is_in_need() && self.serving_workers() <= 1;
            if is_last || !self.pool.shrink() {
                break;
            }
            self.dismiss(number, "idle for --idle-timeout", now);
        }
    }

    /// Workers that were idle for too long, the longest first.
    fn idle_workers(&self) -> Vec<u32> {
        if self.pool.is_static() {
            return Vec::new();
        }
        let timeout = self.plan.idle_timeout;
        let mut idle: Vec<(Duration, u32)> = self
            .fresh()
            .filter(|worker| worker.state == WorkerState::Ready)
            .filter_map(|worker| Some((worker.place.idle()?, worker.number)))
            .filter(|(idle, _)| *idle >= timeout)
            .collect();
        idle.sort_by(|one, other| other.cmp(one));
        idle.into_iter().map(|(_, number)| number).collect()
    }

    /// When the size is to be looked at without an event.
    pub(super) fn next_sizing(&self, now: Instant) -> Option<Instant> {
        if self.pool.is_static() || self.current.is_none() {
            return None;
        }
        let mut next = None;
        let mut by = |at: Instant| next = Some(next.map_or(at, |next: Instant| next.min(at)));
        for worker in self.fresh() {
            match worker.place.idle() {
                Some(idle) if idle < self.plan.idle_timeout => {
                    by(now + self.plan.idle_timeout - idle)
                }
                Some(_) => {}
                // Busy, and perhaps all the others too.
                None => by(now + TICK),
            }
        }
        if self.pool.has_room() && self.fresh().next().is_some() {
            by(now + 10 * TICK);
        }
        next
    }

    /// Whether connections that nobody takes have to wake the master: then there is nobody who could take them, and
    /// somebody may be made.
    pub(super) fn watches_listeners(&self) -> bool {
        let mut fresh = self.fresh().peekable();
        if self.current.is_none()
            || !self.pool.has_room()
            || self.fresh().count() < self.pool.wanted()
        {
            return false;
        }
        let told = self.full_until.is_some_and(|until| Instant::now() < until);
        let is_none = fresh.peek().is_none();
        let free =
            fresh.any(|worker| worker.state == WorkerState::Starting || !worker.place.is_full());
        is_none || (told && !free)
    }

    pub(super) fn is_anyone_waiting(&self) -> bool {
        let sockets = self.listening.sockets();
        let mut fds: Vec<PollFd<'_>> = sockets
            .iter()
            .map(|bound| bound.socket.as_fd())
            .chain([self.passed_on.as_fd()])
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    /// Makes workers that are missing.
    pub(super) fn make_missing(&mut self, now: Instant) {
        if self.current.is_none() || self.backoff.until(now).is_some() {
            return;
        }
        let starting = self
            .workers
            .iter()
            .filter(|worker| worker.state == WorkerState::Starting && !worker.is_fallback())
            .count();
        let missing = self.pool.wanted().saturating_sub(self.fresh().count());
        let may = self.at_once.saturating_sub(starting);
        if missing == 0 || !self.can_make_workers() {
            return;
        }
        let generation = self.serving();
        for _ in 0..missing.min(may) {
            if !self.make_worker(generation, now) {
                break;
            }
        }
    }

    /// Sends away those that are to be replaced, as far as others are ready, and those that are too many.
    pub(super) fn relieve_old(&mut self, now: Instant) {
        if self.current.is_none() {
            return;
        }
        let serving = self.serving();
        let ready = |worker: &&WorkerProcess| worker.state == WorkerState::Ready;
        let fresh = self.fresh().filter(ready).count();
        let keep = self.pool.wanted().saturating_sub(fresh);
        let mut old: Vec<(u32, String)> = self
            .workers
            .iter()
            .filter(|worker| worker.generation < serving || worker.retires.is_some())
            .filter(|worker| worker.state != WorkerState::Leaving)
            // A candidate's worker is neither old nor fresh.
            .filter(|worker| worker.generation <= serving)
            .map(|worker| {
                let reason = worker
                    .retires
                    .clone()
                    .unwrap_or_else(|| "reload".to_owned());
                (worker.number, reason)
            })
            .collect();
        let leave = old.len().saturating_sub(keep);
        for (number, reason) in old.drain(..leave) {
            self.dismiss(number, &reason, now);
        }
        while fresh_ready(self) > self.pool.wanted() {
            let mut idle: Vec<(Duration, u32)> = self
                .fresh()
                .filter(ready)
                .map(|worker| (worker.place.idle().unwrap_or_default(), worker.number))
                .collect();
            idle.sort();
            let Some((_, number)) = idle.pop() else { break };
            self.dismiss(number, "one worker too many", now);
        }
    }

    /// A worker has reached a limit, whatever it does: it is replaced.
    pub(super) fn note_limit(&mut self, index: usize, limit: String) {
        let worker = &mut self.workers[index];
        if worker.state != WorkerState::Leaving && worker.retires.is_none() && !worker.is_fallback()
        {
            log::info!("{} has reached {limit}: replacing it", worker.name());
            worker.retires = Some(limit);
        }
    }

    /// A worker's first request has broken a limit already. That may have been the request or the application, so that the
    /// worker is replaced, too; but no one after the other for nothing.
    pub(super) fn note_outgrown(&mut self, index: usize, limit: String) {
        let worker = &mut self.workers[index];
        if worker.state == WorkerState::Leaving || worker.is_fallback() {
            return;
        }
        if worker.generation > self.outgrown_told {
            self.outgrown_told = worker.generation;
            log::warn!(
                "{} has taken more than {limit} with its first request already: give it more, or leave it out; a worker \
                 after which the next is no better goes on serving for a while",
                worker.name()
            );
        }
        worker.outgrown.get_or_insert(limit);
    }

    /// Has a worker replaced that no limit fits, when it is time for one.
    pub(super) fn retire_outgrown(&mut self, now: Instant) {
        if self.outgrown.until(now).is_some() {
            return;
        }
        let mut workers = self.workers.iter_mut();
        let found = workers.find(|worker| worker.outgrown.is_some() && worker.retires.is_none());
        if let Some(worker) = found {
            worker.retires = worker.outgrown.take();
            self.outgrown.died(now, Duration::ZERO);
        }
    }

    /// When the next of those is replaced.
    pub(super) fn next_outgrown(&self, now: Instant) -> Option<Instant> {
        let is_any = self.workers.iter().any(|worker| worker.outgrown.is_some());
        self.outgrown.until(now).filter(|_| is_any)
    }

    /// Tells a worker to finish what it has and end; its idle connections go to the others, if there are any.
    fn dismiss(&mut self, number: u32, reason: &str, now: Instant) {
        let others = self
            .workers
            .iter()
            .any(|worker| worker.number != number && worker.state != WorkerState::Leaving);
        let limit = now + self.plan.graceful_timeout;
        let found = self
            .workers
            .iter_mut()
            .find(|worker| worker.number == number);
        let Some(worker) = found else { return };
        worker.state = WorkerState::Leaving;
        worker.reason = Some(reason.to_owned());
        worker.limit = Some((limit, Limit::Abort));
        let message = if others {
            Message::Drain
        } else {
            Message::Finish
        };
        if worker.channel.send_now(&message).is_err() {
            worker.signal(nix::sys::signal::Signal::SIGTERM);
        }
    }
}

fn fresh_ready(master: &Master<'_>) -> usize {
    master
        .fresh()
        .filter(|worker| worker.state == WorkerState::Ready)
        .count()
}
