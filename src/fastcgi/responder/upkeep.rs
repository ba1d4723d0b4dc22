//! What a responder does beside serving: pauses when there is no room, deadlines, and its end.

use std::os::fd::RawFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::super::connection::Step;
use super::super::handoff::Note;
use super::peer::{DRAIN_GRACE, Peer, Unread};
use super::table::{PAUSE, SWEEP, Table};
use super::{Idle, Responder};

/// How often deadlines are looked at while the responder drains.
const DRAIN_SWEEP: Duration = Duration::from_millis(100);

/// How soon what the handoff channel had no room for is tried again.
const RETRY: Duration = Duration::from_millis(10);

impl Responder {
    /// Does what is due, and says how long the leader may wait for events.
    pub(super) fn upkeep(&self) -> Option<Duration> {
        let mut table = self.table();
        let stopping = self.stopping();
        // A request may still come on an idle connection for as long as the web server does not see it closed, so that at
        // the end of all they stay until there is a thread.
        let waits = table.full && stopping == Some(Idle::Close);
        if let Some(idle) = stopping.filter(|_| table.draining != stopping && !waits) {
            self.drain(&mut table, idle);
        }
        if waits && !table.listeners.is_empty() {
            // But nobody else comes in: a balancer is to find the port closed, and to turn to other hosts.
            self.accept_all(&mut table);
            table.listeners.clear();
        }
        self.arrange(&mut table);
        if table.waiting.is_empty() && table.paused.is_none() {
            let open = self.state.open.load(Ordering::Relaxed);
            return (open > 0).then_some(SWEEP);
        }
        let now = Instant::now();
        let sweep = if table.draining.is_some() {
            DRAIN_SWEEP
        } else {
            SWEEP
        };
        if table.paused.is_some_and(|until| now >= until) {
            let full = self.state.rules.limits.connections + self.state.turned_away;
            let still = self.state.open.load(Ordering::Relaxed) >= full;
            table.paused = still.then_some(now + PAUSE);
            self.arrange(&mut table);
        }
        if table.retry.is_some_and(|at| now >= at) {
            table.retry = None;
            self.send_on_again(&mut table);
        }
        if now >= table.next_sweep {
            table.next_sweep = now + sweep;
            self.sweep(&mut table, now);
        }
        Some(match (table.retry, table.paused) {
            (Some(_), _) => RETRY,
            (None, Some(_)) => PAUSE,
            (None, None) => sweep,
        })
    }

    /// Ends the connections whose time has come.
    fn sweep(&self, table: &mut Table, now: Instant) {
        let expired: Vec<RawFd> = table
            .waiting
            .iter()
            .filter(|(_, peer)| peer.is_expired(now))
            .map(|(&fd, _)| fd)
            .collect();
        for fd in expired {
            let Some(mut peer) = table.waiting.remove(&fd) else {
                continue;
            };
            match peer.expire(table.draining.is_some()) {
                Step::Receive | Step::Send(_) | Step::Linger => self.insert(table, peer),
                Step::Ready | Step::Close => self.close(*peer),
            }
        }
    }

    /// Begins the end: closes the listeners, at the end of all after taking what has connected already, and parts with the
    /// idle connections. From now on `insert` does so with those that become idle.
    fn drain(&self, table: &mut Table, idle: Idle) {
        table.draining = Some(idle);
        table.next_sweep = Instant::now() + DRAIN_SWEEP;
        self.arrange(table);
        if idle == Idle::Close {
            self.accept_all(table);
            self.receive_all(table);
        }
        table.paused = None;
        table.listeners.clear();
        for peer in table.waiting.values_mut() {
            self.hasten(peer);
        }
        self.dismiss_idle(table, idle);
    }

    /// A draining responder does not wait long for requests that have begun and are not whole.
    pub(super) fn hasten(&self, peer: &mut Peer) {
        if peer.is_unfinished() {
            peer.hasten(Instant::now() + DRAIN_GRACE);
        }
    }

    fn dismiss_idle(&self, table: &mut Table, idle: Idle) {
        let all: Vec<RawFd> = table
            .waiting
            .iter()
            .filter(|(_, peer)| peer.is_idle())
            .map(|(&fd, _)| fd)
            .collect();
        for fd in all {
            let Some(peer) = table.waiting.remove(&fd) else {
                continue;
            };
            if let Some(left) = self.dismiss(table, peer, idle) {
                let full = idle == Idle::Pass && left.may_travel();
                table.waiting.insert(fd, left);
                if full {
                    return;
                }
            }
        }
    }

    /// Parts with an idle connection of a draining responder; gives it back when it has to stay for now.
    pub(super) fn dismiss(
        &self,
        table: &mut Table,
        mut peer: Box<Peer>,
        idle: Idle,
    ) -> Option<Box<Peer>> {
        match idle {
            Idle::Pass => {
                let left = self.send_on(peer, Note::NOTHING).err();
                if left.is_some() {
                    self.retry_soon(table);
                }
                left
            }
            Idle::Close if peer.used => {
                if peer.unread() == Unread::Bytes {
                    return Some(peer);
                }
                self.close(*peer);
                None
            }
            Idle::Close => {
                peer.hasten(Instant::now() + DRAIN_GRACE);
                Some(peer)
            }
        }
    }

    /// Has the leader try again in a moment what the channel had no room for.
    pub(super) fn retry_soon(&self, table: &mut Table) {
        if self.handoff.is_some() && table.retry.is_none() {
            table.retry = Some(Instant::now() + RETRY);
            // The leader may have begun a longer wait.
            self.notify();
        }
    }

    fn send_on_again(&self, table: &mut Table) {
        match table.draining {
            Some(Idle::Pass) => self.dismiss_idle(table, Idle::Pass),
            Some(Idle::Close) => {}
            None => self.move_benched(table),
        }
    }
}
