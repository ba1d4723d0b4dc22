//! What the master and its children tell each other, a type for each direction, so that neither can be taken to have said
//! what is the other's to say. On the wire the first byte is the kind, a number that no two of both have; the rest is text.

use std::borrow::Cow;
use std::os::fd::OwnedFd;
use std::str::from_utf8;

/// What a worker or the template tells the master.
#[derive(Clone, Debug)]
pub enum ChildMessage {
    /// A worker or the template: this program's code, or its core in Python, has come to its work. Who ends without a word is
    /// a Python that has never loaded it.
    Begun,
    /// A worker serves, or the template has imported the application.
    Ready,
    /// All threads of a worker are in requests.
    Full,
    /// A worker has reached a limit (named as its option) and wants to be replaced.
    Retire(String),
    /// A worker's first request has broken a limit already (named with its figures).
    Outgrown(String),
    /// A worker takes nothing new any more, for a reason of its own.
    Leaving(String),
    /// A line for the log: its level as in `log::Level`, and its text.
    Log(u8, String),
    /// Why the application cannot be loaded.
    CannotLoad(String),
    /// Files that the application consists of, one a line.
    Files(String),
    /// Where the threads of a worker are, as it was asked.
    Stacks(String),
    /// A process that the template has made is there: the first that is said on its channel, by itself, so that the kernel
    /// tells its number.
    Forked,
}

/// What the master tells a worker or, to fork, the template.
#[derive(Debug)]
pub enum MasterMessage {
    /// Pass idle connections on and end.
    Drain,
    /// End, nobody comes after you.
    Finish,
    /// Write the stacks of all threads to the log, for this reason, and end at once.
    Abort(String),
    /// Listen on the sockets that come with this.
    Listen(Vec<OwnedFd>),
    /// Answer with this until told otherwise; nothing when empty.
    Trouble(String),
    /// Take requests again, as there will be nobody after you for now.
    Resume,
    /// Tell where all threads are.
    Stacks,
    /// To the template: fork the worker of this number, with the descriptors that come with this.
    Fork(u32, Vec<OwnedFd>),
}

impl ChildMessage {
    fn kind(&self) -> u8 {
        match self {
            Self::Ready => 1,
            Self::Full => 2,
            Self::Retire(_) => 3,
            Self::Leaving(_) => 4,
            Self::Log(..) => 5,
            Self::CannotLoad(_) => 6,
            Self::Files(_) => 7,
            Self::Forked => 8,
            Self::Outgrown(_) => 15,
            Self::Begun => 17,
            Self::Stacks(_) => 18,
        }
    }

    /// What stands before its text on the wire.
    pub fn head(&self) -> Vec<u8> {
        match self {
            Self::Log(level, _) => vec![self.kind(), *level],
            _ => vec![self.kind()],
        }
    }

    /// Its text; empty where it has none.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Begun | Self::Ready | Self::Full | Self::Forked => "",
            Self::Retire(text)
            | Self::Outgrown(text)
            | Self::Leaving(text)
            | Self::Log(_, text)
            | Self::CannotLoad(text)
            | Self::Stacks(text)
            | Self::Files(text) => text,
        }
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let text = || String::from_utf8_lossy(rest).into_owned();
        Some(match kind {
            1 => Self::Ready,
            2 => Self::Full,
            3 => Self::Retire(text()),
            4 => Self::Leaving(text()),
            5 => {
                let (level, line) = rest.split_first()?;
                Self::Log(*level, String::from_utf8_lossy(line).into_owned())
            }
            6 => Self::CannotLoad(text()),
            7 => Self::Files(text()),
            8 => Self::Forked,
            15 => Self::Outgrown(text()),
            17 => Self::Begun,
            18 => Self::Stacks(text()),
            _ => return None,
        })
    }
}

impl MasterMessage {
    /// Its kind, its text, and what travels with it.
    pub(super) fn parts(&self) -> (u8, Cow<'_, str>, &[OwnedFd]) {
        match self {
            Self::Drain => (9, "".into(), &[]),
            Self::Finish => (10, "".into(), &[]),
            Self::Abort(reason) => (11, reason.into(), &[]),
            Self::Listen(sockets) => (12, "".into(), sockets),
            Self::Trouble(text) => (13, text.into(), &[]),
            Self::Fork(number, fds) => (14, number.to_string().into(), fds),
            Self::Resume => (16, "".into(), &[]),
            Self::Stacks => (19, "".into(), &[]),
        }
    }

    pub(super) fn read(bytes: &[u8], fds: Vec<OwnedFd>) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let text = || String::from_utf8_lossy(rest).into_owned();
        Some(match kind {
            9 => Self::Drain,
            10 => Self::Finish,
            11 => Self::Abort(text()),
            12 => Self::Listen(fds),
            13 => Self::Trouble(text()),
            14 => Self::Fork(from_utf8(rest).ok()?.parse().ok()?, fds),
            16 => Self::Resume,
            19 => Self::Stacks,
            _ => return None,
        })
    }
}
