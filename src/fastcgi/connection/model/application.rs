//! What the application does with a request that it has.

use super::super::super::content::SentFile;
use super::super::super::record::{RecordType, write_record};
use super::super::{Answered, BegunRequest, Filled};
use super::script::some;
use super::{Driver, READ};
use crate::gateway::{Head, Page, Portion, ResponseProgress};

/// The application, while it has a request.
pub(super) struct ModelApplication<'d, 'a>(pub(super) &'d mut Driver<'a>);

impl ModelApplication<'_, '_> {
    pub(super) fn work(&mut self) {
        let served = self.0.account.served.as_ref().unwrap();
        let turn = served.turn;
        match self.0.script.one_of(20) {
            0..=2 => {
                let most = self.0.script.size();
                self.read_body(most);
            }
            3 => self.read_direct(),
            4 | 5 => self.look(),
            6 | 7 => self.start(),
            // A file is the last piece of a response.
            8..=12 if served.file.is_some() => {}
            8..=10 => self.send(),
            11 => self.send_file(),
            12 => self.offer(),
            13 => {
                let text = vec![b'a'; self.0.script.size().min(20_000)];
                self.0.connection.report(&text);
                if self.0.script.is() || self.0.connection.has_many_reports() {
                    self.0.connection.put_reports();
                }
            }
            14 if self.0.script.byte() > 200 => {
                let page = Page::new("504 Gateway Timeout", "Too slow.");
                let is_nginx = self.0.script.is();
                let answered = self.0.connection.answer_instead(turn, &page, is_nginx);
                let served = self.0.account.served.as_mut().unwrap();
                served.page |= answered == Answered::Whole;
                served.cut |= answered == Answered::BrokenOff;
            }
            15 if self.0.script.byte() > 240 => {
                self.0.account.lost = true;
                self.0.connection.lose();
            }
            16..=19 => self.finish(),
            _ => {}
        }
    }

    /// Reads of the body: `false` when nothing more comes, or nothing for now.
    pub(super) fn read_body(&mut self, most: usize) -> bool {
        let turn = self.0.account.served.as_ref().unwrap().turn;
        match self.0.connection.fill(turn) {
            Ok(Filled::Here) => {
                let request = self.0.connection.request(turn).unwrap();
                let count = request.body.here().len().min(most.max(1));
                let bytes = request.body.here()[..count].to_vec();
                request.body.consume(count);
                self.had(&bytes);
                true
            }
            Ok(Filled::Ended) => {
                let begun = self.0.account.served.as_ref().unwrap().begun;
                let is_authorizer = self.0.account.heard.begun[begun].role == 2;
                assert!(
                    is_authorizer || self.is_all_read(),
                    "the body ended too soon"
                );
                false
            }
            Ok(Filled::Wait) => {
                let held_up = self.0.connection.is_held_up();
                assert!(held_up || self.is_all_read(), "bytes of the body got lost");
                if self.0.connection.is_held_up() {
                    self.0.take(usize::MAX);
                    return true;
                }
                if !self.0.ended && self.0.to_send.len() > 0 {
                    let bytes = self.0.read(READ / 2);
                    self.0.connection.push_ahead(&bytes);
                    return true;
                }
                self.0.end_input();
                false
            }
            Err(error) => {
                let cut = error.kind() == std::io::ErrorKind::UnexpectedEof;
                assert!(
                    !cut || self.0.account.lost || self.is_all_read(),
                    "{error}, but bytes have come"
                );
                false
            }
        }
    }

    /// The application has read so much.
    pub(super) fn had(&mut self, bytes: &[u8]) {
        let served = self.0.account.served.as_mut().unwrap();
        let body = &self.0.account.heard.begun[served.begun].body[served.read..];
        assert!(body.starts_with(bytes), "not of this body: {bytes:?}");
        served.read += bytes.len();
        let announced = self.0.connection.request(served.turn).unwrap().announced();
        assert!(announced.is_none_or(|all| served.read as u64 <= all));
    }

    /// Whether all that came of the body was read.
    pub(super) fn is_all_read(&mut self) -> bool {
        let served = self.0.account.served.as_ref().unwrap();
        let request = self.0.connection.request(served.turn).unwrap();
        let announced = usize::try_from(request.announced().unwrap_or(u64::MAX)).unwrap();
        served.read
            == self.0.account.heard.begun[served.begun]
                .body
                .len()
                .min(announced)
    }

    pub(super) fn read_direct(&mut self) {
        let turn = self.0.account.served.as_ref().unwrap().turn;
        let is_here = |request: &mut BegunRequest| !request.body.here().is_empty();
        let direct = self.0.connection.direct();
        if self.0.ended || direct == 0 || self.0.connection.request(turn).is_ok_and(is_here) {
            return;
        }
        let most = self.0.script.size().clamp(1, direct);
        let bytes = self.0.read(most);
        self.0.connection.count_direct(bytes.len());
        self.had(&bytes);
        if bytes.len() == direct {
            let bytes = self.0.read(64);
            self.0.connection.push_ahead(&bytes);
            self.0.connection.read_ahead();
        }
    }

    /// While it waits for the web server to take something, it reads what that sends.
    pub(super) fn look(&mut self) {
        if self.0.connection.has_room() && !self.0.ended {
            if self.0.to_send.len() == 0 && self.0.script.byte() > 128 {
                return self.0.end_input();
            }
            let most = self.0.script.size();
            let bytes = self.0.read(most.min(READ / 2));
            self.0.connection.push_ahead(&bytes);
            self.0.connection.read_ahead();
        }
    }

    pub(super) fn start(&mut self) {
        let served = self.0.account.served.as_ref().unwrap();
        let status: &[u8] =
            [&b"200 OK"[..], b"204 No Content"][usize::from(self.0.script.byte() > 240)];
        let mut head = Head::new(status).unwrap();
        if self.0.script.is() {
            let length = self.0.script.size().to_string();
            head.field(b"Content-Length", length.as_bytes()).unwrap();
        }
        let replaces = self.0.script.is();
        let request = self.0.connection.request(served.turn).unwrap();
        let _ = request.progress.start(head, replaces);
    }

    /// What is put of a piece: its head, and so many bytes of the body.
    pub(super) fn expect(&mut self, portion: &Portion, bytes: &[u8]) {
        let served = self.0.account.served.as_mut().unwrap();
        let role = self.0.account.heard.begun[served.begun].role;
        match &portion.head {
            Some(head) if role == 2 => head.write_status_first(&mut served.expected),
            Some(head) => head.write_status_last(&mut served.expected),
            None => {}
        }
        served.expected.extend_from_slice(bytes);
        served.ends |= portion.ends;
    }

    pub(super) fn send(&mut self) {
        let (kept, last) = (self.0.script.is(), self.0.script.is());
        let size = self.0.script.size();
        self.send_piece(size, kept, last);
    }

    pub(super) fn send_piece(&mut self, size: usize, kept: bool, last: bool) {
        let served = self.0.account.served.as_ref().unwrap();
        let bytes = some(served.begun, served.expected.len(), size);
        let admitted = self
            .0
            .connection
            .admit(served.turn, |progress| progress.admit(size as u64, last));
        let Ok(portion) = admitted else {
            return;
        };
        let count = usize::try_from(portion.bytes).unwrap();
        self.expect(&portion, &bytes[..count]);
        if !kept {
            return self.0.connection.put(&portion, &[&bytes]);
        }
        let id = self.0.connection.put_head(portion.head.as_ref());
        self.0
            .connection
            .unsent()
            .push_kept(id, Box::new(bytes), count);
        if portion.ends {
            self.0.connection.put_end();
        }
    }

    /// Sends a file that may have become shorter.
    pub(super) fn send_file(&mut self) {
        let (turn, begun) = self
            .0
            .account
            .served
            .as_ref()
            .map(|it| (it.turn, it.begun))
            .unwrap();
        let (at, told) = (self.0.script.byte().into(), self.0.script.size());
        let size = at + [told, told, told / 2, told + 9][usize::from(self.0.script.one_of(4))];
        let admit = |progress: &mut ResponseProgress| progress.admit_file(told as u64);
        let Ok(portion) = self.0.connection.admit(turn, admit) else {
            return;
        };
        let most = match portion.tells_its_end {
            true => usize::try_from(portion.bytes).unwrap(),
            false if portion.bytes > 0 => usize::MAX,
            false => 0,
        };
        let count = most.min(size - at);
        self.expect(&portion, &some(begun, at, count));
        let cut = self.0.connection.cut_of(turn, false).unwrap();
        let id = self.0.connection.put_head(portion.head.as_ref());
        let file = SentFile {
            file: std::fs::File::open("/dev/null").unwrap().into(),
            subject: String::new(),
            cut: portion.tells_its_end.then_some(cut),
        };
        self.0
            .connection
            .unsent()
            .push_file(id, file, at as u64, portion.bytes);
        if portion.ends {
            self.0.connection.put_end();
        }
        let served = self.0.account.served.as_mut().unwrap();
        served.file = Some(size as u64);
        served.cut |= count < most && most < usize::MAX;
    }

    /// A block on the short way.
    pub(super) fn offer(&mut self) {
        let size = self.0.script.size();
        let served = self.0.account.served.as_mut().unwrap();
        let request = self.0.connection.request(served.turn).unwrap();
        if request.aborted || !request.reports.is_empty() || size == 0 || size > 4096 {
            return;
        }
        if request.progress.admit_whole(size as u64) {
            let block = some(served.begun, served.expected.len(), size);
            write_record(
                self.0.connection.unsent().records(),
                RecordType::Stdout,
                served.id,
                &block,
            );
            served.expected.extend(block);
        }
    }

    pub(super) fn finish(&mut self) {
        let is_nginx = self.0.script.is();
        let served = self.0.account.served.as_mut().unwrap();
        served.cut |= self.0.connection.is_cut();
        served.finished = true;
        if served.over {
            self.0.account.served = None;
        }
        self.0.connection.finish(None, is_nginx);
    }
}
