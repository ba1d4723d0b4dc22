//! A connection driven whole by a script of bytes, for random tests and for a fuzzer: what the web server sends and at which
//! cuts, what it takes, and what the application does meanwhile. No descriptor is read or written.
//!
//! It keeps account of both sides by readers of its own (`witness`) and panics when one of these does not hold: the
//! application gets each request once and as it was sent, body included; what leaves are whole records; an answer is one to a
//! request that began, each once, with no byte of another in it; what is held is bounded; nothing that came is lost.

#![allow(clippy::unwrap_used)]

mod account;
mod application;
mod script;
#[cfg(test)]
pub(super) mod scripts;
mod server;
mod witness;

use std::sync::Arc;
use std::time::Duration;

use super::super::content::FileAtRecord;
use super::super::unsent::{Headers, Next};
use super::super::{Limits, Rules};
use super::{Connection, Step};
use account::{ModelAccount, Served};
use application::ModelApplication;
use script::{DriveScript, some};
use server::ToSend;
use witness::pairs;

/// The most that is read from the web server at once.
const READ: usize = 64 * 1024;

/// The most that is held of what was read: not parsed, or of the body.
const MAX_AHEAD: usize = 2 * READ;
const MAX_BODY: usize = 4 * READ;

/// The most that waits to be sent beside the application's own pieces: 64 KiB of answers to what the web server sent and as
/// much of reports, then one more of each, in memory that may have grown to twice its use.
const MAX_BESIDE: usize = 2 * (2 * 64 * 1024 + 64 * 1024);

/// Runs a script.
///
/// # Panics
/// When something does not hold.
#[cfg_attr(not(fuzzing), allow(unreachable_pub))]
pub fn drive(script: &[u8]) {
    let mut driver = Driver::new(DriveScript(script));
    while !driver.script.0.is_empty() && !driver.is_over() {
        driver.act();
        driver.settle();
    }
    driver.come_to_rest();
}

struct Driver<'a> {
    script: DriveScript<'a>,
    connection: Connection,
    to_send: ToSend,
    account: ModelAccount,
    /// The next of the requests that began which the application may get.
    next: usize,
    /// The web server has closed its side.
    ended: bool,
}

impl<'a> Driver<'a> {
    fn new(mut script: DriveScript<'a>) -> Self {
        let time = Duration::from_secs(1);
        let limits = Limits {
            for_cgi: false,
            params: [1 << 20, 2000][usize::from(script.one_of(2))],
            body: [None, None, Some(50_000)][usize::from(script.one_of(3))],
            buffer: [1 << 16, 1 << 16, 100, 1][usize::from(script.one_of(4))],
            connections: 7,
            unsent: 1 << 20,
            header_timeout: time,
            idle_timeout: time,
            io_timeout: time,
        };
        Self {
            connection: Connection::new(
                Arc::new(Rules::new(limits, Arc::new(()))),
                script.byte() == 255,
            ),
            script,
            to_send: ToSend::default(),
            account: ModelAccount::default(),
            next: 0,
            ended: false,
        }
    }

    fn has_request(&self) -> bool {
        self.account
            .served
            .as_ref()
            .is_some_and(|served| !served.finished)
    }

    fn is_over(&self) -> bool {
        matches!(self.connection.step(), Step::Close | Step::Linger)
    }

    fn act(&mut self) {
        match self.script.one_of(16) {
            0..=2 => self.to_send.add_request(&mut self.script),
            3 => {
                let kind = [1, 2, 2, 4, 5, 5, 8, 9][usize::from(self.script.one_of(8))];
                self.to_send.add_any_record(&mut self.script, kind);
            }
            4 => {
                let kind = self.script.byte();
                self.to_send.add_any_record(&mut self.script, kind);
            }
            5 => {
                let count = self.script.size().min(64);
                let bytes = self.script.bytes(count);
                self.to_send.add_bytes(bytes);
            }
            6..=8 => {
                let most = self.script.size();
                self.deliver(most);
            }
            9 | 10 => {
                let most = self.script.size();
                self.take(most);
            }
            11 if self.script.byte() > 200 => self.end_input(),
            _ if self.has_request() => ModelApplication(self).work(),
            _ if self.script.byte() == 77 => self.connection.expire(self.script.is()),
            _ => self.deliver(usize::MAX),
        }
    }

    // ---- The web server --------------------------------------------------------------------------------------------

    /// What comes next of what the web server sends, when it is read.
    fn read(&mut self, most: usize) -> Vec<u8> {
        let bytes = self.to_send.take(most.min(READ));
        self.account.heard.hear(&bytes);
        bytes
    }

    fn deliver(&mut self, most: usize) {
        if self.ended || !matches!(self.connection.step(), Step::Receive | Step::Send(true)) {
            return;
        }
        let bytes = self.read(most.max(1));
        if !bytes.is_empty() {
            self.connection.receive(&bytes);
        }
    }

    fn end_input(&mut self) {
        let reads = match self.connection.step() {
            Step::Ready => self.connection.has_room(),
            step => matches!(step, Step::Receive | Step::Send(true)),
        };
        if reads && !self.ended {
            self.ended = true;
            self.connection.end_of_input();
        }
    }

    /// Has up to so many bytes leave.
    fn take(&mut self, most: usize) {
        let (mut left, mut headers) = (most, Headers::new());
        while left > 0 {
            self.look_at_file();
            let mut bytes = match self.connection.unsent().next(&mut headers) {
                Next::Nothing => return,
                Next::Bytes(slices) => slices.iter().flat_map(|slice| slice.to_vec()).collect(),
                Next::File(_, at, most) => {
                    let served = self.account.served.as_ref().unwrap();
                    some(served.begun, usize::try_from(at).unwrap(), most)
                }
            };
            assert!(
                !bytes.is_empty(),
                "there is nothing to send, and yet something"
            );
            bytes.truncate(left);
            left -= bytes.len();
            self.connection.unsent().advance(bytes.len());
            // Whether a page may have been sent in place of a request that did not reach the application.
            let is_refusing = self.connection.step() == Step::Send(false) || self.is_over();
            self.account.get(&bytes, is_refusing);
        }
    }

    fn look_at_file(&mut self) {
        while let Some(FileAtRecord { at, length, .. }) = self.connection.unsent().file_at_record()
        {
            let served = self.account.served.as_mut().unwrap();
            let file = served.file.unwrap();
            if at + length as u64 <= file {
                return;
            }
            let here = usize::try_from(file.saturating_sub(at))
                .unwrap()
                .min(length);
            let bytes = some(served.begun, usize::try_from(at).unwrap(), here);
            if self.connection.unsent().file_gave(&bytes).is_err() {
                self.connection.file_ended();
            }
        }
    }

    // ---- The application ----------------------------------------------------------------------------------------------

    /// Goes on as the event loop does, and gives a request that is ready to the application.
    fn settle(&mut self) {
        if !self.has_request() && !self.connection.has_unsent() {
            self.connection.all_sent();
        }
        if let Some((variables, turn)) = self.connection.begin() {
            assert!(
                self.account.served.is_none(),
                "two at once: {:?}",
                self.account.served
            );
            let request = self.connection.request(turn).unwrap();
            let id = request.id;
            let mut found: Vec<_> = variables
                .iter()
                .map(|(name, value)| (name.to_vec(), value.to_vec()))
                .collect();
            let is_authorizer = found.last().is_some_and(|(name, _)| name == b"FCGI_ROLE");
            if is_authorizer {
                found.pop();
            }
            let role = if is_authorizer { 2 } else { 1 };
            let mut rest = self.account.heard.begun[self.next..].iter();
            let at = rest.position(|begun| {
                (begun.id, begun.role, begun.params_ended) == (id, role, true)
                    && pairs(&begun.params).as_ref() == Some(&found)
            });
            let at = self.next + at.expect("a request that nobody sent, or sent before");
            self.next = at + 1;
            let of_id = self.account.heard.begun[..at]
                .iter()
                .filter(|begun| begun.id == id);
            self.account.served = Some(Served {
                begun: at,
                id,
                before: of_id.count() - self.account.ends_of(id),
                turn,
                read: 0,
                expected: Vec::new(),
                seen: 0,
                ends: false,
                closed: false,
                reported: false,
                reports_closed: false,
                page: false,
                cut: false,
                finished: false,
                over: false,
                file: None,
            });
        }
        self.check_sizes();
    }

    fn check_sizes(&self) {
        let held = self.connection.held();
        assert!(held.ahead <= MAX_AHEAD, "{held:?}");
        assert!(held.body <= MAX_BODY, "{held:?}");
        let own = self
            .account
            .served
            .as_ref()
            .map_or(0, |served| served.expected.len());
        assert!(held.unsent <= 4 * own + MAX_BESIDE, "{held:?}");
    }

    /// Lets everything come to its end.
    fn come_to_rest(&mut self) {
        let mut rounds = 0;
        while !self.is_over() {
            rounds += 1;
            assert!(
                rounds < 10_000,
                "it does not come to rest: {:?}",
                self.connection
            );
            let before = self.to_send.len();
            if self.has_request() {
                let mut application = ModelApplication(self);
                while application.read_body(usize::MAX) {}
                application.start();
                if self
                    .account
                    .served
                    .as_ref()
                    .is_some_and(|served| served.file.is_none())
                {
                    ModelApplication(self).send_piece(10, false, true);
                }
                ModelApplication(self).finish();
            }
            self.take(usize::MAX);
            self.settle();
            self.deliver(usize::MAX);
            self.settle();
            let waits = self.connection.step() == Step::Receive && !self.connection.has_unsent();
            if waits && self.to_send.len() == before && !self.has_request() {
                break;
            }
        }
        self.take(usize::MAX);
        if self.connection.is_idle() && !self.ended && self.account.heard.is_between_records() {
            assert_eq!(self.to_send.len(), 0);
            self.account.close();
        }
    }
}
