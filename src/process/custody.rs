//! The master has a copy of each connection that waits in a worker for a request, so that a worker that is killed takes no request with it
//! that it has not read: what was free when it died goes to the others.
//!
//! Whose a connection is stands in a slot of the worker's place on the scoreboard, which only the worker writes, and
//! which the master reads when the worker has died. So a request on a kept connection costs two stores to memory, and
//! only a new connection a message. A slot is used again for other connections: a number, the turn, tells them apart.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::channel::{Channel, Message};
use super::scoreboard::Place;
use crate::gateway::forked;

/// What a slot says of its connection, in the lowest two bits; the turn is in the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Possession {
    /// It is another worker's, or closed.
    Elsewhere = 0,
    /// It is the worker's, and has something of a request in it.
    InUse = 1,
    /// It is the worker's, and another could go on with it.
    Free = 2,
    /// The same, and nothing was ever asked on it.
    New = 3,
}

const BITS: u32 = 2;

impl Possession {
    /// Whose the connection is that had this turn at the slot.
    pub(super) fn read(place: &Place, slot: u32, turn: u32) -> Self {
        let word = place.slots().get(slot as usize);
        let word = word.map_or(0, |word| word.load(Ordering::Acquire));
        match word & ((1 << BITS) - 1) {
            _ if word >> BITS != turn => Self::Elsewhere,
            1 => Self::InUse,
            2 => Self::Free,
            3 => Self::New,
            _ => Self::Elsewhere,
        }
    }
}

/// A worker's side: its way to the custodian.
#[derive(Debug)]
pub struct Custody {
    place: Place,
    channel: Channel,
    /// The slots that no connection has.
    free: Mutex<Vec<u32>>,
    turns: AtomicU32,
}

/// What a worker has of a connection in custody; dropped, the connection is elsewhere.
#[derive(Debug)]
pub struct Deposit {
    custody: Arc<Custody>,
    slot: u32,
    turn: u32,
}

impl Custody {
    /// Of the worker that has this place and this channel to the master.
    pub fn new(place: Place, channel: Channel) -> Arc<Self> {
        let slots = u32::try_from(place.slots().len()).unwrap_or(u32::MAX);
        Arc::new(Self {
            place,
            channel,
            // The lowest is taken first.
            free: Mutex::new((0..slots).rev().collect()),
            turns: AtomicU32::new(0),
        })
    }

    /// Sends the master a copy of a connection that is in use, without a wait; `None` when that cannot be done now.
    pub fn deposit(self: &Arc<Self>, connection: BorrowedFd<'_>) -> Option<Deposit> {
        let copy = connection.try_clone_to_owned().ok()?;
        let turn = self.turns.fetch_add(1, Ordering::Relaxed) << BITS >> BITS;
        let deposit = Deposit {
            slot: self.free().pop()?,
            turn,
            custody: Arc::clone(self),
        };
        // First, so that the master does not find the copy to be of no use.
        deposit.note(Possession::InUse);
        let message = Message::Deposit(deposit.slot, turn, copy);
        match self.channel.send_now(&message) {
            Ok(()) => Some(deposit),
            Err(error) => {
                log::debug!("a connection could not be taken into custody: {error}");
                None
            }
        }
    }

    fn free(&self) -> std::sync::MutexGuard<'_, Vec<u32>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deposit {
    /// Says whose the connection is.
    pub fn note(&self, possession: Possession) {
        if let Some(word) = self.custody.place.slots().get(self.slot as usize) {
            word.store((self.turn << BITS) | possession as u32, Ordering::Release);
        }
    }
}

impl Drop for Deposit {
    fn drop(&mut self) {
        if forked::is_child() {
            // The application has forked, and the connection is its parent's.
            return;
        }
        self.note(Possession::Elsewhere);
        self.custody.free().push(self.slot);
    }
}
