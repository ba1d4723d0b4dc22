//! What the master has for its observer: the sockets that it answers at, its end of the desk, and what was told there.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::super::desk::{Ask, CommandOutcome, Desk, DeskNotice};
use super::super::exec::seal;
use super::super::listener::Bound;
use super::super::snapshot::Snapshot;
use super::super::totals::Totals;
use super::Master;
use super::reaction::{ChildId, MasterEvent};

/// How long after a notice that found no room the next is tried.
const AGAIN: Duration = Duration::from_millis(50);

/// How long the observer has for its last answers.
const FAREWELL: Duration = Duration::from_millis(500);

/// Asks that are read before others have their turn.
const AT_ONCE: usize = 16;

/// The most outcomes that wait for room: those above it are of an observer that reads nothing.
const MAX_OUTCOMES: usize = 256;

/// The control sockets, and the way to who answers there.
#[derive(Debug)]
pub(super) struct ObserverLink {
    sockets: Vec<Bound>,
    desk: Option<Desk>,
    /// Of which revision the observer knows.
    told: Option<u64>,
    /// Whose slots it has.
    slots: BTreeSet<u32>,
    /// What was done by workers that are gone.
    gone: Totals,
    /// What could not be told yet.
    outcomes: Vec<(u32, CommandOutcome)>,
    /// When it is tried again.
    again: Option<Instant>,
}

impl ObserverLink {
    pub(super) fn new(sockets: Vec<Bound>) -> Self {
        Self {
            sockets,
            desk: None,
            told: None,
            slots: BTreeSet::new(),
            gone: Totals::default(),
            outcomes: Vec::new(),
            again: None,
        }
    }

    /// The sockets, for the observer itself.
    pub(super) fn into_sockets(self) -> Vec<Bound> {
        self.sockets
    }

    /// A desk for a new observer: gives the end that is its.
    pub(super) fn begin(&mut self) -> io::Result<Desk> {
        let (ours, theirs) = Desk::pair()?;
        self.desk = Some(ours);
        self.told = None;
        self.slots.clear();
        self.outcomes.clear();
        Ok(theirs)
    }

    /// What wakes the master.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.desk.as_ref().map(AsFd::as_fd)
    }

    /// When something is to be tried again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.again.filter(|_| self.desk.is_some())
    }

    /// What was asked, and whether anything came that is no ask.
    pub(super) fn hear(&mut self) -> (Vec<Ask>, bool) {
        let mut asks = Vec::new();
        let desk = self.desk.as_ref();
        for _ in 0..AT_ONCE {
            match desk.and_then(Desk::hear) {
                Some(Some(ask)) => asks.push(ask),
                Some(None) => return (asks, true),
                None => break,
            }
        }
        (asks, false)
    }

    /// Has what came of an ask told.
    pub(super) fn answer(&mut self, id: u32, outcome: CommandOutcome, now: Instant) {
        if self.outcomes.len() < MAX_OUTCOMES {
            self.outcomes.push((id, outcome));
        }
        self.tell_outcomes(now);
    }

    fn tell_outcomes(&mut self, now: Instant) {
        let Some(desk) = &self.desk else {
            return self.outcomes.clear();
        };
        let tell = |(id, outcome): &(u32, CommandOutcome)| -> io::Result<()> {
            let text = seal(outcome.text.as_bytes())?;
            desk.tell(&DeskNotice::Outcome(*id, outcome.exit, text))
        };
        while let Some(next) = self.outcomes.first() {
            if tell(next).is_err() {
                self.again = Some(now + AGAIN);
                return;
            }
            self.outcomes.remove(0);
        }
    }

    /// Tells what is new: of the slots that there are by worker, and of the state if it is of another revision than the
    /// observer knows of.
    pub(super) fn tell<'a>(
        &mut self,
        slots: impl Iterator<Item = (u32, BorrowedFd<'a>)>,
        revision: u64,
        snapshot: impl FnOnce() -> Snapshot,
        now: Instant,
    ) {
        self.again = None;
        self.tell_outcomes(now);
        if self.told == Some(revision) {
            return;
        }
        let Some(desk) = &self.desk else { return };
        let told = (|| -> io::Result<()> {
            for (number, slot) in slots {
                if !self.slots.contains(&number) {
                    desk.tell(&DeskNotice::Slot(number, slot.try_clone_to_owned()?))?;
                    self.slots.insert(number);
                }
            }
            let text = serde_json::to_vec(&snapshot()).map_err(io::Error::other)?;
            desk.tell(&DeskNotice::Snapshot(seal(&text)?))
        })();
        match told {
            Ok(()) => self.told = Some(revision),
            Err(_) => self.again = Some(now + AGAIN),
        }
    }

    /// A worker is gone, which has done this: another may have its number.
    pub(super) fn note_gone(&mut self, number: u32, totals: &Totals) {
        self.slots.remove(&number);
        self.gone.add_ended(totals);
    }

    /// What was done by workers that are gone.
    pub(super) fn gone(&self) -> Totals {
        self.gone.clone()
    }

    /// This is a child of the master, which tells nobody anything.
    pub(super) fn leave(&mut self) {
        self.desk = None;
    }

    /// Nothing more is told, which is how the observer learns that it is to end; and nobody finds the sockets any more.
    pub(super) fn end(&mut self, now: Instant) {
        self.tell_outcomes(now);
        self.desk = None;
        self.sockets.clear();
    }
}

/// Tells the observer what is new.
pub(super) fn tell(master: &mut Master<'_>, now: Instant) {
    let Some(link) = &mut master.observer else {
        return;
    };
    let slots = master.children.iter().filter_map(|(id, child)| match id {
        ChildId::Worker(number) => Some((*number, child.slot_to_read.as_ref()?.as_fd())),
        ChildId::Template(_) | ChildId::Observer => None,
    });
    let (state, plan) = (&master.state, &master.plan);
    let (listening, service) = (&master.listening, master.service);
    let gone = link.gone();
    let snapshot = || Snapshot {
        addresses: listening.seen(),
        gone,
        has_stale_settings: service.has_stale_settings(),
        ..state.seen(plan, now)
    };
    link.tell(slots, state.revision(), snapshot, now);
}

/// Reads what is asked by the control socket, and has the state see to it if who asks may ask.
pub(super) fn hear(master: &mut Master<'_>) {
    let Some(link) = &mut master.observer else {
        return;
    };
    let (asks, is_broken) = link.hear();
    for ask in asks {
        if ask.is_allowed() {
            master.note(MasterEvent::Asked(ask.id, ask.command));
        } else if let Some(link) = &mut master.observer {
            let refused = CommandOutcome {
                exit: 1,
                text: "only root and the user that the gateway runs as may do that".to_owned(),
            };
            link.answer(ask.id, refused, Instant::now());
        }
    }
    if is_broken {
        let what = "something that asks for nothing";
        master.note(MasterEvent::Nonsense(ChildId::Observer, what));
    }
}

/// Has the observer tell who waits for the end, and end.
pub(super) fn end(master: &mut Master<'_>) {
    let Some(link) = &mut master.observer else {
        return;
    };
    link.end(Instant::now());
    let observer = master.children.remove(&ChildId::Observer);
    if let Some(process) = observer.and_then(|child| child.process) {
        if !process.is_gone_within(FAREWELL) {
            process.signal(Signal::SIGKILL);
        }
    }
}
