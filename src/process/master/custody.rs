//! The connections that wait in workers for a request, in case that those are killed.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::socket::{Shutdown, shutdown};

use super::super::custody::Possession;
use super::super::scoreboard::Place;
use super::{Master, TICK};

/// How often copies of connections that are elsewhere are looked for.
const SWEEP: Duration = Duration::from_secs(1);

/// How many copies there are at least between two looks that came before their time.
const MANY: usize = 256;

/// The copies.
#[derive(Debug, Default)]
pub(super) struct Copies {
    /// Those of connections that a worker has, by its number and the slot.
    held: BTreeMap<(u32, u32), Copy>,
    /// Those of connections whose worker has died, for which there was no room in the channel to the others; with whether
    /// anything was ever asked on them.
    adrift: Vec<(OwnedFd, bool)>,
    /// How many are left after a look at all, or a few more: when to look again.
    many: usize,
    next: Option<Instant>,
}

#[derive(Debug)]
struct Copy {
    turn: u32,
    socket: OwnedFd,
}

impl Copies {
    /// When there is something to do without an event.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Closes the copies that are of no use any more.
    fn sweep(&mut self, place: impl Fn(u32) -> Place) {
        let useful = |&(worker, slot): &(u32, u32), copy: &mut Copy| {
            Possession::read(&place(worker), slot, copy.turn) != Possession::Elsewhere
        };
        self.held.retain(useful);
        self.many = (self.held.len() * 2).max(MANY);
    }
}

impl Master<'_> {
    /// Takes a copy of a worker's connection into custody. No more than half of the descriptors that this process may
    /// have: it needs the others.
    pub(super) fn take_into_custody(&mut self, worker: u32, slot: u32, turn: u32, socket: OwnedFd) {
        let board = &self.board;
        let place = |number: u32| board.place(number as usize - 1);
        if self.copies.held.len() >= self.copies.many {
            self.copies.sweep(place);
        }
        let (most, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or_default();
        if self.copies.held.len() as u64 >= most / 2 {
            log::debug!("worker {worker} keeps more connections than can be taken into custody");
            return;
        }
        let copy = Copy { turn, socket };
        self.copies.held.insert((worker, slot), copy);
        self.copies.next.get_or_insert(Instant::now() + SWEEP);
    }

    /// Gives the connections of a worker that has died to the others, and ends those that it was answering.
    pub(super) fn release(&mut self, worker: u32, place: &Place) {
        let mut later = self.copies.held.split_off(&(worker, 0));
        self.copies
            .held
            .append(&mut later.split_off(&(worker + 1, 0)));
        for ((_, slot), copy) in later {
            match Possession::read(place, slot, copy.turn) {
                Possession::Elsewhere => {}
                Possession::InUse => {
                    // Also where a child of the worker has it open.
                    let _ = shutdown(copy.socket.as_raw_fd(), Shutdown::Both);
                }
                Possession::Free => self.copies.adrift.push((copy.socket, true)),
                Possession::New => self.copies.adrift.push((copy.socket, false)),
            }
        }
        self.pass_on();
    }

    /// Does what is due.
    pub(super) fn look_after_copies(&mut self, now: Instant) {
        if self.copies.next.is_none_or(|next| now < next) {
            return;
        }
        let board = &self.board;
        self.copies.sweep(|number| board.place(number as usize - 1));
        self.copies.next = (!self.copies.held.is_empty()).then_some(now + SWEEP);
        self.pass_on();
    }

    fn pass_on(&mut self) {
        let crew = self.crew;
        let passed = |(socket, used): &&(OwnedFd, bool)| crew.take_over(socket.as_fd(), *used);
        let count = self.copies.adrift.iter().take_while(passed).count();
        self.copies.adrift.drain(..count);
        if !self.copies.adrift.is_empty() {
            self.copies.next = Some(Instant::now() + TICK);
        }
    }
}
