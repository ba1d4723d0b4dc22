//! Generations of the application's code. A new one is a candidate until its first worker serves; only then the old
//! workers are replaced, and if it fails they go on.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use super::super::super::messages::MasterMessage;
use super::super::reaction::{Action, ChildId, Died, Notice, Reaction};
use super::super::rules::{WorkerState, plausible_files};
use super::super::{Ending, Plan};
use super::record::ReloadResult;
use super::start_failure::StartFailure;
use super::supply::Supply;
use super::template::Template;
use super::worker::WorkerRecord;
use crate::gateway::TimeSpan;

/// A generation of the code.
#[derive(Debug)]
pub(super) struct Generation {
    number: u32,
    /// The process that has imported it, with `--preload`.
    template: Option<Template>,
    /// Why it cannot be loaded, in the words of the process that tried.
    trouble: Option<String>,
    begun: Instant,
}

/// The code that serves, and the code that is to follow it.
#[derive(Debug)]
pub(super) struct Generations {
    /// None before the first.
    current: Option<Generation>,
    candidate: Option<Generation>,
    /// How many were begun.
    count: u32,
    reload_again: bool,
    /// Why the newest code does not load, where workers are to answer with that.
    trouble: Option<String>,
    /// Why the gateway ends, where the first start has failed.
    failed_start: Option<Ending>,
    /// What came of reloads since this was asked.
    results: Vec<ReloadResult>,
    /// Files of the application that are watched.
    files: BTreeSet<String>,
    /// Whether workers are forked from a template.
    preload: bool,
    /// Whether nothing is made before it is asked for.
    is_on_demand: bool,
    show_trouble: bool,
    /// Whether those who come after a first start that has failed are told the reason.
    shows_failed_start: bool,
}

impl Generations {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            current: None,
            candidate: None,
            count: 0,
            reload_again: false,
            trouble: None,
            failed_start: None,
            results: Vec::new(),
            files: BTreeSet::new(),
            preload: plan.preload,
            is_on_demand: plan.min == 0,
            show_trouble: plan.show_trouble,
            shows_failed_start: plan.failure_shown.is_some(),
        }
    }

    /// The number of the generation that serves.
    pub(super) fn serving(&self) -> Option<u32> {
        self.current.as_ref().map(|current| current.number)
    }

    /// The number of the one that is to follow.
    pub(super) fn candidate(&self) -> Option<u32> {
        self.candidate.as_ref().map(|candidate| candidate.number)
    }

    /// How many were begun.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// What came of reloads since this was asked.
    pub(super) fn take_results(&mut self) -> Vec<ReloadResult> {
        std::mem::take(&mut self.results)
    }

    /// Whether there is any.
    pub(super) fn are_there(&self) -> bool {
        self.current.is_some() || self.candidate.is_some()
    }

    /// Why the newest code does not load, where that is to be answered.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Whether the first start has failed.
    pub(super) fn have_failed(&self) -> bool {
        self.failed_start.is_some()
    }

    /// Why the gateway ends, where the first start has failed since this was asked.
    pub(super) fn take_failed_start(&mut self) -> Option<Ending> {
        self.failed_start.take()
    }

    fn find(&mut self, number: u32) -> Option<&mut Generation> {
        let known = self.current.iter_mut().chain(&mut self.candidate);
        known.into_iter().find(|known| known.number == number)
    }

    fn templates(&self) -> impl Iterator<Item = (u32, &Template)> {
        let known = self.current.iter().chain(&self.candidate);
        known.filter_map(|known| Some((known.number, known.template.as_ref()?)))
    }

    /// The template of a generation.
    pub(super) fn template(&mut self, number: u32) -> Option<&mut Template> {
        self.find(number)?.template.as_mut()
    }

    /// Whether workers of this generation are forked from a template.
    pub(super) fn has_template(&self, number: u32) -> bool {
        self.templates().any(|(of, _)| of == number)
    }

    /// Whether this process is a template.
    pub(super) fn has_pid(&self, pid: Pid) -> bool {
        self.templates()
            .any(|(_, template)| template.pid() == Some(pid))
    }

    /// Whether workers of the generation that serves can be made now.
    pub(super) fn can_make_workers(&self) -> bool {
        let template = self.current.as_ref().and_then(|it| it.template.as_ref());
        !self.preload || template.is_some_and(Template::is_ready)
    }

    /// When the template was made that workers are waiting for, where it has had its time and is about to be killed.
    pub(super) fn hanging_since(&self, startup: Duration, now: Instant) -> Option<Instant> {
        let generation = self.current.as_ref().or(self.candidate.as_ref())?;
        let template = generation.template.as_ref()?;
        template.hanging_since(startup, now)
    }

    /// When something is due without an event.
    pub(super) fn next_deadline(&self, supply: &Supply, now: Instant) -> Option<Instant> {
        // Asked for while the one that has just succeeded went on.
        let again = self.reload_again && self.candidate.is_none() && supply.workers.has_room();
        let templates = self.templates();
        let templates = templates.filter_map(|(_, template)| template.deadline(supply.startup()));
        templates.chain(again.then_some(now)).min()
    }

    /// Begins a new generation.
    pub(super) fn begin(&mut self, supply: &mut Supply, reaction: &mut Reaction) {
        self.count += 1;
        let number = self.count;
        self.candidate = Some(Generation {
            number,
            template: self.preload.then(|| Template::new(reaction.now())),
            trouble: None,
            begun: reaction.now(),
        });
        if self.preload {
            reaction.add(Action::StartTemplate(number));
        } else if self.current.is_none() && self.is_on_demand {
            self.commit(supply, reaction);
        } else if !supply.make_worker(number, false, reaction) {
            self.fail(&StartFailure::NoProcess, supply, reaction);
        }
    }

    /// Takes up the application's new code.
    pub(super) fn reload(&mut self, why: &str, supply: &mut Supply, reaction: &mut Reaction) {
        if self.candidate.is_some() {
            self.reload_again = true;
            return;
        }
        if !supply.workers.has_room() {
            if !std::mem::replace(&mut self.reload_again, true) {
                reaction.warn(format!(
                    "reload: put off ({why}): {} workers still finish long requests, and one of them has to end first",
                    supply.workers.count()
                ));
            }
            return;
        }
        reaction.info(format!("reload: begun ({why})"));
        if self.current.is_some() {
            reaction.add(Action::Notify(Notice::Reloading));
        }
        self.begin(supply, reaction);
    }

    /// Goes on with the candidate: its first worker, then the change.
    pub(super) fn further(&mut self, supply: &mut Supply, reaction: &mut Reaction) {
        let Some(candidate) = &mut self.candidate else {
            if self.reload_again && supply.workers.has_room() {
                self.reload_again = false;
                self.reload("asked for before", supply, reaction);
            }
            return;
        };
        let number = candidate.number;
        if let Some(template) = candidate.template.as_mut().filter(|it| !it.is_ready()) {
            let startup = supply.startup();
            if template.is_late(ChildId::Template(number), startup, reaction) {
                let what = format!(
                    "the application was not imported within {}",
                    TimeSpan(startup)
                );
                self.fail(&StartFailure::Late(what), supply, reaction);
            }
            return;
        }
        let first = supply.workers.first_of(number);
        let is_first_start = self.current.is_none();
        match first.map(WorkerRecord::state) {
            Some(WorkerState::Ready) => self.commit(supply, reaction),
            None if is_first_start && self.is_on_demand => self.commit(supply, reaction),
            None if supply.backoff.until(reaction.now()).is_none()
                && !supply.make_worker(number, self.has_template(number), reaction) =>
            {
                self.fail(&StartFailure::NoWorker, supply, reaction);
            }
            _ => {}
        }
    }

    /// A worker of this generation serves.
    pub(super) fn note_ready(&mut self, number: u32, supply: &mut Supply, reaction: &mut Reaction) {
        if self.candidate() == Some(number) {
            self.commit(supply, reaction);
        }
    }

    /// The candidate is the current generation from here on.
    fn commit(&mut self, supply: &mut Supply, reaction: &mut Reaction) {
        let Some(candidate) = self.candidate.take() else {
            return;
        };
        let number = candidate.number;
        let before = self.current.replace(candidate);
        supply.backoff.forget();
        self.trouble = None;
        match before {
            None => reaction.add(Action::TellReady),
            Some(before) => {
                before.discard(reaction);
                self.results.push(ReloadResult {
                    generation: number,
                    failure: None,
                });
                reaction.info(format!("reload: done, generation {number} serves"));
            }
        }
        reaction.add(Action::Notify(Notice::Ready));
    }

    /// The candidate has failed: the old code goes on, if there is any.
    pub(super) fn fail(
        &mut self,
        reason: &StartFailure,
        supply: &mut Supply,
        reaction: &mut Reaction,
    ) {
        let Some(mut candidate) = self.candidate.take() else {
            return;
        };
        for worker in supply.workers.iter() {
            if worker.generation() == candidate.number {
                reaction.kill(worker.id());
            }
        }
        let trouble = candidate.trouble.take();
        let reason = &reason.clone().among(trouble.is_some());
        let (number, begun) = (candidate.number, candidate.begun);
        candidate.discard(reaction);
        // A template that lives has the code as it was, and so will workers that are made now.
        let can_go_on = self.current.is_some() && self.preload && self.can_make_workers();
        if !can_go_on {
            supply.note_failure(begun, reaction);
        }
        if self.show_trouble || (self.shows_failed_start && self.current.is_none()) {
            self.trouble = Some(trouble.clone().unwrap_or_else(|| reason.to_string()));
            self.tell_trouble(supply, reaction);
        }
        if self.current.is_some() {
            self.results.push(ReloadResult {
                generation: number,
                failure: Some(trouble.unwrap_or_else(|| reason.to_string())),
            });
            let serves = match can_go_on || supply.workers.serving() > 0 {
                true => "the application as it was goes on serving",
                false => {
                    "no worker has the application as it was, so that requests wait for one that can be made"
                }
            };
            reaction.error(format!("reload: failed: {reason}; {serves}"));
            reaction.add(Action::Notify(Notice::Ready));
            return;
        }
        if !self.files.is_empty() {
            reaction.error(format!(
                "cannot start: {reason}; waiting until a file of the application changes (--reload)"
            ));
            return;
        }
        self.failed_start = Some(reason.ending());
        if !reason.is_told() {
            reaction.error(format!("cannot start: {reason}"));
        }
    }

    /// A worker or the template of the candidate cannot be started.
    pub(super) fn note_not_started(
        &mut self,
        error: Option<&str>,
        supply: &mut Supply,
        reaction: &mut Reaction,
    ) {
        if let (Some(_), Some(candidate)) = (error, &mut self.candidate) {
            candidate.template = None;
        }
        let reason = match error {
            Some(error) => StartFailure::Refused(error.to_owned()),
            None if self.preload => StartFailure::NoWorker,
            None => StartFailure::NoProcess,
        };
        self.fail(&reason, supply, reaction);
    }

    /// The gateway ends: there will be no more workers.
    pub(super) fn end(&mut self, reaction: &mut Reaction) {
        let known = [self.current.take(), self.candidate.take()];
        for generation in known.into_iter().flatten() {
            generation.discard(reaction);
        }
    }

    /// Forgets them all: their processes are killed already.
    pub(super) fn forget(&mut self) {
        self.current = None;
        self.candidate = None;
    }

    /// Has the workers answer with the reason why the new code does not load, where that is wanted; those as well that have
    /// become ready since.
    pub(super) fn tell_trouble(&self, supply: &Supply, reaction: &mut Reaction) {
        let Some(text) = &self.trouble else { return };
        let serving = self.serving();
        let is_old =
            |worker: &&WorkerRecord| worker.is_fallback() || Some(worker.generation()) == serving;
        for worker in supply.workers.iter().filter(is_old) {
            let message = MasterMessage::Trouble(text.clone());
            reaction.add(Action::Tell(worker.number(), message, None));
        }
    }

    /// Why a generation cannot be loaded, in the words of the process that has tried.
    pub(super) fn note_trouble(&mut self, number: u32, text: String) {
        if let Some(candidate) = &mut self.candidate {
            if candidate.number == number {
                candidate.trouble = Some(text);
            }
        }
    }

    /// A template has imported the application.
    pub(super) fn note_template_ready(
        &mut self,
        number: u32,
        supply: &mut Supply,
        reaction: &mut Reaction,
    ) {
        if self.serving() == Some(number) {
            supply.note_success();
        }
        if let Some(template) = self.template(number) {
            template.note_ready(reaction);
        }
    }

    /// A template has ended.
    pub(super) fn note_template_dead(
        &mut self,
        number: u32,
        died: Died,
        supply: &mut Supply,
        reaction: &mut Reaction,
    ) {
        let Some(template) = self.find(number).and_then(|it| it.template.take()) else {
            return;
        };
        if self.candidate() == Some(number) {
            return self.fail(&StartFailure::Ended(died), supply, reaction);
        }
        if !template.is_ready() {
            supply.note_failure(template.spawned_at(), reaction);
        }
        let served = template.served(reaction.now());
        let next = match supply.backoff.died(reaction.now(), served) {
            Duration::ZERO => "at once".to_owned(),
            delay => format!("in {}", TimeSpan(delay)),
        };
        template.tell_end(died, &next, reaction);
    }

    /// Has a template for the generation that serves, with `--preload`: not only when a worker is wanted, which is not
    /// to wait for an import then.
    pub(super) fn keep_template(&mut self, supply: &mut Supply, reaction: &mut Reaction) {
        let Some(current) = self.current.as_mut().filter(|_| self.preload) else {
            return;
        };
        let id = ChildId::Template(current.number);
        match &mut current.template {
            Some(template) if template.is_ready() => {}
            Some(template) => {
                if template.is_late(id, supply.startup(), reaction) {
                    template.kill(id, supply.startup(), reaction);
                    supply.note_failure(template.spawned_at(), reaction);
                }
            }
            None if supply.backoff.until(reaction.now()).is_some() => {}
            None => {
                current.template = Some(Template::new(reaction.now()));
                reaction.add(Action::StartTemplate(current.number));
            }
        }
    }

    /// The template of the generation that serves cannot be started.
    pub(super) fn note_no_template(
        &mut self,
        error: &str,
        supply: &mut Supply,
        reaction: &mut Reaction,
    ) {
        if let Some(current) = &mut self.current {
            current.template = None;
        }
        let delay = supply.backoff.died(reaction.now(), Duration::ZERO);
        supply.note_failure(reaction.now(), reaction);
        reaction.error(format!(
            "the template cannot be made: {error}; tried again in {}",
            TimeSpan(delay)
        ));
    }

    /// Files that the application consists of, one a line, as a process of it says.
    pub(super) fn note_files(&mut self, named: &str, reaction: &mut Reaction) {
        let named = plausible_files(named, self.files.len());
        let new: Vec<PathBuf> = named
            .lines()
            .filter(|file| self.files.insert((*file).to_owned()))
            .map(PathBuf::from)
            .collect();
        reaction.add(Action::WatchFiles(new));
        reaction.debug(format!("{} files are watched", self.files.len()));
    }
}

impl Generation {
    /// Ends its template: it has nothing to finish.
    fn discard(self, reaction: &mut Reaction) {
        if self.template.is_some() {
            reaction.kill(ChildId::Template(self.number));
            reaction.add(Action::Forget(ChildId::Template(self.number)));
        }
    }
}
