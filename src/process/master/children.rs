//! What the master has of a child: its process, its end of the channel, its output, and its slot of the scoreboard.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use nix::sys::signal::Signal;

use super::super::channel::{Channel, Heard};
use super::super::child::Child;
use super::super::output::{OUTPUT, Output};
use super::super::scoreboard::WorkerSlot;
use super::reaction::{ChildId, Died, Figures, MasterEvent};
use super::rules::MessageAllowance;

/// The most messages of one child that are read before the others have their turn.
pub(super) const AT_ONCE: usize = 64;

/// How long processes that were killed may take to be gone.
const GONE: Duration = Duration::from_secs(2);

/// A worker or a template.
#[derive(Debug)]
pub(super) struct ChildProcess {
    /// Not known yet while a template makes it.
    pub(super) process: Option<Child>,
    pub(super) channel: Channel,
    pub(super) output: Output,
    /// A worker's.
    pub(super) slot: Option<WorkerSlot>,
    /// The same, to be read by another process.
    pub(super) slot_to_read: Option<OwnedFd>,
    /// Whether anything more is read of its channel.
    is_heard: bool,
    /// Whether it has said anything yet.
    has_spoken: bool,
    /// How much was heard of it lately.
    allowance: MessageAllowance,
}

impl ChildProcess {
    pub(super) fn new(
        process: Option<Child>,
        channel: Channel,
        output: Output,
        slot: Option<WorkerSlot>,
    ) -> Self {
        Self {
            process,
            channel,
            output,
            slot,
            slot_to_read: None,
            is_heard: true,
            has_spoken: false,
            allowance: MessageAllowance::new(Instant::now()),
        }
    }

    /// The same, whose slot others may read by this.
    pub(super) fn with_slot_to_read(self, slot_to_read: Option<OwnedFd>) -> Self {
        Self {
            slot_to_read,
            ..self
        }
    }

    /// What wakes the master.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let is_heard = self.is_heard && self.allowance.until().is_none();
        let channel = is_heard.then(|| self.channel.as_fd());
        let output = (!self.output.is_closed).then(|| self.output.as_fd());
        channel.into_iter().chain(output)
    }

    /// When it is heard again, where it has said too much.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.allowance.until()
    }

    /// Nothing more is read of its channel.
    pub(super) fn hear_no_more(&mut self) {
        self.is_heard = false;
    }

    /// Reads the next that it has to say, if it is its turn.
    pub(super) fn hear(&mut self, id: ChildId, now: Instant) -> Option<MasterEvent> {
        let may = !self.allowance.is_spent(now);
        may.then(|| self.hear_rest(id)).flatten()
    }

    /// Reads the next that it has to say, however much that was.
    pub(super) fn hear_rest(&mut self, id: ChildId) -> Option<MasterEvent> {
        if !self.is_heard {
            return None;
        }
        match self.channel.hear() {
            Heard::Nothing => None,
            Heard::Closed => {
                self.is_heard = false;
                Some(MasterEvent::HungUp(id))
            }
            Heard::Nonsense(what) => Some(MasterEvent::Nonsense(id, what)),
            Heard::Message(message, sender) => {
                self.has_spoken = true;
                self.allowance.spend(&message);
                let requests = self.slot.as_ref().map_or(0, WorkerSlot::requests);
                Some(MasterEvent::Heard {
                    from: id,
                    message,
                    sender,
                    requests,
                })
            }
        }
    }

    /// How it has died, with what is known of its life.
    pub(super) fn death(&self, died: Died) -> Died {
        match died {
            Died::Exited(code) if !self.has_spoken => Died::NeverBegan(code),
            died => died,
        }
    }

    /// What the scoreboard says of it; which requests it is serving only where that is asked.
    pub(super) fn figures(&self, now: Instant, are_requests_asked: bool) -> Figures {
        let mut figures = Figures::new(now);
        if let Some(slot) = &self.slot {
            figures.requests = slot.requests();
            figures.is_full = slot.is_full();
            let idle = slot.idle();
            figures.idle_since = idle.map(|idle| now.checked_sub(idle).unwrap_or(now));
            if are_requests_asked {
                figures.running = slot.running();
            }
        }
        figures
    }

    /// When its output is to be read again though nothing has come.
    pub(super) fn output_deadline(&self) -> Option<Instant> {
        self.output.deadline()
    }

    /// Reads its output.
    pub(super) fn read_output(&mut self, id: ChildId) {
        let pid = self.process.as_ref().map(Child::pid);
        self.output.read(|line| tell(id, pid, line));
    }

    /// Reads its output to the end, as far as it has come. Gives it back where others may still write to it.
    pub(super) fn read_last_output(mut self, id: ChildId) -> Option<Output> {
        let pid = self.process.as_ref().map(Child::pid);
        self.output.read_last(|line| tell(id, pid, line));
        (!self.output.is_closed).then_some(self.output)
    }

    /// Tells what it has to say, at this level.
    pub(super) fn relay(&self, id: ChildId, level: log::Level, text: &str) {
        let pid = self.process.as_ref().map(Child::pid);
        let (name, said) = (id.name(), level as usize);
        // The process itself leaves out what nobody wants to know.
        let level = level.min(log::Level::Info);
        log::log!(level, from = name.as_str(), pid = number(pid), said = said; "{text}");
    }
}

/// Tells a line of a child's output, or the lines of a message.
pub(super) fn tell(id: ChildId, pid: Option<Pid>, text: &str) {
    if !text.is_empty() || matches!(id, ChildId::Template(_)) {
        log::info!(target: OUTPUT, from = id.name().as_str(), pid = number(pid); "{text}");
    }
}

fn number(pid: Option<Pid>) -> Option<i32> {
    pid.map(Pid::as_raw)
}

/// Kills them all but the observer, which has something to tell yet, and waits a moment for them to be gone.
pub(super) fn kill_all(children: &mut BTreeMap<ChildId, ChildProcess>) {
    let is_killed = |id: &ChildId| *id != ChildId::Observer;
    let killed = children.iter().filter(|(id, _)| is_killed(id));
    let processes: Vec<&Child> = killed
        .filter_map(|(_, child)| child.process.as_ref())
        .collect();
    for process in &processes {
        process.signal(Signal::SIGKILL);
    }
    // Not for long: a process may be in a system call that does not end.
    let until = Instant::now() + GONE;
    for process in processes {
        process.is_gone_within(until.saturating_duration_since(Instant::now()));
    }
    children.retain(|id, _| !is_killed(id));
}
