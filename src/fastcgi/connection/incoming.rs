//! The web server's half of a connection, which is a stream of records or has failed: there is no third.
//!
//! What follows an error may be part of a client's body, and no place in it is known to be the start of a record. So a failed
//! half has no parser: nothing can be read out of it any more, and its connection cannot be kept.

use std::io;

use super::super::parser::Parser;

/// The web server's half of a connection.
#[derive(Debug)]
pub(in crate::fastcgi) enum Incoming {
    Open(Records),
    Failed(Fault),
}

/// A stream of records that makes sense so far.
#[derive(Debug)]
pub(in crate::fastcgi) struct Records {
    pub(in crate::fastcgi) parser: Parser,
    /// What was read and not parsed yet: the start of a request that the web server sent ahead.
    pub(in crate::fastcgi) ahead: Vec<u8>,
}

/// Why nothing is taken in any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::fastcgi) enum Fault {
    /// What came is no FastCGI.
    Malformed,
    /// The body is larger than the operator allows.
    TooLarge,
    /// The connection is ending.
    Over,
}

impl Incoming {
    pub(super) fn new() -> Self {
        Self::Open(Records {
            parser: Parser::new(),
            ahead: Vec::new(),
        })
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Open(_))
    }

    /// Whether it stands between two records.
    pub(super) fn is_between_records(&self) -> bool {
        matches!(self, Self::Open(records) if records.parser.is_between_records())
    }

    /// Whether something was read that is not parsed.
    pub(in crate::fastcgi) fn has_ahead(&self) -> bool {
        matches!(self, Self::Open(records) if !records.ahead.is_empty())
    }

    /// What was read and not parsed, to go on with.
    pub(in crate::fastcgi) fn take_ahead(&mut self) -> Vec<u8> {
        match self {
            Self::Open(records) => std::mem::take(&mut records.ahead),
            Self::Failed(_) => Vec::new(),
        }
    }

    /// Keeps what was read and not parsed, behind what is kept already. After an error nothing is kept.
    pub(in crate::fastcgi) fn keep(&mut self, bytes: &[u8]) {
        if let Self::Open(records) = self {
            records.ahead.extend_from_slice(bytes);
        }
    }

    /// How many bytes of that request's STDIN come next and were not read yet.
    pub(in crate::fastcgi) fn stdin_content_left(&self, id: u16) -> usize {
        match self {
            Self::Open(records) if records.ahead.is_empty() => {
                records.parser.stdin_content_left(id)
            }
            _ => 0,
        }
    }

    /// So many bytes of that were read elsewhere.
    pub(in crate::fastcgi) fn skip_stdin(&mut self, count: usize) {
        if let Self::Open(records) = self {
            records.parser.skip_stdin(count);
        }
    }

    pub(in crate::fastcgi) fn fail(&mut self, fault: Fault) {
        *self = Self::Failed(fault);
    }
}

impl Fault {
    /// What the application is told that wants more of the body. The last is of the limit of the body's bytes.
    pub(in crate::fastcgi) fn error(self, too_large: impl FnOnce() -> io::Error) -> io::Error {
        match self {
            Self::TooLarge => too_large(),
            Self::Malformed => io::Error::new(
                io::ErrorKind::InvalidData,
                "the web server sent malformed FastCGI",
            ),
            Self::Over => io::Error::new(io::ErrorKind::BrokenPipe, "the connection is ending"),
        }
    }
}
