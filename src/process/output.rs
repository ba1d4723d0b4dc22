//! What a worker writes to its standard output and error, taken line by line into the log.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;

/// The longest line that is waited for, in bytes; a longer one is told in pieces.
const MAX_LINE: usize = 8 * 1024;

/// The most that is read at a time, so that one worker's flood does not keep the master from the others.
const AT_ONCE: usize = 64 * 1024;

/// The reading end.
#[derive(Debug)]
pub(super) struct Output {
    from: std::fs::File,
    /// The beginning of a line whose end has not come.
    begun: Vec<u8>,
    pub(super) is_closed: bool,
}

impl Output {
    /// Gives the reading end, which does not block, and the worker's.
    pub(super) fn pipe() -> io::Result<(Self, OwnedFd)> {
        let (from, to) = pipe2(OFlag::O_CLOEXEC)?;
        fcntl(&from, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let output = Self {
            from: from.into(),
            begun: Vec::new(),
            is_closed: false,
        };
        Ok((output, to))
    }

    /// Reads what is there and tells each line.
    pub(super) fn read(&mut self, mut tell: impl FnMut(&str)) {
        let mut piece = [0; 4096];
        let mut come = 0;
        while come < AT_ONCE {
            match self.from.read(&mut piece) {
                Ok(0) => self.is_closed = true,
                Ok(count) => {
                    come += count;
                    self.begun.extend_from_slice(&piece[..count]);
                    self.tell_lines(&mut tell);
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => self.is_closed = error.kind() != io::ErrorKind::WouldBlock,
            }
            break;
        }
        if self.is_closed && !self.begun.is_empty() {
            self.begun.push(b'\n');
            self.tell_lines(&mut tell);
        }
    }

    fn tell_lines(&mut self, tell: &mut impl FnMut(&str)) {
        let mut at = 0;
        loop {
            let rest = &self.begun[at..];
            let (line, after) = match rest.iter().position(|&byte| byte == b'\n') {
                Some(end) if end <= MAX_LINE => (&rest[..end], end + 1),
                _ if rest.len() > MAX_LINE => (&rest[..MAX_LINE], MAX_LINE),
                _ => break,
            };
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            tell(&String::from_utf8_lossy(line));
            at += after;
        }
        self.begun.drain(..at);
    }
}

impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.from.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::Output;
    use std::io::Write;

    #[test]
    fn lines_are_told_when_they_end() {
        let (mut output, to) = Output::pipe().unwrap();
        let mut to = std::fs::File::from(to);
        let mut told = Vec::new();
        to.write_all(b"one\ntw").unwrap();
        output.read(|line| told.push(line.to_owned()));
        assert_eq!(told, ["one"]);
        to.write_all(b"o\r\n\nlast").unwrap();
        to.write_all(&[b'x'; 9000]).unwrap();
        drop(to);
        output.read(|line| told.push(line.to_owned()));
        assert_eq!(told[1..3], ["two", ""]);
        assert_eq!((told[3].len(), told[4].len()), (8192, 812));
        assert!(output.is_closed);
    }
}
