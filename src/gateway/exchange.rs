//! The seam: one request as the application core sees it, whichever door it came through.
//!
//! A transport implements [`Exchange`]; the core calls it and never asks where it came from. The rules that both doors
//! share (how much of the body may be read, when the head leaves, when a body is too long) are the core's, so that
//! they exist once.

use std::any::Any;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::{Head, Variables};

/// A part of an open file, to be sent by the kernel.
#[derive(Clone, Copy, Debug)]
pub struct FileSpan<'a> {
    /// The open file. Its own offset is neither used nor moved.
    pub file: BorrowedFd<'a>,
    /// The first byte to send, from the start of the file.
    pub offset: u64,
    /// How many bytes to send at most: the end of the file comes first where the file is shorter.
    pub length: u64,
}

/// Why a part of a file was not sent.
#[derive(Debug)]
pub enum FileError {
    /// As the errors of [`Exchange::send`].
    Peer(io::Error),
    /// The file could not be read. The response can go on, or be another one where nothing of it has left.
    Unread {
        /// Bytes of the file that have left.
        sent: u64,
        /// What the kernel said.
        error: io::Error,
    },
    /// The file became shorter, or could not be read any more, behind the announcement of bytes that have not left: nothing can
    /// be sent after that.
    Broken(io::Error),
}

/// A wait for more of a request's body, apart from the request.
pub struct Arrival {
    /// Waits for so long at most: `true` when there is something to read, or an error.
    #[allow(clippy::type_complexity)]
    pub wait: Box<dyn Fn(Duration) -> io::Result<bool> + Send>,
    /// How long all waits for one piece may take together; `None`: for ever.
    pub limit: Option<Duration>,
}

/// One request and the place for its response, its body's source and its errors' sink.
///
/// The calls that move bytes block until the kernel has taken or given them, bounded by the transport's own deadlines;
/// the caller holds no lock that others need meanwhile.
pub trait Exchange: Send {
    /// The request's variables, in the order sent.
    fn variables(&self) -> &Variables;

    /// Whether the transport itself marks the end of the body, so that a body of unknown length can be read to its end
    /// (FastCGI section 6.2: an empty STDIN record; a CGI server that closes the pipe).
    fn marks_end_of_body(&self) -> bool;

    /// What is here of the request's body and was not consumed yet.
    fn buffered(&self) -> &[u8];

    /// Drops the first `count` bytes of [`Exchange::buffered`].
    fn consume(&mut self, count: usize);

    /// Sees to it that [`Exchange::buffered`] has bytes, without a wait: `false` when the body has ended.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is here: wait as [`Exchange::arrival`] does, with the exchange let go, since another thread
    /// may have a response to send. Others when the web server closed the connection in the middle of the body, aborted the
    /// request, or sent what makes no sense.
    fn fill(&mut self) -> io::Result<bool>;

    /// Reads into `into` what is here, without a wait: 0 when the body has ended. A transport may read large pieces past its
    /// buffer.
    ///
    /// # Errors
    /// As [`Exchange::fill`].
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.buffered().is_empty() && !self.fill()? {
            return Ok(0);
        }
        let here = self.buffered();
        let count = here.len().min(into.len());
        into[..count].copy_from_slice(&here[..count]);
        self.consume(count);
        Ok(count)
    }

    /// What waits for more of the body while the exchange is used elsewhere.
    fn arrival(&self) -> io::Result<Arrival>;

    /// Sends a piece of the response: the head in front of the first one, then blocks of the body in order. With
    /// `last` the response ends with them; head, blocks and end leave in one system call where they are small.
    ///
    /// # Errors
    /// When the peer has gone, or takes nothing for the transport's time limit. Nothing may be sent after that.
    fn send(&mut self, head: Option<&Head>, blocks: &[&[u8]], last: bool) -> io::Result<()>;

    /// Takes a block that can go on its way without a wait and while the application computes the next one (PEP 3333,
    /// "Buffering and Streaming"): `false` when [`Exchange::send`] has to be used.
    ///
    /// # Errors
    /// As [`Exchange::send`], for this block or one before it.
    fn offer(&mut self, _block: &[u8]) -> io::Result<bool> {
        Ok(false)
    }

    /// Sends a part of a file up to the file's end, without its bytes passing through this process where the kernel can, and
    /// says how many bytes those were. The size that the file system tells is not believed. The head leaves with the first
    /// byte, and not at all where there is none.
    ///
    /// # Errors
    /// See [`FileError`].
    fn send_file(&mut self, head: Option<&Head>, span: FileSpan<'_>) -> Result<u64, FileError>;

    /// Reports text to whoever reads the application's errors (`wsgi.errors`). A failure to do so is no concern of the
    /// application's and is not told.
    fn report(&mut self, text: &[u8]);

    /// Hands out what [`Exchange::report`] may have kept back.
    fn flush_reports(&mut self);

    /// The same thing for a caller that knows its type, when the core is done with it.
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send>;
}
