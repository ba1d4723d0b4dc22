//! How a responder gives connections to the other workers and takes theirs.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::super::connection::Connection;
use super::super::handoff::{Message, Note, Received};
use super::Responder;
use super::table::Table;

/// Idle connections that are taken at once before other events have their turn.
const BATCH: usize = 16;

impl Responder {
    /// Gives a connection to another worker, without a wait.
    ///
    /// # Errors
    /// The connection, when it may not travel or the channel has no room.
    pub(super) fn send_on(
        &self,
        mut connection: Box<Connection>,
        note: Note,
    ) -> Result<(), Box<Connection>> {
        let Some(handoff) = self.handoff.as_ref().filter(|_| connection.may_travel()) else {
            return Err(connection);
        };
        let note = note.with(Note::USED, connection.used);
        if let Err(error) = handoff.send(Some(connection.as_fd()), note) {
            log::debug!("a connection could not be handed to another worker yet: {error}");
            return Err(connection);
        }
        self.unregister(&mut connection);
        Ok(())
    }

    /// Takes what other workers have sent: idle connections to wait here, and up to one on which something has come for
    /// the leader.
    pub(super) fn receive(&self) -> Option<Box<Connection>> {
        let handoff = self.handoff.as_ref()?;
        let mut table = self.table();
        let mut readable = None;
        for _ in 0..BATCH {
            if !table.receiving || readable.is_some() {
                break;
            }
            match handoff.receive() {
                Received::Nothing => break,
                Received::Exhausted => self.pause_exhausted(&mut table),
                Received::Message(message) => {
                    let note = message.note;
                    if note.has(Note::LOOK) {
                        self.look_again(&mut table);
                    }
                    match self.admit(message) {
                        Some(connection) if note.has(Note::READABLE) => readable = Some(connection),
                        Some(connection) => self.insert(&mut table, connection),
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
        while let Some(Received::Message(message)) = self.handoff.as_ref().map(|it| it.receive()) {
            if let Some(connection) = self.admit(message) {
                self.insert(table, connection);
            }
        }
    }

    /// Makes a connection of this responder of what was received.
    fn admit(&self, message: Message) -> Option<Box<Connection>> {
        let socket = message.socket?;
        self.shared.open.fetch_add(1, Ordering::Relaxed);
        let mut connection = Connection::new(socket, Arc::clone(&self.shared), false);
        connection.used = message.note.has(Note::USED);
        connection.travelled = true;
        Some(connection)
    }

    /// Wakes another worker for what this one may have been woken for and does not come to take. A message that waits in
    /// the channel is put behind the others for that: so no more of them come about by this.
    pub(super) fn rouse(&self, table: &mut Table) {
        let Some(handoff) = &self.handoff else {
            return;
        };
        let look = someone_waits(table);
        match handoff.receive() {
            Received::Message(Message { socket, note }) => {
                let note = note.with(Note::LOOK, look);
                let sent = handoff.send(socket.as_ref().map(AsFd::as_fd), note);
                if sent.is_err() {
                    // Others have filled the channel meanwhile, which woke everybody.
                    if let Some(connection) = self.admit(Message { socket, note }) {
                        self.insert(table, connection);
                    }
                }
            }
            Received::Nothing if look => handoff.nudge(),
            Received::Nothing | Received::Exhausted => {}
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
