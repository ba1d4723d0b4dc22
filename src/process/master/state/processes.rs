//! The processes of the gateway, as far as the master knows: what follows of what they say and of their ends.

use std::time::{Duration, Instant};

use nix::unistd::Pid;

use super::super::super::messages::ChildMessage;
use super::super::super::pool::Pool;
use super::super::Plan;
use super::super::reaction::{Action, ChildId, Died, Figures, Reaction};
use super::super::rules::{Breach, WorkerState, judge, plain, plain_line};
use super::Tally;
use super::askers::Askers;
use super::generations::Generations;
use super::record::GatewayRecord;
use super::sizing::Sizing;
use super::start_failure::StartFailure;
use super::supply::Supply;
use super::worker::{Limit, WorkerRecord};
use crate::gateway::TimeSpan;

/// The workers and templates.
#[derive(Debug)]
pub(super) struct Processes {
    pub(super) generations: Generations,
    pub(super) supply: Supply,
    pub(super) sizing: Sizing,
    /// Whether the gateway serves, and does not end.
    pub(super) is_serving: bool,
    /// Whether it is about to have ended.
    pub(super) is_ending: bool,
    watch_files: bool,
    /// Whether a worker has found something that can be the sockets' fault.
    suspects_sockets: bool,
    /// Requests of workers that are gone.
    requests: u64,
    pub(super) askers: Askers,
    pub(super) record: GatewayRecord,
}

impl Processes {
    /// None yet; so many workers are started at a time beside the first.
    pub(super) fn new(plan: &Plan, at_once: usize) -> Self {
        /// Workers beside those of a full generation, for those that are on their way out.
        const SPARE: usize = 8;
        let pool = Pool::new(plan.min, plan.max);
        let capacity = 2 * plan.max + SPARE;
        Self {
            generations: Generations::new(plan),
            supply: Supply::new(capacity, plan.startup_timeout, plan.graceful_timeout),
            sizing: Sizing::new(pool, plan.idle_timeout, plan.ends_when_idle, at_once),
            is_serving: true,
            is_ending: false,
            watch_files: plan.watch_files,
            suspects_sockets: false,
            requests: 0,
            askers: Askers::default(),
            record: GatewayRecord::default(),
        }
    }

    /// Whether a worker has found, since this was asked, something that can be the sockets' fault.
    pub(super) fn suspects_sockets(&mut self) -> bool {
        std::mem::take(&mut self.suspects_sockets)
    }

    /// Whether a connection that waits is to wake the master.
    pub(super) fn watches_listeners(&self, now: Instant) -> bool {
        let workers = &self.supply.workers;
        self.sizing
            .watches_listeners(&self.generations, workers, now)
            || self.supply.would_answer(&self.generations, now)
    }

    /// Compares everything with what is wanted.
    pub(super) fn compare(&mut self, waits: bool, reaction: &mut Reaction) {
        let (generations, supply) = (&mut self.generations, &mut self.supply);
        generations.further(supply, reaction);
        if generations.have_failed() {
            return;
        }
        generations.keep_template(supply, reaction);
        self.sizing.size(generations, supply, waits, reaction);
        let now = reaction.now();
        self.sizing.retire_outgrown(&mut supply.workers, now);
        self.sizing.make_missing(generations, supply, reaction);
        self.sizing.relieve_old(generations, supply, reaction);
        supply.keep_fallback(generations, waits, reaction);
    }

    /// When they are to be compared without an event, after they were at `now`.
    pub(super) fn next_comparison(&self, now: Instant) -> Option<Instant> {
        let (generations, supply) = (&self.generations, &self.supply);
        let due = [
            supply.backoff.until(now),
            self.sizing.next_look(generations, &supply.workers, now),
            supply.next_fallback(generations, now),
            generations.next_deadline(supply, now),
        ];
        due.into_iter().flatten().min()
    }

    /// Whether all workers have been without a request for long enough to end.
    pub(super) fn are_idle(&self, now: Instant) -> bool {
        self.generations.serving().is_some()
            && self.generations.candidate().is_none()
            && self.sizing.are_idle(&self.supply.workers, now)
    }

    /// How much was served, and since when nothing is.
    pub(super) fn tally(&self) -> Tally {
        let workers = self.supply.workers.iter();
        let living = workers.map(|worker| worker.figures().requests);
        let idle = self
            .supply
            .workers
            .iter()
            .map(|worker| worker.figures().idle_since);
        let idle: Option<Vec<Instant>> = idle.collect();
        Tally {
            requests: living.fold(self.requests, u64::saturating_add),
            idle_since: idle.and_then(|idle| idle.into_iter().max()),
        }
    }

    /// One line on how things are.
    pub(super) fn describe(&self) -> String {
        let ready = self.supply.workers.iter().filter(|worker| worker.serves());
        let busy = |worker: &WorkerRecord| worker.figures().idle_since.is_none();
        let busy: Vec<bool> = ready.map(busy).collect();
        format!(
            "{} workers ready, {} busy; {} requests served; generation {}",
            busy.len(),
            busy.iter().filter(|busy| **busy).count(),
            self.tally().requests,
            self.generations.serving().unwrap_or(0)
        )
    }

    /// A process is there.
    pub(super) fn started(&mut self, child: ChildId, pid: Pid) {
        match child {
            ChildId::Worker(number) => {
                if let Some(worker) = self.supply.workers.get_mut(number) {
                    worker.note_pid(Some(pid));
                }
            }
            ChildId::Template(number) => {
                if let Some(template) = self.generations.template(number) {
                    template.note_started(pid);
                }
            }
            ChildId::Observer => {}
        }
    }

    /// A process cannot be started.
    pub(super) fn not_started(&mut self, child: ChildId, error: &str, reaction: &mut Reaction) {
        let (generations, supply) = (&mut self.generations, &mut self.supply);
        match child {
            ChildId::Template(number) if generations.candidate() == Some(number) => {
                generations.note_not_started(Some(error), supply, reaction);
            }
            ChildId::Template(_) => generations.note_no_template(error, supply, reaction),
            ChildId::Observer => {}
            ChildId::Worker(number) => {
                let Some(worker) = supply.workers.remove(number) else {
                    return;
                };
                if worker.is_fallback() {
                    return supply.note_no_fallback(error, reaction);
                }
                supply.note_not_made(error, reaction);
                if generations.candidate() == Some(worker.generation()) {
                    generations.note_not_started(None, supply, reaction);
                }
            }
        }
    }

    /// Judges what a child has said, and obeys.
    pub(super) fn hear(
        &mut self,
        from: ChildId,
        message: ChildMessage,
        sender: Pid,
        requests: u64,
        reaction: &mut Reaction,
    ) {
        let found = match from {
            ChildId::Worker(number) => {
                let worker = self.supply.workers.get_mut(number);
                let worker = worker.filter(|worker| !worker.is_deaf());
                worker.map(|worker| (worker.pid(), worker.speaker()))
            }
            ChildId::Template(number) => {
                let template = self.generations.template(number);
                let template = template.filter(|template| !template.is_deaf());
                template.map(|template| (template.pid(), template.speaker()))
            }
            ChildId::Observer => None,
        };
        let Some((pid, speaker)) = found else { return };
        let judged = match pid {
            Some(pid) if pid != sender => Err(Breach("by another process")),
            _ => judge(&message, speaker, self.watch_files),
        };
        match (judged, from) {
            (Ok(()), ChildId::Worker(number)) => {
                self.hear_worker(number, message, sender, requests, reaction);
            }
            (Ok(()), ChildId::Template(number)) => self.hear_template(number, message, reaction),
            (Ok(()), ChildId::Observer) => {}
            (Err(breach), _) => self.expel(from, breach, reaction),
        }
    }

    fn hear_worker(
        &mut self,
        number: u32,
        message: ChildMessage,
        sender: Pid,
        requests: u64,
        reaction: &mut Reaction,
    ) {
        let now = reaction.now();
        let grace = self.supply.grace();
        let is_taken = self.generations.has_pid(sender) || self.supply.workers.has_pid(sender);
        let Some(worker) = self.supply.workers.get_mut(number) else {
            return;
        };
        match message {
            ChildMessage::Forked if is_taken => {
                self.expel(
                    ChildId::Worker(number),
                    Breach("in another's name"),
                    reaction,
                );
            }
            ChildMessage::Forked => {
                worker.note_pid(Some(sender));
                reaction.add(Action::Adopt(number, sender));
            }
            ChildMessage::Begun => {}
            ChildMessage::Ready => self.worker_ready(number, reaction),
            ChildMessage::Full => self.sizing.note_full(now),
            ChildMessage::Retire(limit) => worker.note_limit(limit, reaction),
            ChildMessage::Outgrown(limit) => self.sizing.note_outgrown(worker, &limit, reaction),
            ChildMessage::Leaving(reason) => {
                if worker.state() != WorkerState::Leaving {
                    worker.leave(Some(reason), (reaction.after(grace), Limit::Abort));
                    // It may be that the sockets are not what they were, and that the next will find that, too.
                    self.suspects_sockets = true;
                    if requests == 0 {
                        self.supply.backoff.died(now, Duration::ZERO);
                    }
                }
            }
            ChildMessage::Log(level, text) => {
                let (level, text) = plain_line(level, text);
                reaction.relay(ChildId::Worker(number), level, text);
            }
            ChildMessage::CannotLoad(text) => {
                let generation = worker.generation();
                self.generations.note_trouble(generation, text);
            }
            ChildMessage::Files(files) => self.generations.note_files(&files, reaction),
            ChildMessage::Stacks(text) => self.askers.note_stacks(number, &plain(text), reaction),
        }
    }

    fn hear_template(&mut self, number: u32, message: ChildMessage, reaction: &mut Reaction) {
        match message {
            ChildMessage::Ready => {
                let supply = &mut self.supply;
                self.generations
                    .note_template_ready(number, supply, reaction);
            }
            ChildMessage::Log(level, text) => {
                let (level, text) = plain_line(level, text);
                reaction.relay(ChildId::Template(number), level, text);
            }
            ChildMessage::CannotLoad(text) => self.generations.note_trouble(number, text),
            ChildMessage::Files(files) => self.generations.note_files(&files, reaction),
            // Not let through by the rules.
            _ => {}
        }
    }

    fn worker_ready(&mut self, number: u32, reaction: &mut Reaction) {
        let Some(worker) = self.supply.workers.get_mut(number) else {
            return;
        };
        if worker.state() != WorkerState::Starting {
            return;
        }
        if worker.is_fallback() {
            let is_ending = self.is_ending;
            return self.supply.note_fallback_ready(is_ending, reaction);
        }
        worker.note_ready(reaction.now());
        // Only this: it may have begun its first request before its word was heard.
        reaction.add(Action::BeginIdling(number));
        reaction.info(format!("{} is ready", worker.name()));
        self.supply.note_success();
        self.generations.tell_trouble(&self.supply, reaction);
        self.supply.workers.pass_listeners(reaction);
    }

    /// Ends a child that is not what it was.
    pub(super) fn expel(&mut self, child: ChildId, breach: Breach, reaction: &mut Reaction) {
        let number = match child {
            ChildId::Worker(number) => number,
            ChildId::Template(number) => {
                if let Some(template) = self.generations.template(number) {
                    template.expel(child, breach, reaction);
                }
                return;
            }
            ChildId::Observer => return,
        };
        let worker = self.supply.workers.get_mut(number);
        let Some(worker) = worker.filter(|worker| !worker.is_deaf()) else {
            return;
        };
        worker.expel(breach, reaction);
        let (served, begun) = (worker.served(reaction.now()), worker.spawned_at());
        let is_current = self.generations.serving() == Some(worker.generation());
        if is_current && self.is_serving {
            self.supply.backoff.died(reaction.now(), served);
            self.supply.note_failure(begun, reaction);
        }
    }

    /// Gives up workers that never came to be: the template that was to fork them has ended, or was refused a process.
    pub(super) fn forget_unadopted(&mut self, reaction: &mut Reaction) {
        let (generations, supply) = (&mut self.generations, &mut self.supply);
        while let Some(worker) = supply.workers.remove_unadopted() {
            reaction.add(Action::Forget(worker.id()));
            if !self.is_serving {
                continue;
            }
            let asked_by = Some(worker.generation());
            if asked_by == generations.candidate() {
                generations.fail(&StartFailure::NoWorker, supply, reaction);
            } else if asked_by == generations.serving() {
                let delay = supply.backoff.died(reaction.now(), Duration::ZERO);
                supply.note_failure(worker.spawned_at(), reaction);
                reaction.error(format!(
                    "worker {} was not made: its template has ended, or the system makes no more processes; tried again \
                     in {}",
                    worker.number(),
                    TimeSpan(delay)
                ));
            }
        }
    }

    /// The process that a template was said to have made is not there.
    pub(super) fn not_adopted(&mut self, number: u32, reaction: &mut Reaction) {
        if let Some(worker) = self.supply.workers.get_mut(number) {
            worker.note_pid(None);
            self.expel(
                ChildId::Worker(number),
                Breach("in another's name"),
                reaction,
            );
        }
    }

    /// The other end of a child's channel is closed.
    pub(super) fn hung_up(&mut self, child: ChildId, now: Instant) {
        if let ChildId::Worker(number) = child {
            if let Some(worker) = self.supply.workers.get_mut(number) {
                worker.note_hung_up(now);
            }
        }
    }

    /// A signal has stopped a child, or has it go on.
    pub(super) fn stopped(&mut self, child: ChildId, is_stopped: bool, reaction: &mut Reaction) {
        if let ChildId::Worker(number) = child {
            if let Some(worker) = self.supply.workers.get_mut(number) {
                worker.note_stopped(is_stopped, reaction);
            }
        }
    }

    /// A child has ended.
    pub(super) fn exited(
        &mut self,
        child: ChildId,
        died: Died,
        figures: Figures,
        reaction: &mut Reaction,
    ) {
        match child {
            ChildId::Worker(number) => self.worker_exited(number, died, figures, reaction),
            ChildId::Template(number) => {
                let supply = &mut self.supply;
                self.generations
                    .note_template_dead(number, died, supply, reaction);
            }
            ChildId::Observer => {}
        }
    }

    fn worker_exited(
        &mut self,
        number: u32,
        died: Died,
        figures: Figures,
        reaction: &mut Reaction,
    ) {
        let Some(mut worker) = self.supply.workers.remove(number) else {
            return;
        };
        self.requests = self.requests.saturating_add(figures.requests);
        worker.note_figures(figures);
        self.askers.note_stacks(number, "it has ended", reaction);
        let supply = &mut self.supply;
        if worker.is_fallback() {
            return supply.note_fallback_dead(&worker, died, reaction);
        }
        let is_expected = worker.state() == WorkerState::Leaving || !self.is_serving;
        let is_candidate = self.generations.candidate() == Some(worker.generation());
        worker.tell_end(died, is_expected, is_candidate && self.is_serving, reaction);
        self.record.note_end(died, worker.ending());
        if !self.is_serving {
            return;
        }
        if worker.state() == WorkerState::Ready {
            // It has shown that the code loads: what has killed it since may be its first request.
            self.generations
                .note_ready(worker.generation(), supply, reaction);
        }
        if self.generations.candidate() == Some(worker.generation()) {
            let reason = worker.start_failure(died);
            self.generations.fail(&reason, supply, reaction);
        } else if !is_expected {
            if supply.workers.is_any_ready() {
                reaction.add(Action::WorkerDied);
            }
            supply.note_dead(&worker, reaction);
        }
    }
}
