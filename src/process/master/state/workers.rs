//! The workers that there are, in the order in which they were started, with those on their way out.

use std::time::{Duration, Instant};

use nix::unistd::Pid;

use super::super::super::messages::MasterMessage;
use super::super::reaction::{Action, Figures, Reaction};
use super::super::rules::WorkerState;
use super::worker::{PUNCTUAL, WorkerRecord};

/// The workers.
#[derive(Debug)]
pub(super) struct Workers {
    list: Vec<WorkerRecord>,
    /// How many there may be at a time.
    capacity: u32,
    /// How often the listening sockets have been made anew.
    version: u32,
}

impl Workers {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            list: Vec::new(),
            capacity: u32::try_from(capacity).unwrap_or(u32::MAX),
            version: 0,
        }
    }

    /// How many there may be at a time.
    pub(super) fn capacity(&self) -> usize {
        self.capacity as usize
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &WorkerRecord> {
        self.list.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut WorkerRecord> {
        self.list.iter_mut()
    }

    pub(super) fn count(&self) -> usize {
        self.list.len()
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut WorkerRecord> {
        self.list
            .iter_mut()
            .find(|worker| worker.number() == number)
    }

    /// A number that no worker has, not even one on its way out.
    fn free_number(&self) -> Option<u32> {
        (1..=self.capacity).find(|number| self.list.iter().all(|worker| worker.number() != *number))
    }

    /// Whether there may be one more.
    pub(super) fn has_room(&self) -> bool {
        self.free_number().is_some()
    }

    /// Adds a worker that is about to be started; gives its number, if there may be one more.
    pub(super) fn add(&mut self, generation: u32, now: Instant) -> Option<u32> {
        let number = self.free_number()?;
        let worker = WorkerRecord::new(number, generation, self.version, now);
        self.list.push(worker);
        Some(number)
    }

    /// Takes a worker out that is no more.
    pub(super) fn remove(&mut self, number: u32) -> Option<WorkerRecord> {
        let is = |worker: &WorkerRecord| worker.number() == number;
        let index = self.list.iter().position(is)?;
        Some(self.list.remove(index))
    }

    /// Takes one out that never came to be.
    pub(super) fn remove_unadopted(&mut self) -> Option<WorkerRecord> {
        let index = self.list.iter().position(WorkerRecord::is_unadopted)?;
        Some(self.list.remove(index))
    }

    /// Forgets them all.
    pub(super) fn clear(&mut self) {
        self.list.clear();
    }

    /// Whether this process is one of them.
    pub(super) fn has_pid(&self, pid: Pid) -> bool {
        self.list.iter().any(|worker| worker.pid() == Some(pid))
    }

    /// Takes up what the scoreboard says.
    pub(super) fn note_figures(&mut self, figures: Vec<(u32, Figures)>) {
        for (number, figures) in figures {
            if let Some(worker) = self.get_mut(number) {
                worker.note_figures(figures);
            }
        }
    }

    /// Those of this generation that are to stay.
    pub(super) fn fresh(&self, generation: u32) -> impl Iterator<Item = &WorkerRecord> {
        self.list.iter().filter(move |worker| {
            worker.generation() == generation
                && worker.state() != WorkerState::Leaving
                && worker.retires().is_none()
        })
    }

    /// The first that was started of this generation.
    pub(super) fn first_of(&self, generation: u32) -> Option<&WorkerRecord> {
        let is = |worker: &&WorkerRecord| worker.generation() == generation;
        self.list.iter().find(is)
    }

    /// Whether there is any that takes connections, the fallback among them.
    pub(super) fn is_any_ready(&self) -> bool {
        let is_ready = |worker: &WorkerRecord| worker.state() == WorkerState::Ready;
        self.list.iter().any(is_ready)
    }

    /// How many serve.
    pub(super) fn serving(&self) -> usize {
        self.list.iter().filter(|worker| worker.serves()).count()
    }

    /// Tells a worker to finish what it has and end; its idle connections go to the others, if there are any.
    pub(super) fn drain(
        &mut self,
        number: u32,
        reason: &str,
        until: Instant,
        reaction: &mut Reaction,
    ) {
        let has_others = self
            .list
            .iter()
            .any(|worker| worker.number() != number && worker.state() != WorkerState::Leaving);
        let message = match has_others {
            true => MasterMessage::Drain,
            false => MasterMessage::Finish,
        };
        if let Some(worker) = self.get_mut(number) {
            worker.drain(message, reason, until, reaction);
        }
    }

    /// There are other listening sockets.
    pub(super) fn note_new_listeners(&mut self) {
        self.version += 1;
    }

    /// Has the listening sockets sent to those who have others.
    pub(super) fn pass_listeners(&mut self, reaction: &mut Reaction) {
        let mut numbers = Vec::new();
        for worker in &mut self.list {
            if worker.lacks(self.version) {
                worker.note_version(Some(self.version));
                numbers.push(worker.number());
            }
        }
        if !numbers.is_empty() {
            reaction.add(Action::PassListeners(numbers));
        }
    }

    /// These could not be given the listening sockets.
    pub(super) fn note_not_passed(&mut self, numbers: &[u32]) {
        for worker in self
            .list
            .iter_mut()
            .filter(|worker| numbers.contains(&worker.number()))
        {
            worker.note_version(None);
        }
    }

    /// When it is to be looked whether workers are frozen, where requests may take so long; it was at `now`.
    pub(super) fn next_frozen(&self, request_timeout: Duration, now: Instant) -> Option<Instant> {
        let looks = self
            .is_any_ready()
            .then(|| now + request_timeout.max(PUNCTUAL));
        let workers = self.list.iter();
        let stopped = workers.filter_map(|worker| worker.frozen_at(request_timeout));
        looks.into_iter().chain(stopped).min()
    }
}
