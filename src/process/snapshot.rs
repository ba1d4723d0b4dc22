//! What the master knows of the gateway, as it tells the observer: plain values, whole each time, that say nothing of what
//! workers do at the moment, which is in their slots of the scoreboard.

use std::collections::BTreeMap;
use std::time::Duration;

use super::totals::Totals;
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// What the master knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// When this was so, by [`uptime`]: all ages are as of then.
    pub taken: Duration,
    /// How long the gateway has been there.
    pub age: Duration,
    /// The master's process id.
    pub pid: u32,
    /// What it is about.
    pub stage: GatewayStage,
    /// The generation that serves.
    pub generation: Option<u32>,
    /// The one that is being started to follow it.
    pub candidate: Option<u32>,
    /// The least number of workers.
    pub min: usize,
    /// The most.
    pub max: usize,
    /// Application threads of each.
    pub threads: usize,
    /// What came of reloads.
    pub reloads: Reloads,
    /// The workers, by their numbers.
    pub workers: Vec<WorkerSeen>,
    /// How many workers have ended, by reason: words of a list that does not grow.
    pub ended: BTreeMap<String, u64>,
    /// What was done by workers that are gone.
    pub gone: Totals,
    /// Where it listens.
    pub addresses: Vec<AddressSeen>,
    /// Whether the settings have changed since they were read.
    pub has_stale_settings: bool,
}

/// What the master is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GatewayStage {
    /// No generation serves yet.
    Starting,
    /// One serves.
    Serving,
    /// The application cannot be loaded: it ends.
    Failed,
    /// It finishes what is in flight and ends.
    Ending,
}

/// What came of reloads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloads {
    /// How many have brought a new generation.
    pub succeeded: u64,
    /// How many have not.
    pub failed: u64,
    /// The last one.
    pub last: Option<ReloadSeen>,
    /// The last that failed, where that is not the last one.
    pub last_failed: Option<ReloadSeen>,
}

/// One reload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadSeen {
    /// How long ago.
    pub age: Duration,
    /// Why it has failed, if it has: a traceback, or a sentence.
    pub failure: Option<String>,
}

/// A worker, as the master knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerSeen {
    /// Its number, from 1, of as many as there may be at a time: the next worker that has it comes when this one is gone.
    pub number: u32,
    /// Its process; nothing while it is made.
    pub pid: Option<i32>,
    /// The generation of its code; nothing of the fallback, which has none.
    pub generation: Option<u32>,
    /// How far it has come.
    pub stage: WorkerStage,
    /// How long it has been there.
    pub age: Duration,
    /// How long it took until it was ready, once it was.
    pub start: Option<Duration>,
    /// Why it is to end, where it is.
    pub reason: Option<String>,
    /// How long it may take to end, where it is to.
    pub limit: Option<Duration>,
    /// Whether a signal has stopped it.
    pub is_stopped: bool,
}

/// How far a worker has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerStage {
    /// It imports the application.
    Starting,
    /// It serves.
    Ready,
    /// It takes nothing new any more.
    Draining,
}

/// A listening socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressSeen {
    /// As the log has it.
    pub name: String,
    /// Its number among the kernel's sockets.
    pub inode: u64,
    /// Whether it is a TCP socket.
    pub tcp: bool,
}

/// The monotonic clock, which all processes share.
pub fn uptime() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}
