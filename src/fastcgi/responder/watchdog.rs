//! The leader of last resort: what the watchdog does while all application threads are in requests.
//!
//! It keeps the doors shut, so that other processes get what is new, and gives other workers the kept connections on
//! which something comes. What it can do nothing for it takes out of the epoll set, where it would be reported over and
//! over, until a thread leads again.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::{Duration, Instant};

use nix::sys::epoll::EpollEvent;

use super::super::connection::{Connection, Step, Unread};
use super::super::handoff::Note;
use super::table::Table;
use super::{EVENTS, Idle, Responder, Source};

/// How often it is told that all threads are busy, while they are.
const TOLD: Duration = Duration::from_millis(50);

/// For what lingering connections still send.
const SCRATCH: usize = 4 * 1024;

impl Responder {
    /// Leads without the application until a thread wants the baton.
    pub(super) fn lead_meanwhile(&self, on_full: &dyn Fn()) {
        let mut events = [EpollEvent::empty(); EVENTS];
        let mut scratch = [0; SCRATCH];
        self.begin_meanwhile();
        on_full();
        let mut told = Instant::now();
        while !self.baton.is_wanted() {
            let until = TOLD.saturating_sub(told.elapsed());
            let timeout = self.upkeep().map_or(until, |timeout| timeout.min(until));
            let count = self.wait(&mut events, Some(timeout));
            for event in &events[..count] {
                if let Source::Connection(fd) = Source::of(event.data()) {
                    self.move_on(fd, &mut scratch);
                }
            }
            if told.elapsed() >= TOLD {
                on_full();
                told = Instant::now();
            }
        }
        self.end_meanwhile();
    }

    fn begin_meanwhile(&self) {
        let mut table = self.table();
        table.full = true;
        self.arrange(&mut table);
    }

    fn end_meanwhile(&self) {
        let mut table = self.table();
        table.full = false;
        for fd in std::mem::take(&mut table.benched) {
            // It may be gone, and another in its place.
            if let Some(connection) = table.waiting.remove(&fd) {
                self.watch_one(&mut table, connection);
            }
        }
        self.arrange(&mut table);
    }

    /// Does for a connection with something to read what can be done without the application.
    fn move_on(&self, fd: RawFd, scratch: &mut [u8]) {
        let mut table = self.table();
        let Some(mut connection) = table.waiting.remove(&fd) else {
            return;
        };
        if connection.is_lingering() {
            return match connection.readable(scratch) {
                Step::Close => self.close(connection),
                Step::Wait | Step::Ready => self.watch_one(&mut table, connection),
            };
        }
        if !connection.may_travel() {
            return self.bench(&mut table, connection);
        }
        match connection.unread() {
            Unread::End => self.close(connection),
            Unread::Nothing => self.watch_one(&mut table, connection),
            // At the end of all nobody may be left to take it.
            Unread::Bytes if self.stopping() == Some(Idle::Close) => {
                self.bench(&mut table, connection);
            }
            Unread::Bytes => {
                if let Err(connection) = self.send_on(connection, Note::READABLE) {
                    self.bench(&mut table, connection);
                    self.retry_soon(&mut table);
                }
            }
        }
    }

    /// Has the connection wait outside the epoll set.
    fn bench(&self, table: &mut Table, mut connection: Box<Connection>) {
        self.unregister(&mut connection);
        let fd = connection.as_fd().as_raw_fd();
        table.benched.push(fd);
        table.waiting.insert(fd, connection);
    }

    /// Tries again to give away what the channel had no room for.
    pub(super) fn move_benched(&self, table: &mut Table) {
        for fd in std::mem::take(&mut table.benched) {
            let Some(connection) = table.waiting.remove(&fd) else {
                continue;
            };
            let left = if table.retry.is_none() {
                self.send_on(connection, Note::READABLE).err()
            } else {
                Some(connection)
            };
            if let Some(connection) = left {
                if connection.may_travel() {
                    self.retry_soon(table);
                }
                self.bench(table, connection);
            }
        }
    }
}
