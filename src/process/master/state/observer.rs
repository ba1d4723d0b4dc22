//! The observer, as far as the state of the master has to know: that it is there, or when it is to be made again.

use std::time::{Duration, Instant};

use nix::unistd::Pid;

use super::super::super::messages::ChildMessage;
use super::super::super::pool::Backoff;
use super::super::reaction::{Action, ChildId, Died, Reaction};
use super::super::rules::{Breach, plain_line};

/// The observer.
#[derive(Debug)]
pub(super) struct Observer {
    is_wanted: bool,
    /// Since when it is there, or being made.
    since: Option<Instant>,
    pid: Option<Pid>,
    backoff: Backoff,
}

impl Observer {
    /// None yet, and none at all if it is not wanted.
    pub(super) fn new(is_wanted: bool) -> Self {
        Self {
            is_wanted,
            since: None,
            pid: None,
            backoff: Backoff::default(),
        }
    }

    /// Has one made where there is none.
    pub(super) fn keep(&mut self, reaction: &mut Reaction) {
        let is_due = self.is_wanted && self.since.is_none();
        if is_due && self.backoff.until(reaction.now()).is_none() {
            self.since = Some(reaction.now());
            reaction.add(Action::StartObserver);
        }
    }

    /// When one is to be made.
    pub(super) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let is_missing = self.is_wanted && self.since.is_none();
        is_missing.then(|| self.backoff.until(now).unwrap_or(now))
    }

    pub(super) fn started(&mut self, pid: Pid) {
        self.pid = Some(pid);
    }

    pub(super) fn not_started(&mut self, error: &str, reaction: &mut Reaction) {
        let delay = self.is_gone(reaction.now());
        reaction.warn(format!(
            "the process of the control socket cannot be made: {error}; tried again in {delay:?}"
        ));
    }

    /// Judges what it says: lines of the log.
    pub(super) fn hear(&self, message: ChildMessage, sender: Pid, reaction: &mut Reaction) {
        match message {
            _ if self.pid != Some(sender) => self.expel(Breach("by another process"), reaction),
            ChildMessage::Log(level, text) => {
                let (level, line) = plain_line(level, format!("control socket: {text}"));
                reaction.log(level, line);
            }
            _ => self.expel(Breach("what only workers say"), reaction),
        }
    }

    /// Ends it: it is not what it was.
    pub(super) fn expel(&self, breach: Breach, reaction: &mut Reaction) {
        reaction.error(format!(
            "the process of the control socket is killed and replaced: {breach}"
        ));
        reaction.add(Action::HearNoMore(ChildId::Observer));
        reaction.kill(ChildId::Observer);
    }

    pub(super) fn exited(&mut self, died: Died, is_serving: bool, reaction: &mut Reaction) {
        let delay = self.is_gone(reaction.now());
        if is_serving {
            reaction.warn(format!(
                "the process of the control socket ended: {died}; another is made in {delay:?}"
            ));
        }
    }

    fn is_gone(&mut self, now: Instant) -> Duration {
        self.pid = None;
        let served = self
            .since
            .take()
            .map_or(Duration::ZERO, |since| now - since);
        self.backoff.died(now, served)
    }
}
