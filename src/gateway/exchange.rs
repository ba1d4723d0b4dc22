//! The seam: one request as the application core sees it, whichever door it came through.
//!
//! It has two halves, the body to read and the response to write. Each may be used from a thread of its own: an
//! application may pump `wsgi.input` in one and answer in another, and neither waits for the other. A transport
//! implements them; the core calls them and never asks where a request came from.
//!
//! A call that moves bytes may block until the kernel has taken or given them, bounded by the transport's own deadlines;
//! the caller holds no lock that others need meanwhile. Once the request has ended, every call fails with
//! [`io::ErrorKind::NotConnected`].

use std::io;
use std::os::fd::BorrowedFd;

use super::{FailureKind, Head, Page, ResponseProgress, StartError, Variables};

/// A part of an open file, to be sent by the kernel.
#[derive(Clone, Copy, Debug)]
pub struct FileSpan<'a> {
    /// The open file. Its own offset is neither used nor moved.
    pub file: BorrowedFd<'a>,
    /// The first byte to send, from the start of the file.
    pub offset: u64,
    /// How many bytes to send, unless the file ends before.
    pub length: u64,
}

/// Bytes that the transport may keep until the peer has taken them, without a copy.
pub type KeptBytes = Box<dyn AsRef<[u8]> + Send + Sync>;

/// What became of bytes that the application wanted to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// They are on their way.
    Whole,
    /// The response has no body: they were dropped.
    Dropped,
    /// Those past the announced Content-Length were cut off.
    Cut,
}

/// The request's body.
pub trait RequestBody: Send + Sync {
    /// How many bytes may still be read, where that was announced; `None`: up to where the transport marks the end.
    fn remaining(&self) -> Option<u64>;

    /// Shows `work` what is here of the body, and drops as many bytes from its front as `work` says. Never waits.
    ///
    /// # Errors
    /// When the request has ended.
    fn take(&self, work: &mut dyn FnMut(&[u8]) -> usize) -> io::Result<()>;

    /// Waits until [`RequestBody::take`] has bytes to show: `false` when the body has ended.
    ///
    /// # Errors
    /// `UnexpectedEof` when the body ends before its announced length, for that would be half of an upload taken for the
    /// whole; `ConnectionAborted` when the web server aborted the request; `TimedOut` when it sent nothing for the
    /// transport's time limit; `FileTooLarge` when there is more than the operator allows.
    fn fill(&self) -> io::Result<bool>;

    /// Reads into `into` what is here, else waits for some: 0 when the body has ended. A transport may read large
    /// pieces past its buffer.
    ///
    /// # Errors
    /// As [`RequestBody::fill`].
    fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut count = 0;
            self.take(&mut |here| {
                count = here.len().min(into.len());
                into[..count].copy_from_slice(&here[..count]);
                count
            })?;
            if count > 0 || into.is_empty() || !self.fill()? {
                return Ok(count);
            }
        }
    }
}

/// The response.
pub trait ResponseWriter: Send + Sync {
    /// Lets `work` look at how far the response is, and begin it.
    fn progress(&self, work: &mut dyn FnMut(&mut ResponseProgress));

    /// Sends a piece of the response: its head in front of the first one, then blocks of the body in order. With `last`
    /// the response ends with them; head, blocks and end leave in one system call where they are small. What a slow peer
    /// does not take of the last piece is sent without the caller.
    ///
    /// # Errors
    /// When the peer has gone, or takes nothing for the transport's time limit. Nothing may be sent after that.
    /// `InvalidData` when the body is shorter than its Content-Length: where nothing has left another response may begin.
    fn send(&self, blocks: &[&[u8]], last: bool) -> io::Result<Pushed>;

    /// As [`ResponseWriter::send`], of blocks that are too large to be copied.
    ///
    /// # Errors
    /// As [`ResponseWriter::send`].
    fn send_kept(&self, blocks: Vec<KeptBytes>, last: bool) -> io::Result<Pushed>;

    /// Sends the rest of the body from a file, without its bytes passing through this process where the kernel can, and
    /// ends the response. What a slow peer does not take is sent without the caller.
    ///
    /// # Errors
    /// As [`ResponseWriter::send`]; `UnexpectedEof` when the file ends before the span does and that is seen at once.
    fn send_file(&self, span: FileSpan<'_>) -> io::Result<Pushed>;

    /// Takes a block that can go on its way without a wait and while the application computes the next one (PEP 3333,
    /// "Buffering and Streaming"): `false` when [`ResponseWriter::send`] has to be used.
    ///
    /// # Errors
    /// As [`ResponseWriter::send`], for this block or one before it.
    fn offer(&self, _block: &[u8]) -> io::Result<bool> {
        Ok(false)
    }

    /// Notes what a CGI program that has answered so would exit with. To be called before the response ends.
    fn note_exit(&self, _status: u8) {}

    /// Notes how the application has failed, for who keeps count of that.
    fn note_failure(&self, _kind: FailureKind) {}

    /// Reports text to whoever reads the application's errors (`wsgi.errors`). A failure to do so is no concern of the
    /// application's and is not told.
    fn report(&self, text: &[u8]);

    /// Hands out what [`ResponseWriter::report`] may have kept back.
    fn flush_reports(&self);
}

/// One request: its variables and its two halves.
pub trait Exchange: RequestBody + ResponseWriter {
    /// The request's variables, in the order sent.
    fn variables(&self) -> &Variables;

    /// Whether the transport itself marks the end of the body, so that a body of unknown length can be read to its end
    /// (FastCGI section 6.2: an empty STDIN record; a CGI server that closes the pipe).
    fn marks_end_of_body(&self) -> bool;

    /// The id by which the request is found in every log: [`sent_id`](super::sent_id), else one that was made.
    fn id(&self) -> &str;

    /// Begins this response in place of whatever was begun, if the head has not left.
    ///
    /// # Errors
    /// When it may not begin.
    fn start(&self, head: Head, replaces: bool) -> Result<(), StartError> {
        let (mut head, mut started) = (Some(head), Ok(()));
        self.progress(&mut |progress| {
            if let Some(head) = head.take() {
                started = progress.start(head, replaces);
            }
        });
        started
    }

    /// Whether the head has left, so that the response cannot become another one.
    fn has_begun(&self) -> bool {
        let mut begun = true;
        self.progress(&mut |progress| begun = progress.has_begun());
        begun
    }

    /// Answers with this response as a whole, in place of whatever was begun.
    ///
    /// # Errors
    /// As [`ResponseWriter::send`]; `BrokenPipe` when the head of another has left.
    fn answer(&self, head: Head, body: &[u8]) -> io::Result<Pushed> {
        self.start(head, true)
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        self.send(&[body], true)
    }

    /// Answers with a page of the gateway's own.
    ///
    /// # Errors
    /// As [`Exchange::answer`].
    fn answer_page(&self, page: &Page) -> io::Result<Pushed> {
        let (head, body) = page.render();
        self.answer(head, &body)
    }
}
