//! The process that has imported the application, and of which workers are copies (`--preload`).

use std::time::{Duration, Instant};

use nix::unistd::Pid;

use super::super::reaction::{Action, ChildId, Died, Reaction};
use super::super::rules::{Breach, Speaker};
use crate::gateway::TimeSpan;

/// How long a template whose time is over may take to write its stacks, and then to be gone.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A template.
#[derive(Debug)]
pub(super) struct Template {
    /// Not known while it is being started.
    pid: Option<Pid>,
    spawned_at: Instant,
    /// Since when workers can be forked from it.
    ready: Option<Instant>,
    /// When it is killed, after it was told to write its stacks.
    killed_at: Option<Instant>,
    is_deaf: bool,
}

impl Template {
    /// One that is being started.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            pid: None,
            spawned_at: now,
            ready: None,
            killed_at: None,
            is_deaf: false,
        }
    }

    pub(super) fn pid(&self) -> Option<Pid> {
        self.pid
    }

    pub(super) fn spawned_at(&self) -> Instant {
        self.spawned_at
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready.is_some()
    }

    /// How far it has come, for the rules.
    pub(super) fn speaker(&self) -> Speaker {
        Speaker::Template {
            is_ready: self.is_ready(),
        }
    }

    /// How long workers could be forked from it.
    pub(super) fn served(&self, now: Instant) -> Duration {
        self.ready.map_or(Duration::ZERO, |ready| now - ready)
    }

    pub(super) fn note_started(&mut self, pid: Pid) {
        self.pid = Some(pid);
    }

    /// It has imported the application.
    pub(super) fn note_ready(&mut self, reaction: &mut Reaction) {
        self.ready = Some(reaction.now());
        reaction.info(format!("{} has imported the application", self.name()));
    }

    /// Whether anything more is heard of it.
    pub(super) fn is_deaf(&self) -> bool {
        self.is_deaf
    }

    /// Ends it: it is not what it was, and nothing more is heard of it.
    pub(super) fn expel(&mut self, id: ChildId, breach: Breach, reaction: &mut Reaction) {
        reaction.error(format!("{} is killed and replaced: {breach}", self.name()));
        reaction.kill(id);
        reaction.add(Action::HearNoMore(id));
        self.is_deaf = true;
    }

    /// How the log names it.
    pub(super) fn name(&self) -> String {
        match self.pid {
            Some(pid) => format!("the template (pid {pid})"),
            None => "the template".to_owned(),
        }
    }

    /// When something follows of its being slow.
    pub(super) fn deadline(&self, startup: Duration) -> Option<Instant> {
        let limit = self.killed_at.unwrap_or(self.spawned_at + startup);
        self.ready.is_none().then_some(limit)
    }

    /// When it was made, where it has had its time and is about to be killed.
    pub(super) fn hanging_since(&self, startup: Duration, now: Instant) -> Option<Instant> {
        let is_over = !self.is_ready() && now >= self.spawned_at + startup;
        is_over.then_some(self.spawned_at)
    }

    /// Whether its time to import the application is over. Once it is, it is told to write its stacks, and has a moment
    /// for that.
    pub(super) fn is_late(
        &mut self,
        id: ChildId,
        startup: Duration,
        reaction: &mut Reaction,
    ) -> bool {
        match self.killed_at {
            Some(at) => reaction.now() >= at,
            None if reaction.now() >= self.spawned_at + startup => {
                self.killed_at = Some(reaction.after(LAST_WORDS));
                reaction.add(Action::AskForStacks(id));
                false
            }
            None => false,
        }
    }

    /// Ends one that is late.
    pub(super) fn kill(&mut self, id: ChildId, startup: Duration, reaction: &mut Reaction) {
        reaction.error(format!(
            "{} has not imported the application within {} (--startup-timeout): killing it",
            self.name(),
            TimeSpan(startup)
        ));
        reaction.kill(id);
        self.killed_at = Some(reaction.after(LAST_WORDS));
    }

    /// Tells of its end, and when the next is made.
    pub(super) fn tell_end(&self, died: Died, next: &str, reaction: &mut Reaction) {
        let age = reaction.now() - self.spawned_at;
        let early = match self.ready {
            Some(_) => "",
            None => ", before it was ready",
        };
        reaction.error(format!(
            "{} ended: {died} after {age:.1?}{early}; the next is made {next}",
            self.name()
        ));
    }
}
