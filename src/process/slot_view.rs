//! A worker's slot of the scoreboard as another process than the master sees it: to be read, and no more.

use std::os::fd::AsFd;
use std::time::Duration;

use super::scoreboard::{Running, WorkerSlot};
use super::totals::Totals;

/// The slot of a worker, mapped without the right to write to it.
#[derive(Clone, Debug)]
pub struct SlotView(WorkerSlot);

impl SlotView {
    /// The slot that the master has made, of a worker with so many threads.
    ///
    /// # Errors
    /// When the kernel has no memory left.
    pub fn map(memory: impl AsFd, threads: usize) -> nix::Result<Self> {
        WorkerSlot::map_to_read(memory, threads).map(Self)
    }

    /// What the worker has done.
    pub fn totals(&self) -> Totals {
        self.0.totals()
    }

    /// How long it has been without any request; nothing while it has one.
    pub fn idle(&self) -> Option<Duration> {
        self.0.idle()
    }

    /// The requests that it is serving.
    pub fn running(&self) -> Vec<Running> {
        self.0.running()
    }
}
