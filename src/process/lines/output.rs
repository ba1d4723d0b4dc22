//! The files that lines end up in: no more is promised of one than that its whole lines are there in order, or that it was told
//! why not.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use thiserror::Error;

use super::super::folder::Entry;
use super::super::log_output::reason;
use super::{LineKind, count, piece};

/// As much as a pipe that can be written to takes without blocking (pipe(7), PIPE_BUF).
const PIPE: usize = 4096;

/// How often it is told that lines cannot be written, at the most, and a lost syslog is looked for.
const TOLD: Duration = Duration::from_secs(10);

const ACCESS: &str = "--access-log";
const SLOW: &str = "--slow-log-file";

/// A message of the syslog: that of a daemon, for information (RFC 3164 section 4.1.1).
const PRIORITY: &str = "<30>";

/// The longest line that the syslog is given; the usual limit of its readers.
const SYSLOG: usize = 8 * 1024;

/// The files of the access log and of the slow log.
#[derive(Debug, Default)]
pub struct LineFiles {
    access: Option<LineOutput>,
    slow: Option<LineOutput>,
}

/// One way out.
#[derive(Debug)]
struct LineOutput {
    to: Way,
    option: &'static str,
    /// Lines that were lost since that was last told, why the last of them was, and when.
    lost: u64,
    reason: String,
    told: Option<Instant>,
}

#[derive(Debug)]
enum Way {
    File {
        path: PathBuf,
        file: File,
        is_regular: bool,
    },
    Syslog {
        path: PathBuf,
        socket: Option<UnixDatagram>,
        looked: Option<Instant>,
    },
}

/// That a file of lines cannot be opened.
#[derive(Debug, Error)]
#[error("the file '{path}' of {option} cannot be opened: {reason}")]
pub struct LineFileError {
    path: PathBuf,
    option: &'static str,
    reason: String,
}

impl LineFiles {
    /// Opens the file of the access log.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open_access(&mut self, path: &Path) -> Result<(), LineFileError> {
        self.access = Some(LineOutput::open(ACCESS, path)?);
        Ok(())
    }

    /// Opens the file of the slow log.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open_slow(&mut self, path: &Path) -> Result<(), LineFileError> {
        self.slow = Some(LineOutput::open(SLOW, path)?);
        Ok(())
    }

    /// Has the access log go to standard output.
    ///
    /// # Errors
    /// When there is none.
    pub fn access_to_stdout(&mut self) -> Result<(), LineFileError> {
        let stdout = io::stdout().as_fd().try_clone_to_owned();
        let file = File::from(stdout.map_err(|error| LineFileError {
            path: "-".into(),
            option: ACCESS,
            reason: error.to_string(),
        })?);
        self.access = Some(LineOutput::new(ACCESS, Way::of(PathBuf::new(), file)));
        Ok(())
    }

    /// Has the access log go to the syslog that listens there, now or later.
    pub fn access_to_syslog(&mut self, path: &Path) {
        let way = Way::Syslog {
            path: path.to_owned(),
            socket: None,
            looked: None,
        };
        self.access = Some(LineOutput::new(ACCESS, way));
    }

    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        self.access.is_none() && self.slow.is_none()
    }

    fn get(&mut self, kind: LineKind) -> Option<&mut LineOutput> {
        match kind {
            LineKind::Access => self.access.as_mut(),
            LineKind::Slow => self.slow.as_mut(),
        }
    }

    /// Writes whole lines. `waits` says whether it is worth to go on waiting for who does not take them. Gives how many were lost.
    pub(super) fn write(&mut self, kind: LineKind, lines: &[u8], waits: &dyn Fn() -> bool) -> u64 {
        let output = self.get(kind);
        output.map_or(0, |output| output.write(lines, waits))
    }

    /// Opens the files anew, after somebody has moved the old ones away.
    pub fn reopen(&mut self) {
        for output in [&mut self.access, &mut self.slow].into_iter().flatten() {
            output.reopen();
        }
    }

    /// The descriptors.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let outputs = [&self.access, &self.slow].into_iter().flatten();
        outputs.filter_map(|output| match &output.to {
            Way::File { file, .. } => Some(file.as_fd()),
            Way::Syslog { socket, .. } => socket.as_ref().map(AsFd::as_fd),
        })
    }
}

impl Way {
    fn of(path: PathBuf, file: File) -> Self {
        let is_regular = file.metadata().is_ok_and(|found| found.is_file());
        Self::File {
            path,
            file,
            is_regular,
        }
    }
}

impl LineOutput {
    fn new(option: &'static str, to: Way) -> Self {
        Self {
            to,
            option,
            lost: 0,
            reason: String::new(),
            told: None,
        }
    }

    fn open(option: &'static str, path: &Path) -> Result<Self, LineFileError> {
        let told = |error: io::Error| LineFileError {
            path: path.to_owned(),
            option,
            reason: reason(&error),
        };
        let path = std::path::absolute(path).map_err(told)?;
        let file = open(&path).map_err(told)?;
        Ok(Self::new(option, Way::of(path, file)))
    }

    fn write(&mut self, lines: &[u8], waits: &dyn Fn() -> bool) -> u64 {
        let mut left = lines;
        let lost = match self.put(&mut left, waits) {
            Ok(()) => 0,
            Err(error) => {
                self.reason = error.to_string();
                count(left)
            }
        };
        self.lost += lost;
        self.tell();
        lost
    }

    /// Writes lines, and takes those that were written off the front.
    fn put(&mut self, lines: &mut &[u8], waits: &dyn Fn() -> bool) -> io::Result<()> {
        match &mut self.to {
            Way::File {
                file,
                is_regular: true,
                ..
            } => {
                while !lines.is_empty() {
                    match file.write(lines) {
                        Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                        Ok(written) => *lines = &lines[written..],
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            Way::File { file, .. } => {
                while !lines.is_empty() {
                    await_room(file, waits)?;
                    match file.write(&lines[..piece(lines, PIPE)]) {
                        Ok(written) => *lines = &lines[written..],
                        Err(error) if is_for_later(&error) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            Way::Syslog {
                path,
                socket,
                looked,
            } => {
                let own = std::process::id();
                while !lines.is_empty() {
                    let end = lines.iter().position(|byte| *byte == b'\n');
                    let (line, behind) = lines.split_at(end.unwrap_or(lines.len()));
                    let line = &line[..line.len().min(SYSLOG)];
                    let mut message = format!("{PRIORITY}wsgi-gateway[{own}]: ").into_bytes();
                    message.extend_from_slice(line);
                    send(path, socket, looked, &message, waits)?;
                    *lines = behind.strip_prefix(b"\n").unwrap_or(behind);
                }
            }
        }
        Ok(())
    }

    /// Tells of lines that were lost, now and then.
    fn tell(&mut self) {
        let now = Instant::now();
        if self.lost > 0 && self.told.is_none_or(|last| now >= last + TOLD) {
            self.told = Some(now);
            let (lost, option, reason) = (self.lost, self.option, &self.reason);
            log::error!("{lost} lines of {option} were lost: {reason}");
            self.lost = 0;
        }
    }

    fn reopen(&mut self) {
        self.told = None;
        self.tell();
        let Way::File { path, .. } = &self.to else {
            return;
        };
        if path.as_os_str().is_empty() {
            return;
        }
        match open(path) {
            Ok(file) => self.to = Way::of(path.clone(), file),
            Err(error) => log::error!(
                "the file '{}' of {} cannot be opened anew: {}; the old one stays in use",
                path.display(),
                self.option,
                reason(&error)
            ),
        }
    }
}

impl Drop for LineOutput {
    fn drop(&mut self) {
        self.told = None;
        self.tell();
    }
}

/// As the log's own file is opened.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT;
    Entry::trusted(path)?.open(flags, 0o640)
}

fn is_for_later(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, WouldBlock};
    matches!(error.kind(), Interrupted | WouldBlock)
}

/// Waits until it can be written to, for as long as that is worth it.
fn await_room(out: &impl AsFd, waits: &dyn Fn() -> bool) -> io::Result<()> {
    const LOOK: u16 = 100;
    loop {
        let mut fds = [PollFd::new(out.as_fd(), PollFlags::POLLOUT)];
        if poll(&mut fds, PollTimeout::from(LOOK)).is_ok_and(|ready| ready > 0) {
            return Ok(());
        }
        if !waits() {
            return Err(io::Error::other("nobody reads them"));
        }
    }
}

/// Sends a message to the syslog, which is looked for again where it has gone.
fn send(
    path: &Path,
    socket: &mut Option<UnixDatagram>,
    looked: &mut Option<Instant>,
    message: &[u8],
    waits: &dyn Fn() -> bool,
) -> io::Result<()> {
    let mut is_new = false;
    loop {
        if socket.is_none() {
            let now = Instant::now();
            if looked.is_some_and(|last| now < last + Duration::from_secs(1)) {
                return Err(io::Error::other(format!(
                    "nobody listens on {}",
                    path.display()
                )));
            }
            let found = UnixDatagram::unbound()?;
            found.set_nonblocking(true)?;
            if let Err(error) = found.connect(path) {
                *looked = Some(now);
                return Err(io::Error::other(format!("{}: {error}", path.display())));
            }
            is_new = true;
            *socket = Some(found);
        }
        let Some(open) = socket else { continue };
        match open.send(message) {
            Ok(_) => return Ok(()),
            Err(error) if is_for_later(&error) => await_room(open, waits)?,
            Err(error) if is_new => return Err(error),
            // It was started again, and has another socket.
            Err(_) => *socket = None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LineFiles, LineKind};
    use std::fs;
    use std::os::unix::net::UnixDatagram;
    use std::path::Path;

    fn never() -> bool {
        false
    }

    #[test]
    fn lines_follow_a_file_that_is_moved_away() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("log"), folder.path().join("old"));
        let mut files = LineFiles::default();
        assert!(files.is_empty());
        files.open_access(&path).unwrap();
        assert_eq!(files.write(LineKind::Access, b"a\n", &never), 0);
        assert_eq!(files.write(LineKind::Slow, b"nowhere\n", &never), 0);
        fs::rename(&path, &old).unwrap();
        assert_eq!(files.write(LineKind::Access, b"b\n", &never), 0);
        files.reopen();
        assert_eq!(files.write(LineKind::Access, b"c\n", &never), 0);
        assert_eq!(fs::read(&old).unwrap(), b"a\nb\n");
        assert_eq!(fs::read(&path).unwrap(), b"c\n");
    }

    #[test]
    fn what_a_full_disk_does_not_take_is_counted() {
        let mut files = LineFiles::default();
        files.open_access(Path::new("/dev/full")).unwrap();
        assert_eq!(files.write(LineKind::Access, b"a\nb\n", &never), 2);
        assert!(files.open_slow(Path::new("/nonexistent/a")).is_err());
    }

    #[test]
    fn the_syslog_gets_a_line_a_message_and_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut files = LineFiles::default();
        files.access_to_syslog(&path);
        assert_eq!(files.write(LineKind::Access, b"a\n", &never), 1);
        let syslog = UnixDatagram::bind(&path).unwrap();
        let mut files = LineFiles::default();
        files.access_to_syslog(&path);
        assert_eq!(files.write(LineKind::Access, b"a\nb\n", &never), 0);
        let read = |syslog: &UnixDatagram| {
            let mut bytes = [0; 100];
            let length = syslog.recv(&mut bytes).unwrap();
            String::from_utf8(bytes[..length].to_vec()).unwrap()
        };
        let own = std::process::id();
        assert_eq!(read(&syslog), format!("<30>wsgi-gateway[{own}]: a"));
        assert!(read(&syslog).ends_with(": b"));
        drop(syslog);
        fs::remove_file(&path).unwrap();
        let syslog = UnixDatagram::bind(&path).unwrap();
        assert_eq!(files.write(LineKind::Access, b"c\n", &never), 0);
        assert!(read(&syslog).ends_with(": c"));
    }
}
