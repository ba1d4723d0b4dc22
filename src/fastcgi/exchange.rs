//! A connection with an open request, as the application core uses it: reads that may block, and the response's records.

use std::any::Any;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::sendfile::sendfile64;
use nix::sys::socket::sockopt::SendTimeout;
use nix::sys::socket::{MsgFlags, recv, setsockopt};
use nix::sys::time::TimeVal;
use nix::sys::uio::{pread, readv};

use super::connection::{Connection, Parsed};
use super::record::{
    HEADER_LENGTH, Header, MAX_CONTENT, ProtocolStatus, RecordType, Role, write_cut,
    write_end_request, write_record, write_stderr,
};
use super::request::{Request, Sent};
use super::socket::{wait, write_pieces};
use crate::gateway::{Exchange, FileSpan, Head, Variables};

/// The most text in one STDERR record: HAProxy dies of one that is larger than its buffer of 16 KiB. See also `write_stderr`.
const MAX_STDERR: usize = 8 * 1024;

/// The most text that waits in the log for the end of its line.
const MAX_LINE: usize = 8 * 1024;

/// A response up to this size is put together in one buffer; above it the pieces are sent from where they lie.
const SMALL: usize = 16 * 1024;

/// A block that follows the one before it within this time, and is no larger than this, goes through the sender: a
/// system call for each would be most of the work.
const FAST: Duration = Duration::from_micros(50);
const MAX_OFFERED: usize = 4 * 1024;

/// Bytes of the body that are taken in from what was read at once, so that small records are not gone through again and
/// again.
const AHEAD: usize = 64 * 1024;

impl Connection {
    fn open(&self) -> &Request {
        self.request
            .as_ref()
            .expect("an exchange has an open request")
    }

    fn open_mut(&mut self) -> &mut Request {
        self.request
            .as_mut()
            .expect("an exchange has an open request")
    }

    /// Goes on with the stream until there is something of the body, or its end, or trouble.
    fn go_on(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let (kind, text) = match self.parse(&mut bytes, AHEAD) {
            Parsed::More | Parsed::Ready => {
                self.input.extend_from_slice(bytes);
                return Ok(());
            }
            Parsed::Refused(_) => return Err(self.shared.too_large_error()),
            _ if self.open().aborted => (
                io::ErrorKind::ConnectionAborted,
                "the web server aborted the request",
            ),
            Parsed::Unserved | Parsed::Broken => (
                io::ErrorKind::InvalidData,
                "the web server sent malformed FastCGI",
            ),
        };
        Err(io::Error::new(kind, text))
    }

    /// Blocks for bytes of the body, bounded by the time limit for a silent web server.
    fn wait_readable(&self) -> io::Result<()> {
        wait(self.socket.as_fd(), PollFlags::POLLIN, self.patience).inspect_err(|error| {
            if error.kind() == io::ErrorKind::TimedOut {
                log::warn!("nothing of a request's body came for --io-timeout");
            }
        })
    }

    /// Begins the next thing to send: what the sender has not sent, then what was reported.
    pub(super) fn begin_out(&mut self) -> io::Result<()> {
        self.take_claim()?;
        let request = self.open_mut();
        request.out.clear();
        if let Some(stream) = request.stream.take() {
            stream
                .take_back(&mut request.out)
                .inspect_err(|_| request.sent = Sent::Failed)?;
        }
        for piece in request.reports.chunks(MAX_STDERR) {
            write_stderr(&mut request.out, request.id, piece);
            request.reported = true;
        }
        request.reports.clear();
        Ok(())
    }

    /// Remembers what the head that leaves promises, and that so many bytes of the body leave.
    fn note(&mut self, head: Option<&Head>, bytes: u64) {
        let request = self.open_mut();
        if let Some(head) = head {
            let is_head = request.variables.get(b"REQUEST_METHOD") == Some(b"HEAD");
            let bodiless = is_head || head.is_bodiless();
            request.owed = if bodiless {
                Some(0)
            } else {
                head.content_length()
            };
        }
        request.owed = request.owed.map(|owed| owed.saturating_sub(bytes));
    }

    /// Sends `request.out`, then remembers how far the response is.
    fn send_out(&mut self, last: bool) -> io::Result<()> {
        let result = self.write_all(&self.open().out);
        self.settle(result, last)
    }

    fn settle(&mut self, result: io::Result<()>, last: bool) -> io::Result<()> {
        let request = self.open_mut();
        request.sent = match result {
            Err(_) => Sent::Failed,
            Ok(()) if last => Sent::Ended,
            Ok(()) => Sent::Part,
        };
        result
    }

    /// Sends pieces that are too large to be copied: records are built of slices of them.
    fn send_large(&mut self, head: Vec<u8>, blocks: &[&[u8]], last: bool) -> io::Result<()> {
        let io_timeout = self.patience;
        let request = self
            .request
            .as_mut()
            .expect("an exchange has an open request");
        let id = request.id;
        let total = head.len() + blocks.iter().map(|block| block.len()).sum::<usize>();
        let headers: Vec<[u8; HEADER_LENGTH]> = (0..total)
            .step_by(MAX_CONTENT)
            .map(|at| (total - at).min(MAX_CONTENT))
            .map(|content| u16::try_from(content).unwrap_or(u16::MAX))
            .map(|content| Header::new(RecordType::Stdout, id, content).bytes())
            .collect();
        let mut end = Vec::new();
        if last {
            write_end(&mut end, id, request.reported);
        }
        let mut pieces = vec![IoSlice::new(&request.out)];
        let (mut headers, mut room) = (headers.iter(), 0);
        for mut block in std::iter::once(&head[..]).chain(blocks.iter().copied()) {
            while !block.is_empty() {
                if room == 0 {
                    pieces.extend(headers.next().map(|header| IoSlice::new(header)));
                    room = MAX_CONTENT;
                }
                let (piece, rest) = block.split_at(room.min(block.len()));
                pieces.push(IoSlice::new(piece));
                room -= piece.len();
                block = rest;
            }
        }
        pieces.push(IoSlice::new(&end));
        let result = write_pieces(self.socket.as_fd(), &mut pieces, io_timeout);
        request.out.clear();
        self.settle(result, last)
    }

    /// Sends what is here of the file for one record of `length` bytes.
    fn send_span(&self, span: FileSpan<'_>) -> io::Result<()> {
        let FileSpan {
            file,
            mut offset,
            mut length,
        } = span;
        while length > 0 {
            let mut position = i64::try_from(offset).map_err(io::Error::other)?;
            let count = usize::try_from(length).unwrap_or(usize::MAX);
            let sent = match sendfile64(self.socket.as_fd(), file, Some(&mut position), count) {
                Ok(sent) => sent,
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => {
                    wait(self.socket.as_fd(), PollFlags::POLLOUT, self.patience)?;
                    continue;
                }
                // A file system that cannot feed sendfile.
                Err(Errno::EINVAL | Errno::ENOSYS) => {
                    let mut piece = vec![0; count.min(MAX_CONTENT)];
                    let count = pread(file, &mut piece, position)?;
                    self.write_all(&piece[..count])?;
                    count
                }
                Err(error) => return Err(error.into()),
            };
            if sent == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the file became shorter while it was sent",
                ));
            }
            offset += sent as u64;
            length -= sent as u64;
        }
        Ok(())
    }

    fn send_file_records(&mut self, span: FileSpan<'_>, last: bool) -> io::Result<()> {
        // sendfile(2) waits for room whether or not the socket is to be waited for: this is how long.
        let seconds = i64::try_from(self.patience.as_secs()).unwrap_or(i64::MAX);
        let limit = TimeVal::new(seconds, self.patience.subsec_micros().into());
        let _ = setsockopt(&self.socket, SendTimeout, &limit);
        let (mut offset, mut left) = (span.offset, span.length);
        while left > 0 {
            let length = left.min(MAX_CONTENT as u64);
            let request = self.open_mut();
            let content = u16::try_from(length).unwrap_or(u16::MAX);
            let header = Header::new(RecordType::Stdout, request.id, content).bytes();
            request.out.extend_from_slice(&header);
            self.write_all(&self.open().out)?;
            self.open_mut().out.clear();
            self.send_span(FileSpan {
                file: span.file,
                offset,
                length,
            })?;
            offset += length;
            left -= length;
        }
        let request = self.open_mut();
        if last {
            write_end(&mut request.out, request.id, request.reported);
        }
        self.write_all(&self.open().out)
    }

    /// Tells the web server that no more of a begun response comes, when the application has failed in the middle of it, in the way
    /// that [`Cut`] has for it. To be called by the thread that ran the application: it waits as long as any other part of a response
    /// may take.
    pub(super) fn break_off(&mut self) {
        let is_begun = |request: &Request| request.sent == Sent::Part && !request.aborted;
        if !self.request.as_deref().is_some_and(is_begun) {
            return;
        }
        let mut sent = Sent::Failed;
        if self.begin_out().is_ok() {
            let request = self.open_mut();
            let is_whole = request.owed == Some(0);
            let cut = request.cut();
            write_cut(&mut request.out, request.id, cut);
            // What fails here has failed for a web server that has gone.
            if self.write_all(&self.open().out).is_ok() && is_whole {
                sent = Sent::Ended;
            }
        }
        self.open_mut().sent = sent;
    }

    /// The application answers from here on, unless it was answered in its place.
    fn take_claim(&mut self) -> io::Result<()> {
        let Some(claim) = &self.claim else {
            return Ok(());
        };
        let taken = claim.take();
        if taken.is_err() {
            self.open_mut().sent = Sent::Failed;
        }
        taken
    }

    fn check_wanted(&self) -> io::Result<()> {
        if self.open().aborted {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}

impl Exchange for Connection {
    fn variables(&self) -> &Variables {
        &self.open().variables
    }

    fn marks_end_of_body(&self) -> bool {
        true
    }

    fn buffered(&self) -> &[u8] {
        let request = self.open();
        &request.body[request.body_used..]
    }

    fn consume(&mut self, count: usize) {
        self.open_mut().body_used += count;
    }

    fn fill(&mut self) -> io::Result<bool> {
        let mut wire = [0; 32 * 1024];
        loop {
            let request = self.open();
            if request.body_used < request.body.len() {
                return Ok(true);
            }
            if request.body_ended {
                return Ok(false);
            }
            if !self.input.is_empty() {
                let input = std::mem::take(&mut self.input);
                self.go_on(&input)?;
                continue;
            }
            match recv(self.socket.as_raw_fd(), &mut wire, MsgFlags::empty()) {
                Ok(0) => return Err(cut_short()),
                Ok(count) => self.go_on(&wire[..count])?,
                Err(Errno::EAGAIN) => self.wait_readable()?,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let request = self.open();
            let direct = self.parser.stdin_content_left(request.id).min(into.len());
            let buffered = request.body_used < request.body.len() || !self.input.is_empty();
            if buffered || request.body_ended || direct < 4096 {
                if self.buffered().is_empty() && !self.fill()? {
                    return Ok(0);
                }
                let here = self.buffered();
                let count = here.len().min(into.len());
                into[..count].copy_from_slice(&here[..count]);
                self.consume(count);
                return Ok(count);
            }
            // The middle of a large record: straight to where it belongs, and the next header with it.
            let mut next = [0; 64];
            let mut pieces = [
                IoSliceMut::new(&mut into[..direct]),
                IoSliceMut::new(&mut next),
            ];
            match readv(&self.socket, &mut pieces) {
                Ok(0) => return Err(cut_short()),
                Ok(count) => {
                    let content = count.min(direct);
                    self.parser.skip_stdin(content);
                    self.open_mut().body_come += content as u64;
                    if self.body_is_too_large() {
                        return Err(self.shared.too_large_error());
                    }
                    self.go_on(&next[..count - content])?;
                    return Ok(content);
                }
                Err(Errno::EAGAIN) => self.wait_readable()?,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn send(&mut self, head: Option<&Head>, blocks: &[&[u8]], last: bool) -> io::Result<()> {
        self.check_wanted()?;
        self.begin_out()?;
        let total = blocks.iter().map(|block| block.len()).sum::<usize>();
        self.note(head, total as u64);
        if total > SMALL {
            let mut bytes = Vec::new();
            if let Some(head) = head {
                write_head(head, self.open_mut().role, &mut bytes);
            }
            return self.send_large(bytes, blocks, last);
        }
        let request = self.open_mut();
        let (id, role, reported) = (request.id, request.role, request.reported);
        let out = &mut request.out;
        let start = out.len();
        out.extend_from_slice(&[0; HEADER_LENGTH]);
        if let Some(head) = head {
            write_head(head, role, out);
        }
        for block in blocks {
            out.extend_from_slice(block);
        }
        match u16::try_from(out.len() - start - HEADER_LENGTH) {
            // An empty STDOUT record would end the stream (section 3.3).
            Ok(0) => out.truncate(start),
            Ok(content) => {
                let header = Header::new(RecordType::Stdout, id, content).bytes();
                out[start..start + HEADER_LENGTH].copy_from_slice(&header);
            }
            Err(_) => {
                // A head of over 48 KiB.
                let bytes = out.split_off(start + HEADER_LENGTH);
                out.truncate(start);
                for piece in bytes.chunks(MAX_CONTENT) {
                    write_record(out, RecordType::Stdout, id, piece);
                }
            }
        }
        if last {
            write_end(out, id, reported);
        }
        if !last {
            request.last_block = Some(Instant::now());
        }
        self.send_out(last)
    }

    fn offer(&mut self, block: &[u8]) -> io::Result<bool> {
        self.check_wanted()?;
        let request = self
            .request
            .as_mut()
            .expect("an exchange has an open request");
        let before = request.last_block.replace(Instant::now());
        let slow = before.is_none_or(|before| before.elapsed() > FAST);
        if slow || block.len() > MAX_OFFERED || !request.reports.is_empty() {
            return Ok(false);
        }
        let Some(sender) = self.shared.sender() else {
            return Ok(false);
        };
        let stream = request.stream.get_or_insert_default();
        let taken = stream.offer(sender, &self.socket, |out| {
            write_record(out, RecordType::Stdout, request.id, block)
        })?;
        if taken {
            self.note(None, block.len() as u64);
        }
        Ok(taken)
    }

    fn send_file(&mut self, head: Option<&Head>, span: FileSpan<'_>, last: bool) -> io::Result<()> {
        self.check_wanted()?;
        self.begin_out()?;
        self.note(head, span.length);
        let request = self.open_mut();
        if let Some(head) = head {
            let mut bytes = Vec::new();
            write_head(head, request.role, &mut bytes);
            for piece in bytes.chunks(MAX_CONTENT) {
                write_record(&mut request.out, RecordType::Stdout, request.id, piece);
            }
        }
        let result = self.send_file_records(span, last);
        self.settle(result, last)
    }

    fn report(&mut self, text: &[u8]) {
        let request = self.open_mut();
        let (lines, rest) = match text.iter().rposition(|&byte| byte == b'\n') {
            Some(end) => (Some(&text[..end]), &text[end + 1..]),
            None => (None, text),
        };
        if let Some(lines) = lines {
            request.log_line.extend_from_slice(lines);
            log_report(&request.log_line);
            request.log_line.clear();
        }
        request.log_line.extend_from_slice(rest);
        if request.log_line.len() > MAX_LINE {
            log_report(&request.log_line);
            request.log_line.clear();
        }
        if matches!(request.sent, Sent::Failed | Sent::Ended) {
            return;
        }
        request.reports.extend_from_slice(text);
        if request.reports.len() > MAX_STDERR {
            self.flush_reports();
        }
    }

    fn flush_reports(&mut self) {
        let request = self.open_mut();
        if request.reports.is_empty() || matches!(request.sent, Sent::Failed | Sent::Ended) {
            return;
        }
        if self.begin_out().is_err() {
            return;
        }
        if self.write_all(&self.open().out).is_err() {
            self.open_mut().sent = Sent::Failed;
        }
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

/// Writes a piece of the application's error text to the log.
pub(super) fn log_report(line: &[u8]) {
    log::error!(target: "wsgi.errors", "{}", String::from_utf8_lossy(line));
}

/// A head as the web server wants it: lighttpd lets nothing of an Authorizer's head through to the client before it has read a Status
/// other than 200 (section 6.3); for a Responder see `Head::write_status_last`.
fn write_head(head: &Head, role: Role, out: &mut Vec<u8>) {
    match role {
        Role::Authorizer => head.write_status_first(out),
        _ => head.write_status_last(out),
    }
}

/// The end of STDOUT, of STDERR if anything was `reported` on it, and of the request (sections 5.3 and 5.5).
pub(super) fn write_end(out: &mut Vec<u8>, id: u16, reported: bool) {
    write_record(out, RecordType::Stdout, id, &[]);
    if reported {
        write_record(out, RecordType::Stderr, id, &[]);
    }
    write_end_request(out, id, 0, ProtocolStatus::RequestComplete);
}

fn cut_short() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the web server closed the connection in the middle of the request's body",
    )
}
