//! The master as a state machine without effects: an event and its time go in, actions come out. It has no descriptor, no
//! clock and no log, so that whatever may happen can be tried in any order and at any speed.
//!
//! What it wants follows from what is there: at every tick it compares the workers that there are with those that are
//! wanted, makes the missing, and sends away those that have a ready replacement. A crash, a limit that a worker has
//! reached, a reload and an operator's word differ only in which workers count as replaceable.
//!
//! `workers` knows who is there, `generations` which code serves and which is to follow, `supply` whether workers can be made
//! and who answers where they cannot, `sizing` how many there are to be, `processes` what follows of their words and ends.
//! `askers` knows who has asked for what by the control socket, `record` what has happened so far.

mod askers;
mod generations;
mod observer;
mod processes;
mod record;
mod sizing;
mod start_failure;
mod supply;
mod template;
mod worker;
mod workers;

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use super::super::messages::{ChildMessage, MasterMessage};
use super::super::signals::Signal;
use super::super::snapshot::{GatewayStage, Snapshot, uptime};
use super::super::totals::Totals;
use super::reaction::{Action, ChildId, Figures, ListenersFound, MasterEvent, Notice, Reaction};
use super::rules::Breach;
use super::{Ending, Plan};
use observer::Observer;
use processes::Processes;
use worker::Overdue;

/// How often the sockets' files are looked after.
const LOOK: Duration = Duration::from_secs(3);

/// How often a pool that may grow is looked at, beside what its workers report.
const TICK: Duration = Duration::from_millis(100);

/// How often the application's files are looked at with `--reload`.
const FILES: Duration = Duration::from_millis(300);

/// What the master is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Serving,
    /// The first start has failed: who waits is told so before the end.
    Failed,
    /// Told to end: workers finish what they have.
    Ending,
}

/// What was served so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Requests that were begun.
    pub(super) requests: u64,
    /// Since when no worker has one, as far as that is known; nothing while one has.
    pub(super) idle_since: Option<Instant>,
}

/// The state of the master.
#[derive(Debug)]
pub(super) struct MasterState {
    processes: Processes,
    stage: Stage,
    ending: Ending,
    ends_when_idle: bool,
    /// How long a failed first start is shown, and until when.
    failure_shown: Option<Duration>,
    failure_ends: Option<Instant>,
    observer: Observer,
    /// Changes with everything that others are to see.
    revision: u64,
    begun: Instant,
    request_timeout: Option<Duration>,
    watch_files: bool,
    /// When the last tick was.
    ticked: Instant,
    /// Whether a connection waited then.
    waits: bool,
    /// Whether something has happened that another tick is to see at once.
    is_stale: bool,
    /// Whether the sockets are to be looked after from time to time.
    have_files: bool,
    next_look: Instant,
    next_files: Instant,
}

impl MasterState {
    /// A master that has not begun yet; it starts so many workers at a time beside the first, and its sockets are to be
    /// looked after or not.
    pub(super) fn new(plan: &Plan, at_once: usize, have_files: bool, now: Instant) -> Self {
        Self {
            processes: Processes::new(plan, at_once),
            stage: Stage::Serving,
            ending: Ending::Finished,
            ends_when_idle: plan.ends_when_idle,
            failure_shown: plan.failure_shown,
            failure_ends: None,
            observer: Observer::new(plan.has_control),
            revision: 0,
            begun: now,
            request_timeout: plan.request_timeout,
            watch_files: plan.watch_files,
            ticked: now,
            waits: false,
            is_stale: true,
            have_files,
            next_look: now + LOOK,
            next_files: now + FILES,
        }
    }

    /// What is to be done about an event.
    pub(super) fn on(&mut self, event: MasterEvent, now: Instant) -> Vec<Action> {
        let mut reaction = Reaction::new(now);
        let is_seen = !matches!(
            event,
            MasterEvent::Tick { .. }
                | MasterEvent::Heard {
                    message: ChildMessage::Log(..) | ChildMessage::Full | ChildMessage::Files(_),
                    ..
                }
        );
        self.react(event, &mut reaction);
        for result in self.processes.generations.take_results() {
            let serving = self.processes.generations.serving();
            self.processes.record.note_reload(&result, now);
            let askers = &mut self.processes.askers;
            askers.note_reload(&result, serving, &mut reaction);
        }
        if self.processes.suspects_sockets() {
            self.next_look = now;
        }
        self.see_failed_start(&mut reaction);
        let actions = reaction.into_actions();
        let is_log = |action: &Action| matches!(action, Action::Log(..));
        if is_seen || !actions.iter().all(is_log) {
            self.revision += 1;
        }
        actions
    }

    fn react(&mut self, event: MasterEvent, reaction: &mut Reaction) {
        // Whatever it is, the next tick compares what there is then with what is wanted.
        self.is_stale = !matches!(event, MasterEvent::Tick { .. } | MasterEvent::Started(..));
        let is_serving = self.stage == Stage::Serving;
        let processes = &mut self.processes;
        match event {
            MasterEvent::Started(ChildId::Observer, pid) => self.observer.started(pid),
            MasterEvent::NotStarted(ChildId::Observer, error) => {
                self.observer.not_started(&error, reaction);
            }
            MasterEvent::Heard {
                from: ChildId::Observer,
                message,
                sender,
                ..
            } => self.observer.hear(message, sender, reaction),
            MasterEvent::Nonsense(ChildId::Observer, what) => {
                self.observer.expel(Breach(what), reaction);
            }
            MasterEvent::Exited(ChildId::Observer, died, _) => {
                processes.askers.forget();
                self.observer.exited(died, is_serving, reaction);
            }
            MasterEvent::Asked(id, command) => askers::carry_out(self, id, command, reaction),
            MasterEvent::Begin => processes.generations.begin(&mut processes.supply, reaction),
            MasterEvent::Tick { figures, waits } => self.tick(figures, waits, reaction),
            MasterEvent::Signal(signal) => self.obey(signal, reaction),
            MasterEvent::Started(child, pid) => processes.started(child, pid),
            MasterEvent::NotStarted(child, error) => processes.not_started(child, &error, reaction),
            MasterEvent::NotAdopted(number) => processes.not_adopted(number, reaction),
            MasterEvent::Heard {
                from,
                message,
                sender,
                requests,
            } => processes.hear(from, message, sender, requests, reaction),
            MasterEvent::Nonsense(from, what) => processes.expel(from, Breach(what), reaction),
            MasterEvent::HungUp(child) => processes.hung_up(child, reaction.now()),
            MasterEvent::Exited(child, died, figures) => {
                processes.exited(child, died, figures, reaction);
            }
            MasterEvent::Stopped(child, is_stopped) => {
                processes.stopped(child, is_stopped, reaction);
            }
            MasterEvent::Listeners(found) => self.note_listeners(found, reaction),
            MasterEvent::NotPassed(numbers) => processes.supply.workers.note_not_passed(&numbers),
            MasterEvent::FileChanged(path) if self.stage == Stage::Serving => {
                let why = format!("{path} has changed");
                processes
                    .generations
                    .reload(&why, &mut processes.supply, reaction);
            }
            MasterEvent::FileChanged(_) => {}
        }
    }

    /// Whether who comes is still to be told why the first start has failed.
    fn shows_failure(&self, now: Instant) -> bool {
        // Else whoever waits is better off elsewhere.
        let can_be_told = !self.processes.supply.fallback_has_failed();
        self.failure_ends.is_some_and(|until| now < until) && can_be_told
    }

    /// Begins the end where the first start has failed.
    fn see_failed_start(&mut self, reaction: &mut Reaction) {
        if let Some(ending) = self.processes.generations.take_failed_start() {
            self.ending = ending;
            self.change_stage(Stage::Failed);
            self.is_stale = true;
            self.failure_ends = self.failure_shown.map(|shown| reaction.after(shown));
            if self.failure_ends.is_none() {
                reaction.add(Action::RefuseNew);
            }
        }
    }

    fn change_stage(&mut self, stage: Stage) {
        self.stage = stage;
        self.processes.is_serving = stage == Stage::Serving;
        self.processes.is_ending = stage == Stage::Ending;
    }

    fn tick(&mut self, figures: Vec<(u32, Figures)>, waits: bool, reaction: &mut Reaction) {
        self.ticked = reaction.now();
        self.waits = waits;
        self.processes.supply.workers.note_figures(figures);
        self.processes.forget_unadopted(reaction);
        self.see_failed_start(reaction);
        match self.stage {
            Stage::Serving if reaction.now() >= self.next_look => {
                self.next_look = reaction.after(LOOK);
                // The comparison follows when it is known what came of it.
                reaction.add(Action::MendListeners);
            }
            Stage::Serving => self.compare(reaction),
            Stage::Failed if self.shows_failure(reaction.now()) => {
                let trouble = self.processes.generations.trouble();
                let supply = &mut self.processes.supply;
                supply.show_failure(trouble, waits, reaction);
            }
            Stage::Failed => {
                if self.failure_ends.is_some() {
                    reaction.add(Action::RefuseNew);
                }
                let trouble = self.processes.generations.trouble();
                let supply = &mut self.processes.supply;
                supply.answer_before_the_end(trouble, waits, reaction);
                self.change_stage(Stage::Ending);
            }
            Stage::Ending => {}
        }
        self.enforce_deadlines(reaction);
        self.observer.keep(reaction);
        self.processes.askers.enforce_deadlines(reaction);
        if self.stage == Stage::Ending && self.processes.supply.workers.count() == 0 {
            let is_cut = self.ending != Ending::Finished;
            self.processes.askers.note_end(is_cut, reaction);
            reaction.add(Action::End(self.ending));
        }
    }

    /// Compares everything with what is wanted.
    fn compare(&mut self, reaction: &mut Reaction) {
        if self.watch_files && reaction.now() >= self.next_files {
            self.next_files = reaction.after(FILES);
            reaction.add(Action::LookAtFiles);
        }
        self.processes.compare(self.waits, reaction);
        let (waits, now) = (self.waits, reaction.now());
        if self.ends_when_idle && !waits && self.processes.are_idle(now) {
            self.end("no request for --idle-timeout", reaction);
        }
    }

    /// How it stands with the listening sockets after they were looked after.
    fn note_listeners(&mut self, found: ListenersFound, reaction: &mut Reaction) {
        self.have_files = found.have_files;
        if self.stage != Stage::Serving {
            return;
        }
        if found.is_superseded && self.ends_when_idle {
            return self.end("another has taken this one's place", reaction);
        }
        if found.are_new {
            self.processes.supply.workers.note_new_listeners();
        }
        if found.has_lost {
            // Until those who have one open, too, have ended.
            self.next_look = reaction.after(TICK);
        }
        if found.are_over {
            reaction.error("cannot go on: nothing is listened on any more");
            self.ending = Ending::Failed(1);
            return self.end("told to end", reaction);
        }
        // Also those who could not be told the last time.
        self.processes.supply.workers.pass_listeners(reaction);
        self.compare(reaction);
    }

    /// When the next tick is due, where nothing happens before.
    pub(super) fn next_deadline(&self) -> Instant {
        let now = self.ticked;
        let mut next = now + Duration::from_secs(3600);
        let mut by = |instant: Option<Instant>| next = instant.map_or(next, |at| next.min(at));
        by(self.is_stale.then_some(now));
        by(self.observer.next_deadline(now));
        by(self.processes.askers.next_deadline());
        let workers = &self.processes.supply.workers;
        for worker in workers.iter() {
            by(worker.deadline(self.processes.supply.startup()));
        }
        let limit = self.request_timeout;
        by(limit.and_then(|limit| workers.next_frozen(limit, now)));
        if self.stage == Stage::Failed {
            by(self.failure_ends);
        }
        if self.stage == Stage::Serving {
            by(self.have_files.then_some(self.next_look));
            by(self.watch_files.then_some(self.next_files));
            by(self.processes.next_comparison(now));
        }
        next
    }

    /// Whether a connection that waits is to wake the master.
    pub(super) fn watches_listeners(&self, now: Instant) -> bool {
        match self.stage {
            Stage::Serving => self.processes.watches_listeners(now),
            Stage::Failed => self.failure_ends.is_some() && !self.processes.supply.has_fallback(),
            Stage::Ending => false,
        }
    }

    /// How much was served, and since when nothing is.
    pub(super) fn tally(&self) -> Tally {
        self.processes.tally()
    }

    /// A number that changes with everything that [`MasterState::seen`] tells, ages apart.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// What there is to show.
    pub(super) fn seen(&self, plan: &Plan, now: Instant) -> Snapshot {
        let processes = &self.processes;
        let generations = &processes.generations;
        let (min, max) = processes.sizing.pool();
        let workers = processes.supply.workers.iter();
        Snapshot {
            taken: uptime(),
            age: now.saturating_duration_since(self.begun),
            pid: std::process::id(),
            stage: match self.stage {
                Stage::Serving if generations.serving().is_none() => GatewayStage::Starting,
                Stage::Serving => GatewayStage::Serving,
                Stage::Failed => GatewayStage::Failed,
                Stage::Ending => GatewayStage::Ending,
            },
            generation: generations.serving(),
            candidate: generations.candidate(),
            min,
            max,
            threads: plan.threads,
            reloads: processes.record.reloads(now),
            workers: workers.map(|worker| worker.seen(now)).collect(),
            ended: processes.record.ended(),
            gone: Totals::default(),
            addresses: Vec::new(),
            has_stale_settings: false,
        }
    }

    /// One line on how things are.
    pub(super) fn describe(&self) -> String {
        self.processes.describe()
    }

    fn obey(&mut self, signal: Signal, reaction: &mut Reaction) {
        let processes = &mut self.processes;
        match signal {
            Signal::Terminate => self.end("told to end", reaction),
            Signal::Interrupt => self.end_at_once(reaction),
            Signal::ReopenLog => reaction.add(Action::ReopenLog),
            Signal::Child => {}
            _ if self.stage != Stage::Serving => {}
            Signal::Reload => {
                reaction.add(Action::BeforeReload);
                let generations = &mut processes.generations;
                generations.reload("SIGHUP", &mut processes.supply, reaction);
            }
            Signal::More => processes
                .sizing
                .change(1, &processes.supply.workers, reaction),
            Signal::Fewer => processes
                .sizing
                .change(-1, &processes.supply.workers, reaction),
        }
    }

    /// What is in flight is finished, nothing new is taken.
    fn end(&mut self, why: &str, reaction: &mut Reaction) {
        if self.stage != Stage::Serving {
            return;
        }
        reaction.info(format!("{why}: finishing what is in flight"));
        reaction.add(Action::Notify(Notice::Stopping));
        self.processes.askers.note_ending(reaction);
        self.change_stage(Stage::Ending);
        // First, so that nobody connects to a socket that is about to be closed.
        reaction.add(Action::RefuseNew);
        self.processes.generations.end(reaction);
        let until = reaction.after(self.processes.supply.grace());
        for worker in self.processes.supply.workers.iter_mut() {
            worker.drain(MasterMessage::Finish, "the gateway ends", until, reaction);
        }
        // A socket listens until the last process has closed it: on TCP, where there is no file to remove, connections
        // would go on being made that nobody is going to take.
        reaction.add(Action::CloseListeners);
    }

    /// SIGINT or SIGQUIT: everything ends at once.
    fn end_at_once(&mut self, reaction: &mut Reaction) {
        reaction.info("told to end at once");
        reaction.add(Action::Notify(Notice::Stopping));
        reaction.add(Action::RefuseNew);
        reaction.add(Action::KillAll);
        self.processes.generations.forget();
        self.processes.supply.workers.clear();
        self.change_stage(Stage::Ending);
    }

    /// Does what is due with workers that take too long to start or to end.
    fn enforce_deadlines(&mut self, reaction: &mut Reaction) {
        let supply = &mut self.processes.supply;
        if let Some(limit) = self.request_timeout {
            for worker in supply.workers.iter_mut() {
                worker.watch_for_frozen(limit, reaction.now());
            }
        }
        let (startup, grace) = (supply.startup(), supply.grace());
        let mut failed = None;
        for worker in supply.workers.iter_mut() {
            let overdue = worker.enforce_deadlines(startup, grace, reaction);
            if overdue == Overdue::NeverReady {
                failed.get_or_insert(worker.spawned_at());
            }
            let is_told = matches!(overdue, Overdue::Told | Overdue::NeverReady);
            if is_told && self.stage != Stage::Serving {
                self.ending = Ending::Cut;
            }
        }
        if let Some(begun) = failed {
            supply.note_failure(begun, reaction);
        }
    }
}
