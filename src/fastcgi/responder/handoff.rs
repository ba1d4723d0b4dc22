//! How a responder gives connections to the other workers and takes theirs.

use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::super::handoff::{HandoffReceived, Note, PassedConnection};
use super::peer::Peer;
use super::table::Table;
use super::{Idle, Responder};

/// Idle connections that are taken at once before other events have their turn.
const BATCH: usize = 16;

impl Responder {
    /// Gives a connection to another worker, without a wait.
    ///
    /// # Errors
    /// The connection, when it may not travel or the channel has no room.
    pub(super) fn send_on(&self, mut peer: Box<Peer>, note: Note) -> Result<(), Box<Peer>> {
        let Some(handoff) = self.handoff.as_ref().filter(|_| peer.may_travel()) else {
            return Err(peer);
        };
        let note = note.with(Note::USED, peer.used);
        if let Err(error) = handoff.send(Some(peer.as_fd()), note) {
            log::debug!("a connection could not be handed to another worker yet: {error}");
            return Err(peer);
        }
        peer.unwatch(&self.epoll);
        Ok(())
    }

    /// Takes what other workers have sent: idle connections to wait here, and up to one on which something has come for
    /// the leader.
    pub(super) fn receive(&self) -> Option<Box<Peer>> {
        let handoff = self.handoff.as_ref()?;
        let mut table = self.table();
        let mut readable = None;
        for _ in 0..BATCH {
            if !table.receiving || readable.is_some() {
                break;
            }
            match handoff.receive() {
                HandoffReceived::Nothing => break,
                HandoffReceived::Exhausted => self.pause_exhausted(&mut table),
                HandoffReceived::Broken(error) => {
                    table.receiving = false;
                    let _ = self.epoll.delete(&handoff.from);
                    self.lose("the channel between workers", error, Idle::Close);
                    break;
                }
                HandoffReceived::Message(message) => {
                    let note = message.note;
                    if note.has(Note::LOOK) {
                        self.look_again(&mut table);
                    }
                    match self.admit(message) {
                        Some(peer) if note.has(Note::READABLE) => readable = Some(peer),
                        Some(peer) => self.insert(&mut table, peer),
                        None => {}
                    }
                    // There may be no room for more.
                    self.arrange(&mut table);
                }
            }
        }
        readable
    }

    /// Takes all that other workers have sent.
    pub(super) fn receive_all(&self, table: &mut Table) {
        while let Some(HandoffReceived::Message(message)) =
            self.handoff.as_ref().map(|it| it.receive())
        {
            if let Some(peer) = self.admit(message) {
                self.insert(table, peer);
            }
        }
    }

    /// Makes a connection of this responder of what was received.
    fn admit(&self, message: PassedConnection) -> Option<Box<Peer>> {
        let mut peer = self.adopt(message.socket?);
        peer.used = message.note.has(Note::USED);
        peer.travelled = true;
        Some(peer)
    }

    /// Wakes another worker for what this one may have been woken for and does not come to take. A message that waits in
    /// the channel is put behind the others for that: so no more of them come about by this.
    pub(super) fn rouse(&self, table: &mut Table) {
        let Some(handoff) = &self.handoff else {
            return;
        };
        let look = someone_waits(table);
        match handoff.receive() {
            HandoffReceived::Message(PassedConnection { socket, note }) => {
                let note = note.with(Note::LOOK, look);
                let sent = handoff.send(socket.as_ref().map(AsFd::as_fd), note);
                if sent.is_err() {
                    // Others have filled the channel meanwhile, which woke everybody.
                    if let Some(peer) = self.admit(PassedConnection { socket, note }) {
                        self.insert(table, peer);
                    }
                }
            }
            HandoffReceived::Nothing if look => handoff.nudge(),
            HandoffReceived::Nothing | HandoffReceived::Exhausted | HandoffReceived::Broken(_) => {}
        }
    }
}

/// Whether anybody has connected to a listener and was not taken yet.
fn someone_waits(table: &Table) -> bool {
    let polled = table
        .listeners
        .iter()
        .map(|listener| PollFd::new(listener.socket.as_fd(), PollFlags::POLLIN));
    let mut polled: Vec<PollFd<'_>> = polled.collect();
    poll(&mut polled, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}
