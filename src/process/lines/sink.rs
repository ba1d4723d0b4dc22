//! A worker's lines until they are on their way: whoever has one puts it into memory, and a thread of its own sends what has
//! come, so that a request costs no system call and a busy worker sends many lines at once.

use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, sendmsg};

use super::super::scoreboard::WorkerSlot;
use super::output::LineFiles;
use super::{LineKind, PIECE, count, piece};
use crate::gateway::forked;

/// How long a line waits for others.
const GATHER: Duration = Duration::from_millis(50);

/// Bytes of lines that wait, at the most; beyond it they are dropped.
const MOST: usize = 1 << 20;

/// How long it takes, at the most, until what there is has been sent at the end.
const LAST: Duration = Duration::from_secs(1);

/// How often lines that were dropped are told of, at the most.
const TOLD: Duration = Duration::from_secs(10);

/// Where a worker's lines go.
#[derive(Debug)]
pub struct LineSink {
    waiting: Mutex<WaitingLines>,
    /// There are lines, or there is something else to do.
    come: Condvar,
    /// What there was has been sent.
    sent: Condvar,
    slot: WorkerSlot,
}

#[derive(Debug, Default)]
struct WaitingLines {
    access: Vec<u8>,
    slow: Vec<u8>,
    /// Whether the thread waits for lines, and not only for more of them.
    sleeps: bool,
    /// Whether what there is is to be sent without waiting for more.
    hurries: bool,
    /// Whether the thread is sending.
    sends: bool,
    reopens: bool,
}

/// Lines that were dropped, as far as they were told of: how many of them, and when.
struct ToldLosses {
    slot: WorkerSlot,
    told: Cell<(u64, Option<Instant>)>,
}

/// Where the thread sends them.
enum Outlet {
    Writer(OwnedFd),
    Own(Box<LineFiles>),
}

impl LineSink {
    /// A sink from which lines go to the writer that has the other end of this socket. What is dropped is counted in the slot.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn to_writer(socket: OwnedFd, slot: WorkerSlot) -> std::io::Result<Arc<Self>> {
        // The application's children would hold up the end of the lines.
        forked::close_in_child(socket.as_raw_fd());
        Self::start(Outlet::Writer(socket), slot)
    }

    /// A sink from which they go to these files, for a worker without a master.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn to_files(files: LineFiles, slot: WorkerSlot) -> std::io::Result<Arc<Self>> {
        Self::start(Outlet::Own(Box::new(files)), slot)
    }

    fn start(outlet: Outlet, slot: WorkerSlot) -> std::io::Result<Arc<Self>> {
        let sink = Arc::new(Self {
            waiting: Mutex::default(),
            come: Condvar::new(),
            sent: Condvar::new(),
            slot,
        });
        let own = Arc::clone(&sink);
        std::thread::Builder::new()
            .name("log lines".to_owned())
            .spawn(move || own.run(outlet))?;
        Ok(sink)
    }

    fn lock(&self) -> MutexGuard<'_, WaitingLines> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts what `write` appends: whole lines. Never waits.
    pub fn put(&self, kind: LineKind, write: impl FnOnce(&mut Vec<u8>)) {
        // Another thread may have had the lock when the child was made.
        if forked::is_child() {
            return;
        }
        let mut waiting = self.lock();
        let lines = waiting.of(kind);
        if lines.len() >= MOST {
            drop(waiting);
            return self.slot.count_dropped(1);
        }
        write(lines);
        let is_much = lines.len() >= PIECE && !waiting.hurries;
        waiting.hurries |= is_much;
        if waiting.sleeps || is_much {
            waiting.sleeps = false;
            drop(waiting);
            self.come.notify_one();
        }
    }

    /// Has files of this process's own opened anew, when what has come before has been written.
    pub fn reopen(&self) {
        let mut waiting = self.lock();
        waiting.reopens = true;
        waiting.hurries = true;
        waiting.sleeps = false;
        drop(waiting);
        self.come.notify_one();
    }

    /// Waits until what has come has been sent, but not for long.
    pub fn flush(&self) {
        if forked::is_child() {
            return;
        }
        let mut waiting = self.lock();
        waiting.hurries = true;
        waiting.sleeps = false;
        self.come.notify_one();
        let is_left =
            |waiting: &mut WaitingLines| !waiting.is_empty() || waiting.reopens || waiting.sends;
        let waited = self.sent.wait_timeout_while(waiting, LAST, is_left);
        drop(waited);
    }

    fn run(&self, mut outlet: Outlet) {
        let losses = ToldLosses {
            slot: self.slot.clone(),
            told: Cell::default(),
        };
        let mut lines = [Vec::new(), Vec::new()];
        loop {
            let reopens = self.take(&mut lines);
            for (kind, lines) in LineKind::ALL.into_iter().zip(&mut lines) {
                let lost = outlet.send(kind, lines, &losses);
                if lost > 0 {
                    self.slot.count_dropped(lost);
                }
                lines.clear();
                lines.shrink_to(2 * PIECE);
            }
            if let (Outlet::Own(files), true) = (&mut outlet, reopens) {
                files.reopen();
            }
            self.lock().sends = false;
            self.sent.notify_all();
            losses.tell();
        }
    }

    /// Waits for lines, and for a moment for more of them, and takes them. Whether files are to be opened anew behind them.
    fn take(&self, lines: &mut [Vec<u8>; 2]) -> bool {
        let mut waiting = self.lock();
        while waiting.is_empty() && !waiting.reopens {
            waiting.hurries = false;
            waiting.sleeps = true;
            let woken = self.come.wait(waiting);
            waiting = woken.unwrap_or_else(PoisonError::into_inner);
        }
        let gathers = |waiting: &mut WaitingLines| !waiting.hurries;
        let gathered = self.come.wait_timeout_while(waiting, GATHER, gathers);
        let (mut waiting, _) = gathered.unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut waiting.access, &mut lines[0]);
        std::mem::swap(&mut waiting.slow, &mut lines[1]);
        waiting.sleeps = false;
        waiting.hurries = false;
        waiting.sends = true;
        std::mem::take(&mut waiting.reopens)
    }
}

impl WaitingLines {
    fn of(&mut self, kind: LineKind) -> &mut Vec<u8> {
        match kind {
            LineKind::Access => &mut self.access,
            LineKind::Slow => &mut self.slow,
        }
    }

    fn is_empty(&self) -> bool {
        self.access.is_empty() && self.slow.is_empty()
    }
}

impl Outlet {
    /// Sends lines. Gives how many were lost.
    fn send(&mut self, kind: LineKind, lines: &[u8], losses: &ToldLosses) -> u64 {
        match self {
            // More lines come meanwhile, and those for which there is no room are dropped.
            Self::Own(files) => files.write(kind, lines, &|| {
                losses.tell();
                true
            }),
            Self::Writer(socket) => {
                let mut left = lines;
                while !left.is_empty() {
                    let (now, behind) = left.split_at(piece(left, PIECE));
                    if send(socket, kind.byte(), now, losses).is_err() {
                        return count(left);
                    }
                    left = behind;
                }
                0
            }
        }
    }
}

impl ToldLosses {
    /// Tells of lines that were dropped, now and then.
    fn tell(&self) {
        let now = Instant::now();
        let (dropped, last) = self.told.get();
        let all = self.slot.dropped();
        if all > dropped && last.is_none_or(|last| now >= last + TOLD) {
            self.told.set((all, Some(now)));
            log::warn!(
                "{} lines of --access-log or --slow-log-file were dropped: the disk, or who reads them, is too slow",
                all - dropped
            );
        }
    }
}

/// Sends a message, when there is room for it.
fn send(socket: &OwnedFd, kind: u8, lines: &[u8], losses: &ToldLosses) -> nix::Result<()> {
    /// How often it is looked whether lines were dropped meanwhile.
    const LOOK: u16 = 100;
    let kind = [kind];
    let parts = [std::io::IoSlice::new(&kind), std::io::IoSlice::new(lines)];
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    loop {
        match sendmsg::<()>(socket.as_raw_fd(), &parts, &[], flags, None) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN | Errno::ENOBUFS) => {
                let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
                let _ = poll(&mut fds, PollTimeout::from(LOOK));
                losses.tell();
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LineFiles, LineKind};
    use super::{LineSink, MOST};
    use crate::process::WorkerSlot;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, recv, socketpair};
    use std::os::fd::AsRawFd;
    use std::sync::Arc;

    #[test]
    fn lines_of_many_threads_arrive_whole_and_what_has_no_room_is_counted() {
        let (slot, _) = WorkerSlot::new(1).unwrap();
        let flags = SockFlag::SOCK_CLOEXEC;
        let (to, from) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
        let sink = LineSink::to_writer(to, slot.clone()).unwrap();
        let line = format!("{}\n", "x".repeat(999));
        // Nobody reads: what the kernel and the sink hold is less than that.
        const LINES: usize = 8 * MOST / 1000;
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..LINES / 2 {
                        sink.put(LineKind::Access, |out| {
                            out.extend_from_slice(line.as_bytes());
                        });
                    }
                });
            }
        });
        let dropped = usize::try_from(slot.totals().log_dropped).unwrap();
        assert!(dropped > 0 && dropped < LINES, "{dropped}");
        let mut bytes = vec![0; 128 * 1024];
        let mut lines = 0;
        while lines < LINES - dropped {
            let length = recv(
                from.as_raw_fd(),
                &mut bytes,
                nix::sys::socket::MsgFlags::empty(),
            )
            .unwrap();
            let (kind, text) = bytes[..length].split_first().unwrap();
            assert_eq!(*kind, b'A');
            let text = std::str::from_utf8(text).unwrap();
            assert!(text.lines().all(|found| found.len() == 999));
            lines += text.lines().count();
        }
        assert_eq!(lines, LINES - dropped);
        drop(from);
    }

    #[test]
    fn a_sink_with_files_writes_before_it_opens_them_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("log"), folder.path().join("old"));
        let mut files = LineFiles::default();
        files.open_access(&path).unwrap();
        files.open_slow(&folder.path().join("slow")).unwrap();
        let (slot, _) = WorkerSlot::new(1).unwrap();
        let sink: Arc<LineSink> = LineSink::to_files(files, slot).unwrap();
        let put = |kind, line: &str| {
            sink.put(kind, |out| out.extend_from_slice(line.as_bytes()));
        };
        put(LineKind::Access, "a\n");
        std::fs::rename(&path, &old).unwrap();
        sink.reopen();
        sink.flush();
        put(LineKind::Access, "b\n");
        put(LineKind::Slow, "c\n");
        sink.flush();
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(
            (read("old"), read("log"), read("slow")),
            ("a\n".into(), "b\n".into(), "c\n".into())
        );
    }
}
