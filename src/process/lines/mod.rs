//! Lines of requests (`--access-log`, `--slow-log-file`) on their way to a disk, which may be slow, full, or stand still: nobody
//! who answers requests waits for it, nor does the master.
//!
//! A worker puts lines into its own memory (`sink`), from where a thread of its own, which never needs Python's lock, sends
//! them, many at a time, to one process (`writer`) that has the files (`output`). It is a process and no thread of the master's,
//! which has one thread and forks; it is the master's child, so that it lives as long as there are workers, is started again
//! when it dies, and writes what there still is when they have ended. Meanwhile the lines wait in the channel, and
//! in the workers' memory: what does not fit there is dropped, counted and told. A worker that a web server has started has no
//! master; there the thread writes itself.
//!
//! The channel is one pair of sockets for all workers of a master, as that between workers is. A message is a byte, which says
//! what it is, and whole lines.

mod output;
mod sink;
mod writer;

pub use output::{LineFileError, LineFiles};
pub use sink::LineSink;
pub use writer::{LineWriter, LineWriterError};

/// What lines are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineKind {
    /// The access log.
    Access,
    /// The slow log, whose messages have several lines.
    Slow,
}

/// Bytes of lines in one message, at most.
const PIECE: usize = 60 * 1024;

impl LineKind {
    const ALL: [Self; 2] = [Self::Access, Self::Slow];

    fn byte(self) -> u8 {
        match self {
            Self::Access => b'A',
            Self::Slow => b'S',
        }
    }
}

/// The message of the master that there are no more lines, behind all others.
const END: u8 = b'E';

/// How many of what is counted as lines stand in it.
fn count(lines: &[u8]) -> u64 {
    lines.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Where a piece of so many bytes at the most ends: behind a line, if there is the end of one.
fn piece(lines: &[u8], most: usize) -> usize {
    if lines.len() <= most {
        return lines.len();
    }
    let end = lines[..most].iter().rposition(|byte| *byte == b'\n');
    end.map_or(most, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::{count, piece};

    #[test]
    fn pieces_end_with_lines_where_they_can() {
        assert_eq!(piece(b"a\nbb\n", 10), 5);
        assert_eq!(piece(b"a\nbb\n", 4), 2);
        assert_eq!(piece(b"aaaaa\n", 4), 4);
        assert_eq!((count(b""), count(b"a\nbb\n"), count(b"a")), (0, 2, 0));
    }
}
