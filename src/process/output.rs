//! What a worker writes to its standard output and error, taken line by line: into the log under the worker's name, or as it is to
//! where the log goes.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;

use super::joined::JoinedLines;

/// The longest line of the log that is waited for, in bytes; a longer one is told in pieces.
const MAX_LINE: usize = 8 * 1024;

/// The longest line that is passed on as it is, in bytes; a longer one becomes several.
const MAX_RAW_LINE: usize = 1024 * 1024;

/// The most that is read at a time, so that one worker's flood does not keep the master from the others.
const AT_ONCE: usize = 64 * 1024;

/// What is done with the lines.
#[derive(Clone, Copy, Debug, Default)]
pub enum LineForm {
    /// They become messages of the log, those of a traceback one.
    #[default]
    Tagged,
    /// Each goes through this as it is, with a line feed at its end.
    Raw(fn(&[u8])),
}

/// The target of messages of the log that are a process's output.
pub const OUTPUT: &str = "output";

/// What a message of the log has of the process that it is from: its name, as `worker 1`, and its number.
pub const FROM: &str = "from";
/// See [`FROM`].
pub const PID: &str = "pid";
/// The level that the process has given it, as a number: it is told whatever level this one asks for.
pub const SAID: &str = "said";

/// The reading end.
#[derive(Debug)]
pub(super) struct Output {
    from: std::fs::File,
    /// The beginning of a line whose end has not come.
    begun: Vec<u8>,
    /// So many bytes of `begun` are known to have no line feed.
    looked: usize,
    form: LineForm,
    /// Lines of a message that may go on.
    joined: JoinedLines,
    pub(super) is_closed: bool,
}

impl Output {
    /// Gives the reading end, which does not block, and the worker's.
    pub(super) fn pipe(form: LineForm) -> io::Result<(Self, OwnedFd)> {
        let (from, to) = pipe2(OFlag::O_CLOEXEC)?;
        fcntl(&from, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        if matches!(form, LineForm::Raw(_)) {
            // Room for a long line: where a write has to wait for some, another thread's can come in between.
            let most = i32::try_from(MAX_RAW_LINE).unwrap_or(i32::MAX);
            let _ = fcntl(&from, FcntlArg::F_SETPIPE_SZ(most));
        }
        let output = Self {
            from: from.into(),
            begun: Vec::new(),
            looked: 0,
            form,
            joined: JoinedLines::default(),
            is_closed: false,
        };
        Ok((output, to))
    }

    /// Reads what is there and tells each line, or passes it on; whether there may be more.
    pub(super) fn read(&mut self, mut tell: impl FnMut(&str)) -> bool {
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
        if self.is_closed {
            self.end_line(&mut tell);
        } else if come < AT_ONCE {
            self.joined.pause(Instant::now(), &mut tell);
        }
        come >= AT_ONCE
    }

    /// As [`Output::read`], when the process has ended: what it had begun to say is a line. A child of it may go on writing, and
    /// what that says is none of that line.
    pub(super) fn read_last(&mut self, mut tell: impl FnMut(&str)) {
        /// More than a pipe holds comes from a child of the process.
        const TURNS: usize = 2 * MAX_RAW_LINE / AT_ONCE;
        for _ in 0..TURNS {
            if !self.read(&mut tell) {
                self.end_line(&mut tell);
                break;
            }
        }
    }

    fn end_line(&mut self, tell: &mut impl FnMut(&str)) {
        if !self.begun.is_empty() {
            self.begun.push(b'\n');
            self.tell_lines(tell);
        }
        self.joined.tell(tell);
    }

    /// When it is to be read again though nothing has come: a message waits for its end.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.joined.deadline()
    }

    fn tell_lines(&mut self, tell: &mut impl FnMut(&str)) {
        let most = match self.form {
            LineForm::Tagged => MAX_LINE,
            LineForm::Raw(_) => MAX_RAW_LINE,
        };
        let mut at = 0;
        loop {
            let rest = &self.begun[at..];
            let looked = self.looked.saturating_sub(at);
            let end = rest[looked..].iter().position(|&byte| byte == b'\n');
            let (line, after) = match end.map(|end| looked + end) {
                Some(end) if end <= most => (&rest[..end], end + 1),
                _ if rest.len() > most => (&rest[..most], most),
                _ => break,
            };
            match self.form {
                LineForm::Tagged => {
                    let line = line.strip_suffix(b"\r").unwrap_or(line);
                    self.joined.push(&String::from_utf8_lossy(line), tell);
                }
                LineForm::Raw(pass_on) if after > line.len() => pass_on(&rest[..after]),
                LineForm::Raw(pass_on) => pass_on(&[line, b"\n"].concat()),
            }
            at += after;
        }
        self.begun.drain(..at);
        self.looked = self.begun.len();
    }
}

impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.from.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::{LineForm, Output};
    use std::io::Write;
    use std::sync::Mutex;

    #[test]
    fn lines_are_told_when_they_end() {
        let (mut output, to) = Output::pipe(LineForm::Tagged).unwrap();
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

    #[test]
    fn raw_lines_are_passed_on_as_they_are() {
        static LINES: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
        let pass_on = |line: &[u8]| LINES.lock().unwrap().push(line.to_vec());
        let (mut output, to) = Output::pipe(LineForm::Raw(pass_on)).unwrap();
        let mut to = std::fs::File::from(to);
        let told = |line: &str| panic!("told: {line}");
        to.write_all(b"one\r\n\n\xff\x1b\0\nlast").unwrap();
        output.read(told);
        let expected = [&b"one\r\n"[..], b"\n", b"\xff\x1b\0\n"];
        assert_eq!(*LINES.lock().unwrap(), expected);
        // The writer has died, and a child of it has not.
        output.read_last(told);
        to.write_all(b"the child\n").unwrap();
        output.read(told);
        assert_eq!(LINES.lock().unwrap()[3..], [&b"last\n"[..], b"the child\n"]);
        LINES.lock().unwrap().clear();
        const MOST: usize = super::MAX_RAW_LINE;
        let writer = std::thread::spawn(move || {
            for length in [MOST, MOST + 7] {
                to.write_all(&vec![b'x'; length]).unwrap();
                to.write_all(b"\n").unwrap();
            }
            to.write_all(b"y").unwrap();
        });
        while !output.is_closed {
            output.read(told);
            std::thread::yield_now();
        }
        writer.join().unwrap();
        let lengths: Vec<usize> = LINES.lock().unwrap().iter().map(Vec::len).collect();
        assert_eq!(lengths, [MOST + 1, MOST + 1, 8, 2]);
    }
}
