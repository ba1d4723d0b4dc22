//! One request while it is open on a connection: what came of it. How far its response is, is `ResponseProgress`'s.

use super::pairs::Pairs;
use super::record::Role;
use crate::gateway::{self, ResponseProgress, Variables};

/// The most text that waits in the log for the end of its line.
const MAX_LINE: usize = 8 * 1024;

/// An open request. Its buffers outlive it and serve the next one, on whichever connection.
#[derive(Debug)]
pub(super) struct BegunRequest {
    pub(super) id: u16,
    pub(super) role: Role,
    /// FCGI_KEEP_CONN of its BEGIN_REQUEST.
    pub(super) keep: bool,
    /// Whether it is a CGI program's, which passes on what comes back ([`Limits::for_cgi`](super::Limits::for_cgi)).
    pub(super) for_cgi: bool,
    /// What that program is to exit with.
    pub(super) exit_status: u32,
    /// The PARAMS stream while it is not whole.
    params: Vec<u8>,
    pub(super) variables: Variables,
    /// Whether the web server has sent an id with it.
    pub(super) has_id: bool,
    pub(super) body: StdinStream,
    pub(super) progress: ResponseProgress,
    /// ABORT_REQUEST has come: the answer is not wanted any more.
    pub(super) aborted: bool,
    /// Text for FCGI_STDERR that has not left.
    pub(super) reports: Vec<u8>,
    /// Whether any of it has left, so that the stream has to be ended.
    pub(super) reported: bool,
    /// Text for the log whose line is not whole.
    pub(super) log_line: Vec<u8>,
}

/// The request's body, as far as it has come.
#[derive(Debug, Default)]
pub(super) struct StdinStream {
    bytes: Vec<u8>,
    /// How many of `bytes` were consumed.
    used: usize,
    /// Bytes of STDIN that came in all, those that nobody announced included.
    come: u64,
    /// Bytes that CONTENT_LENGTH announces; those that come beyond are dropped.
    announced: Option<u64>,
    /// The empty STDIN record has come (section 3.3).
    ended: bool,
}

impl StdinStream {
    /// What is here and was not consumed.
    pub(super) fn here(&self) -> &[u8] {
        &self.bytes[self.used..]
    }

    /// Bytes of memory that are used, consumed ones included.
    #[cfg(any(test, fuzzing))]
    pub(super) fn held(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn consume(&mut self, count: usize) {
        self.used += count;
    }

    /// How many bytes may still be consumed, where that was announced.
    pub(super) fn remaining(&self) -> Option<u64> {
        let here = self.here().len() as u64;
        self.announced
            .map(|all| all.saturating_sub(self.come) + here)
    }

    /// Bytes that came in all.
    pub(super) fn come(&self) -> u64 {
        self.come
    }

    /// How many announced bytes have not come.
    pub(super) fn lacks(&self) -> u64 {
        self.announced.unwrap_or(0).saturating_sub(self.come)
    }

    /// How many bytes may come that belong to it.
    pub(super) fn room(&self) -> usize {
        let room = self
            .announced
            .map_or(u64::MAX, |all| all.saturating_sub(self.come));
        usize::try_from(room).unwrap_or(usize::MAX)
    }

    /// Whether nothing of it is to be waited for any more.
    pub(super) fn is_whole(&self) -> bool {
        self.ended || self.announced.is_some_and(|all| self.come >= all)
    }

    /// Whether the web server has said that it is over.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    pub(super) fn push(&mut self, piece: &[u8]) {
        // Not before the consumed part is the larger one: then each byte is moved once at the most.
        if self.used >= self.here().len() {
            self.bytes.drain(..self.used);
            self.used = 0;
        }
        let wanted = self.count(piece.len());
        self.bytes.extend_from_slice(&piece[..wanted]);
    }

    /// So many bytes have come; how many of them belong to the body. For those that are read to where they are wanted.
    pub(super) fn count(&mut self, come: usize) -> usize {
        let room = self.room();
        self.come += come as u64;
        room.min(come)
    }

    /// Notes what CONTENT_LENGTH says, when some bytes may be here already.
    fn announce(&mut self, length: Option<u64>) {
        self.announced = length;
        if let Some(length) = length.and_then(|length| usize::try_from(length).ok()) {
            self.bytes.truncate(length);
        }
    }
}

impl BegunRequest {
    pub(super) fn new() -> Box<Self> {
        Box::new(Self {
            id: 0,
            role: Role::Responder,
            keep: false,
            for_cgi: false,
            exit_status: 0,
            params: Vec::new(),
            variables: Variables::new(),
            has_id: false,
            body: StdinStream::default(),
            progress: ResponseProgress::new(false),
            aborted: false,
            reports: Vec::new(),
            reported: false,
            log_line: Vec::new(),
        })
    }

    /// Makes it the state of a request that begins, keeping its buffers unless they grew out of the ordinary.
    pub(super) fn begin(&mut self, id: u16, role: Role, keep: bool) {
        const KEEP: usize = 64 * 1024;
        self.id = id;
        self.role = role;
        self.keep = keep;
        self.exit_status = 0;
        let body = std::mem::take(&mut self.body);
        self.body.bytes = body.bytes;
        for buffer in [
            &mut self.params,
            &mut self.body.bytes,
            &mut self.reports,
            &mut self.log_line,
        ] {
            buffer.clear();
            buffer.shrink_to(KEEP);
        }
        self.variables.clear();
        self.progress = ResponseProgress::new(false);
        self.aborted = false;
        self.has_id = false;
        self.reported = false;
    }

    /// Takes a piece of the PARAMS stream, and says how long that is by now, in bytes.
    pub(super) fn push_params(&mut self, piece: &[u8]) -> usize {
        self.params.extend_from_slice(piece);
        self.params.len()
    }

    /// Reads the variables out of the whole PARAMS stream: `false` when a pair runs past its end.
    pub(super) fn end_params(&mut self) -> bool {
        let mut pairs = Pairs::of(&self.params);
        // Where a name comes twice, the later one holds.
        let (mut announced, mut is_head) = (None, false);
        while let Some(pair) = pairs.next() {
            let Ok((name, value)) = pair else {
                self.variables.clear();
                return false;
            };
            match name {
                b"CONTENT_LENGTH" => announced = gateway::Request::content_length(Some(value)),
                b"REQUEST_METHOD" => is_head = value == b"HEAD",
                b"HTTP_X_REQUEST_ID" => self.has_id = true,
                _ => {}
            }
            // The two are what lies between this pair's lengths and what is left.
            let start = self.params.len() - pairs.left() - value.len() - name.len();
            self.variables.place(start, name.len(), value.len());
        }
        self.variables.hold(&mut self.params);
        if self.role == Role::Authorizer {
            // Section 6.3: an Authorizer gets no STDIN; FCGI_ROLE is how the application tells (as in section 3.4).
            self.variables.push(b"FCGI_ROLE", b"AUTHORIZER");
            self.body.end();
        } else {
            self.body.announce(announced);
        }
        self.progress = ResponseProgress::new(is_head);
        true
    }

    /// How many bytes the body has by CONTENT_LENGTH.
    pub(super) fn announced(&self) -> Option<u64> {
        self.body.announced
    }

    /// Whether the application can be called once its variables are whole: the body is here, or `buffer` bytes of it.
    pub(super) fn can_begin(&self, buffer: usize) -> bool {
        self.body.is_whole() || self.body.here().len() >= buffer
    }

    /// Takes text for FCGI_STDERR and the log.
    pub(super) fn report(&mut self, text: &[u8]) {
        let (lines, rest) = match text.iter().rposition(|&byte| byte == b'\n') {
            Some(end) => (Some(&text[..end]), &text[end + 1..]),
            None => (None, text),
        };
        if let Some(lines) = lines {
            self.log_line.extend_from_slice(lines);
            log_report(&self.log_line);
            self.log_line.clear();
        }
        self.log_line.extend_from_slice(rest);
        if self.log_line.len() > MAX_LINE {
            log_report(&self.log_line);
            self.log_line.clear();
        }
        // What a web server makes of a cut is known only without any in front of it.
        let is_failed = self.progress.has_failed() && !self.for_cgi;
        if !is_failed && !self.progress.has_ended() {
            self.reports.extend_from_slice(text);
        }
    }
}

/// Writes a piece of the application's error text to the log.
pub(super) fn log_report(line: &[u8]) {
    log::error!(target: "wsgi.errors", "{}", String::from_utf8_lossy(line));
}
