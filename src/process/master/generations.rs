//! Generations of the application's code. A new one is a candidate until its first worker serves; only then the old
//! workers are replaced, and if it fails they go on.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::super::channel::{Channel, Heard, Message};
use super::super::child::Child;
use super::super::output::Output;
use super::rules::{Breach, MessageAllowance, Speaker, judge, plausible_files};
use super::workers::{AT_ONCE, Died, WorkerProcess, WorkerState, say};
use super::{Ending, Master, Stage, stamp};

/// How long a template whose time is over may take to write its stacks, and then to be gone.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A generation of the code.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) number: u32,
    pub(super) template: Option<Template>,
    /// Why it cannot be loaded, in the words of the process that tried.
    trouble: Option<String>,
    begun: Instant,
}

/// The process that has imported the application.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) process: Child,
    pub(super) channel: Channel,
    pub(super) output: Output,
    pub(super) born: Instant,
    /// Since when workers can be forked from it.
    pub(super) ready: Option<Instant>,
    pub(super) hung_up: bool,
    /// How much was heard of it lately.
    pub(super) budget: MessageAllowance,
    /// When it is killed, after it was told to write its stacks.
    pub(super) killed_at: Option<Instant>,
}

impl Generation {
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let template = self.template.as_ref();
        let is_heard =
            |template: &&Template| !template.hung_up && template.budget.until().is_none();
        let channel = template.filter(is_heard);
        let output = template.filter(|template| !template.output.is_closed);
        let channel = channel.map(|template| template.channel.as_fd());
        let output = output.map(|template| template.output.as_fd());
        channel.into_iter().chain(output)
    }

    pub(super) fn deadline(&self, startup: Duration) -> Option<Instant> {
        let template = self.template.as_ref()?;
        let limit = template.killed_at.unwrap_or(template.born + startup);
        template.ready.is_none().then_some(limit)
    }
}

impl Master<'_> {
    /// Begins a new generation.
    pub(super) fn begin_generation(&mut self, now: Instant) {
        self.generations += 1;
        self.candidate = Some(Generation {
            number: self.generations,
            template: None,
            trouble: None,
            begun: now,
        });
        let next = self.generations;
        let started = if self.plan.preload {
            self.make_template(now).map(|template| {
                if let Some(candidate) = &mut self.candidate {
                    candidate.template = Some(template);
                }
                true
            })
        } else if self.current.is_none() && self.plan.min == 0 {
            // On demand: nothing is made before it is asked for.
            self.commit(now);
            Ok(true)
        } else {
            Ok(self.make_worker(next, now))
        };
        match started {
            Ok(true) => {}
            Ok(false) => self.candidate_failed(Died::Exited(1), Some("no process can be made")),
            Err(error) => {
                self.candidate_failed(
                    Died::Exited(1),
                    Some(&format!("no process can be made: {error}")),
                );
            }
        }
    }

    /// Takes up the application's new code.
    pub(super) fn reload(&mut self, now: Instant, why: &str) {
        if self.candidate.is_some() {
            self.reload_again = true;
            return;
        }
        if self.free_number().is_none() {
            if !std::mem::replace(&mut self.reload_again, true) {
                log::warn!(
                    "reload: put off ({why}): {} workers still finish long requests, and one of them has to end first",
                    self.workers.len()
                );
            }
            return;
        }
        log::info!("reload: begun ({why})");
        if self.current.is_some() {
            self.service.reloading();
        }
        self.begin_generation(now);
    }

    /// Goes on with the candidate: its first worker, then the change.
    pub(super) fn further_candidate(&mut self, now: Instant) {
        let Some(candidate) = &mut self.candidate else {
            if self.reload_again && self.free_number().is_some() {
                self.reload_again = false;
                self.reload(now, "asked for before");
            }
            return;
        };
        let number = candidate.number;
        if let Some(template) = &mut candidate.template {
            if template.ready.is_none() {
                if template.is_late(now, self.plan.startup_timeout) {
                    let reason = format!(
                        "the application was not imported within {:?} (--startup-timeout)",
                        self.plan.startup_timeout
                    );
                    self.candidate_failed(Died::Killed(Signal::SIGKILL), Some(&reason));
                }
                return;
            }
        }
        let mut workers = self
            .workers
            .iter()
            .filter(|worker| worker.generation == number);
        let is_first = self.current.is_none();
        match workers.next().map(|worker| worker.state) {
            Some(WorkerState::Ready) => self.commit(now),
            None if is_first && self.plan.min == 0 => self.commit(now),
            None if self.backoff.until(now).is_none() && !self.make_worker(number, now) => {
                self.candidate_failed(Died::Exited(1), Some("no worker can be made"));
            }
            _ => {}
        }
    }

    /// The candidate is the current generation from here on.
    fn commit(&mut self, now: Instant) {
        let Some(candidate) = self.candidate.take() else {
            return;
        };
        let number = candidate.number;
        let before = self.current.replace(candidate);
        self.backoff.forget();
        self.trouble = None;
        match before {
            None => {
                log::info!("ready on {}", self.listening.names());
                self.service.ready(now);
            }
            Some(before) => {
                if let Some(template) = before.template {
                    template.end();
                }
                log::info!("reload: done, generation {number} serves");
                self.service.ready(now);
            }
        }
    }

    /// The candidate has failed: the old code goes on, if there is any.
    pub(super) fn candidate_failed(&mut self, died: Died, reason: Option<&str>) {
        let Some(candidate) = self.candidate.take() else {
            return;
        };
        for worker in &self.workers {
            if worker.generation == candidate.number {
                worker.signal(Signal::SIGKILL);
            }
        }
        let trouble = candidate.trouble.clone();
        if let Some(template) = candidate.template {
            template.process.signal(Signal::SIGKILL);
        }
        let reason = match (reason, died) {
            (Some(reason), _) => reason.to_owned(),
            (None, Died::Exited(3)) => "the application cannot be loaded".to_owned(),
            (None, died) => format!("the process that loaded the application died: {died}"),
        };
        // A template that lives has the code as it was, and so will workers that are made now.
        let can_go_on = self.current.is_some() && self.plan.preload && self.can_make_workers();
        if !can_go_on {
            self.note_failure(candidate.begun);
        }
        if self.plan.show_trouble {
            self.trouble = Some(trouble.unwrap_or_else(|| reason.clone()));
            self.tell_trouble();
        }
        if self.current.is_some() {
            let serves = match can_go_on || self.serving_workers() > 0 {
                true => "the application as it was goes on serving",
                false => {
                    "no worker has the application as it was, so that requests wait for one that can be made"
                }
            };
            log::error!("reload: failed: {reason}; {serves}");
            self.service.ready(Instant::now());
            return;
        }
        if self.stage == Stage::Serving && !self.files.is_empty() {
            log::error!(
                "cannot start: {reason}; waiting until a file of the application changes (--reload)"
            );
            return;
        }
        self.ending = match died {
            Died::Exited(3) | Died::Killed(_) => Ending::CannotLoad,
            // It wrote its stacks and ended when its time was over.
            Died::Exited(_) if reason.contains("--startup-timeout") => Ending::CannotLoad,
            Died::Exited(code) => Ending::Failed(code),
        };
        if died != Died::Exited(3) {
            log::error!("cannot start: {reason}");
        }
        self.listening.refuse_new();
        self.stage = Stage::Ending;
        self.answer_before_the_end(Instant::now());
    }

    /// Has the workers answer with the reason why the new code does not load, where that is wanted; those as well that have
    /// become ready since.
    pub(super) fn tell_trouble(&self) {
        let Some(text) = &self.trouble else { return };
        let serving = self.current.as_ref().map(|current| current.number);
        let is_old =
            |worker: &&WorkerProcess| worker.is_fallback() || Some(worker.generation) == serving;
        for worker in self.workers.iter().filter(is_old) {
            let _ = worker.channel.send_now(&Message::Trouble(text.clone()));
        }
    }

    pub(super) fn note_trouble(&mut self, generation: u32, text: String) {
        if let Some(candidate) = &mut self.candidate {
            if candidate.number == generation {
                candidate.trouble = Some(text);
            }
        }
    }

    /// The template that workers of this generation are forked from.
    pub(super) fn template_of(&self, generation: u32) -> Option<&Template> {
        self.current
            .iter()
            .chain(&self.candidate)
            .find(|known| known.number == generation)?
            .template
            .as_ref()
    }

    /// Reads what templates have said.
    pub(super) fn read_templates(&mut self) {
        let now = Instant::now();
        let watches = self.plan.watch_files;
        let mut heard: Vec<(u32, Message)> = Vec::new();
        for generation in self.current.iter_mut().chain(&mut self.candidate) {
            let number = generation.number;
            let Some(template) = &mut generation.template else {
                continue;
            };
            let mut is_ready = template.ready.is_some();
            for _ in 0..AT_ONCE {
                if template.hung_up || template.budget.is_spent(now) {
                    break;
                }
                let judged = match template.channel.hear() {
                    Heard::Nothing => break,
                    Heard::Closed => {
                        template.hung_up = true;
                        break;
                    }
                    Heard::Nonsense(what) => Err(Breach(what)),
                    Heard::Message(_, sender) if sender != template.process.pid() => {
                        Err(Breach("by another process"))
                    }
                    Heard::Message(message, _) => {
                        template.budget.spend(&message);
                        judge(&message, Speaker::Template { is_ready }, watches).map(|()| message)
                    }
                };
                match judged {
                    Ok(message) => {
                        is_ready |= matches!(message, Message::Ready);
                        heard.push((number, message));
                    }
                    Err(breach) => {
                        let pid = template.process.pid();
                        log::error!("the template (pid {pid}) is killed and replaced: {breach}");
                        template.process.signal(Signal::SIGKILL);
                        template.hung_up = true;
                    }
                }
            }
            template.output.read(|line| log::info!("template: {line}"));
        }
        for (number, message) in heard {
            match message {
                Message::Ready => {
                    if self
                        .current
                        .as_ref()
                        .is_some_and(|known| known.number == number)
                    {
                        self.note_success();
                    }
                    let known = self.current.iter_mut().chain(&mut self.candidate);
                    for generation in known.filter(|known| known.number == number) {
                        if let Some(template) = &mut generation.template {
                            template.ready = Some(Instant::now());
                            log::info!(
                                "the template (pid {}) has imported the application",
                                template.process.pid()
                            );
                        }
                    }
                }
                Message::Log(level, text) => say(level, &format!("template: {text}")),
                Message::CannotLoad(text) => self.note_trouble(number, text),
                Message::Files(files) => {
                    let files = plausible_files(&files, self.files.len());
                    self.note_files(&files);
                }
                // Not let through by the rules.
                _ => {}
            }
        }
    }

    /// A process has died that is no worker; `false` when it was no template either.
    pub(super) fn bury_template(&mut self, pid: Pid, died: Died) -> bool {
        let is = |generation: &Option<Generation>| {
            let template = generation
                .as_ref()
                .and_then(|known| known.template.as_ref());
            template.is_some_and(|template| template.process.pid() == pid)
        };
        if is(&self.candidate) {
            if self.stage == Stage::Serving {
                self.candidate_failed(died, None);
            }
            return true;
        }
        if is(&self.current) {
            let now = Instant::now();
            let current = self.current.as_mut();
            let template = current.and_then(|current| current.template.take());
            if let (Some(template), Stage::Serving) = (template, self.stage) {
                let served = template.ready.map_or(Duration::ZERO, |ready| now - ready);
                let early = match template.ready {
                    Some(_) => "",
                    None => ", before it was ready",
                };
                if template.ready.is_none() {
                    self.note_failure(template.born);
                }
                let next = match self.backoff.died(now, served) {
                    Duration::ZERO => "at once".to_owned(),
                    delay => format!("in {delay:?}"),
                };
                let age = now - template.born;
                log::error!(
                    "the template (pid {pid}) ended: {died} after {age:.1?}{early}; the next is made {next}"
                );
            }
            return true;
        }
        false
    }

    /// Has a template for the generation that serves, with `--preload`: not only when a worker is wanted, which is not
    /// to wait for an import then.
    pub(super) fn keep_template(&mut self, now: Instant) {
        let Some(current) = self.current.as_mut().filter(|_| self.plan.preload) else {
            return;
        };
        match &mut current.template {
            Some(template) if template.ready.is_some() => {}
            Some(template) => {
                if template.is_late(now, self.plan.startup_timeout) {
                    log::error!(
                        "the template (pid {}) has not imported the application within {:?} (--startup-timeout): \
                         killing it",
                        template.process.pid(),
                        self.plan.startup_timeout
                    );
                    template.process.signal(Signal::SIGKILL);
                    template.killed_at = Some(now + LAST_WORDS);
                    let born = template.born;
                    self.note_failure(born);
                }
            }
            None if self.backoff.until(now).is_some() => {}
            None => match self.make_template(now) {
                Ok(template) => {
                    if let Some(current) = &mut self.current {
                        current.template = Some(template);
                    }
                }
                Err(error) => {
                    let delay = self.backoff.died(now, Duration::ZERO);
                    self.note_failure(now);
                    log::error!("the template cannot be made: {error}; tried again in {delay:?}");
                }
            },
        }
    }

    /// Whether workers of the generation that serves can be made now.
    pub(super) fn can_make_workers(&self) -> bool {
        let template = self.current.as_ref().map(|current| &current.template);
        let ready = |template: &Template| template.ready.is_some();
        !self.plan.preload || template.is_some_and(|template| template.as_ref().is_some_and(ready))
    }

    pub(super) fn note_files(&mut self, files: &str) {
        if !self.plan.watch_files {
            return;
        }
        for file in files.lines() {
            let path = PathBuf::from(file);
            let found = stamp(std::fs::metadata(&path));
            self.files.entry(path).or_insert(found);
        }
        log::debug!("{} files are watched", self.files.len());
    }

    /// Reloads when a file of the application has changed.
    pub(super) fn watch_files(&mut self, now: Instant) {
        let mut changed = None;
        for (path, before) in &mut self.files {
            let found = stamp(std::fs::metadata(path));
            if found != *before {
                *before = found;
                changed.get_or_insert_with(|| path.display().to_string());
            }
        }
        if let Some(path) = changed {
            self.reload(now, &format!("{path} has changed"));
        }
    }
}

impl Template {
    /// Whether its time to import the application is over. Once it is, it is told to write its stacks, and has a moment
    /// for that.
    fn is_late(&mut self, now: Instant, startup: Duration) -> bool {
        match self.killed_at {
            Some(at) => now >= at,
            None if now >= self.born + startup => {
                self.killed_at = Some(now + LAST_WORDS);
                self.process.ask_for_stacks();
                false
            }
            None => false,
        }
    }

    /// Ends it: it has nothing to finish.
    pub(super) fn end(self) {
        self.process.signal(Signal::SIGKILL);
    }
}
