//! The leader of last resort: what the watchdog does while all application threads are in requests.
//!
//! It keeps the doors shut, so that other processes get what is new, and gives other workers the kept connections on
//! which something comes. What it can do nothing for it takes out of the epoll set, where it would be reported over and
//! over, until a thread leads again.

use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use nix::sys::epoll::EpollEvent;

use super::super::connection::Step;
use super::super::handoff::Note;
use super::peer::{Peer, Unread};
use super::table::Table;
use super::{EVENTS, Idle, ReadySource, Responder};

/// How often it is told that all threads are busy, while they are.
const TOLD: Duration = Duration::from_millis(50);

/// For what lingering connections still send.
const SCRATCH: usize = 4 * 1024;

impl Responder {
    /// Leads without the application until a thread wants leadership.
    pub(super) fn lead_meanwhile(&self, on_full: &dyn Fn()) {
        let mut events = [EpollEvent::empty(); EVENTS];
        let mut scratch = [0; SCRATCH];
        self.begin_meanwhile();
        on_full();
        let mut told = Instant::now();
        while !self.leadership.is_wanted() {
            let until = TOLD.saturating_sub(told.elapsed());
            let timeout = self.upkeep().map_or(until, |timeout| timeout.min(until));
            let count = self.wait(&mut events, Some(timeout));
            for event in &events[..count] {
                if let ReadySource::Connection(fd) = ReadySource::of(event.data()) {
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
            if let Some(peer) = table.waiting.remove(&fd) {
                self.watch_one(&mut table, peer);
            }
        }
        self.arrange(&mut table);
    }

    /// Does for a connection that has something to tell what can be done without the application.
    fn move_on(&self, fd: RawFd, scratch: &mut [u8]) {
        let mut table = self.table();
        let Some(mut peer) = table.waiting.remove(&fd) else {
            return;
        };
        if peer.needs_no_application() {
            return match peer.go_on(scratch) {
                Step::Close => self.close(*peer),
                Step::Receive | Step::Send(_) | Step::Linger => self.insert(&mut table, peer),
                Step::Ready => table.ready.push_back(peer),
            };
        }
        if !peer.may_travel() {
            return self.bench(&mut table, peer);
        }
        match peer.unread() {
            Unread::End => self.close(*peer),
            Unread::Nothing => self.watch_one(&mut table, peer),
            // At the end of all nobody may be left to take it.
            Unread::Bytes if self.stopping() == Some(Idle::Close) => {
                self.bench(&mut table, peer);
            }
            Unread::Bytes => {
                if let Err(peer) = self.send_on(peer, Note::READABLE) {
                    self.bench(&mut table, peer);
                    self.retry_soon(&mut table);
                }
            }
        }
    }

    /// Has the connection wait outside the epoll set.
    fn bench(&self, table: &mut Table, mut peer: Box<Peer>) {
        peer.unwatch(&self.epoll);
        let fd = peer.fd();
        table.benched.push(fd);
        table.waiting.insert(fd, peer);
    }

    /// Tries again to give away what the channel had no room for.
    pub(super) fn move_benched(&self, table: &mut Table) {
        for fd in std::mem::take(&mut table.benched) {
            let Some(peer) = table.waiting.remove(&fd) else {
                continue;
            };
            let left = if table.retry.is_none() {
                self.send_on(peer, Note::READABLE).err()
            } else {
                Some(peer)
            };
            if let Some(peer) = left {
                if peer.may_travel() {
                    self.retry_soon(table);
                }
                self.bench(table, peer);
            }
        }
    }
}
