//! The scoreboard: what every worker is doing, in memory that the master shares with it: read also when the worker has died.
//!
//! A worker has its own slot only, so that no locks are needed and none can say anything of another, and what is written here
//! costs a request some tens of nanoseconds. Any code in a worker can write there whatever it likes at any time: a reader
//! takes no number for a length or an index, and no sum of them for granted.

use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{ftruncate, gettid};

use super::counters::{ThreadCounters, WorkerCounters};
use super::memory;
use super::totals::Totals;
use crate::gateway::{Bookkeeper, Refusal, RequestFigures};

/// Bytes of a request's method and URI that are kept.
const SHOWN: usize = 512;
const WORDS: usize = SHOWN / 8;

/// Bytes of a request's id that are kept, which is all of one that was made here.
const ID: usize = 24;

/// Bytes of most of them.
const SHORT: usize = 128;

/// The slot of one application thread.
#[repr(C)]
struct Thread {
    /// When its request began, in nanoseconds of the monotonic clock; 0 while it has none.
    begun: AtomicU64,
    /// The kernel's number for it; 0 before it runs.
    tid: AtomicI32,
    length: AtomicU32,
    request: [AtomicU64; WORDS],
    /// Ends in zeroes where it is shorter.
    id: [AtomicU64; ID / 8],
    counters: ThreadCounters,
}

/// The slot of one worker, before those of its threads.
#[repr(C)]
struct WorkerFigures {
    /// Requests that were begun.
    requests: AtomicU64,
    /// When the last one ended, in nanoseconds of the monotonic clock.
    last: AtomicU64,
    /// Threads that are in a request.
    busy: AtomicU32,
    pad: u32,
    counters: WorkerCounters,
}

/// The shared memory.
#[derive(Debug)]
struct SharedMemory {
    at: NonNull<std::ffi::c_void>,
    length: NonZeroUsize,
    threads: usize,
}

// SAFETY: all that lies in the memory is atomic, and it is unmapped only with the last handle.
unsafe impl Send for SharedMemory {}
// SAFETY: as above.
unsafe impl Sync for SharedMemory {}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: mapped by `WorkerSlot::map` with this length, and no slot outlives its handle on this.
        let _ = unsafe { munmap(self.at, self.length.get()) };
    }
}

/// A request that is being served.
#[derive(Clone, Debug)]
pub struct Running {
    /// Which of the worker's threads serves it, from 0.
    pub thread: usize,
    /// The kernel's number of that thread.
    pub tid: i32,
    /// When it began: tells a thread's request from its next one.
    pub begun: u64,
    /// How long it has run.
    pub age: Duration,
    /// Its method and URI, cut where it is long.
    pub request: String,
    /// Its id, likewise.
    pub id: String,
}

/// The slot of one worker.
#[derive(Clone, Debug)]
pub struct WorkerSlot {
    memory: Arc<SharedMemory>,
}

/// The slot of one application thread.
#[derive(Clone, Debug)]
pub struct ThreadSlot {
    slot: WorkerSlot,
    thread: usize,
}

/// Bytes of one worker's slot: itself and its threads.
fn length(threads: usize) -> NonZeroUsize {
    let threads = threads.saturating_mul(size_of::<Thread>());
    NonZeroUsize::MIN.saturating_add(threads.saturating_add(size_of::<WorkerFigures>()) - 1)
}

/// Nanoseconds of the monotonic clock, which all processes share; never 0.
pub fn monotonic_now() -> u64 {
    let clock = ClockId::CLOCK_MONOTONIC;
    let now = clock_gettime(clock).map_or(Duration::ZERO, Duration::from);
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX).max(1)
}

impl WorkerSlot {
    /// A slot for a worker of so many threads, and what another process makes the same slot of.
    ///
    /// # Errors
    /// When the kernel has no memory or descriptors left.
    pub fn new(threads: usize) -> nix::Result<(Self, OwnedFd)> {
        let memory = memory::make(c"wsgi-gateway worker")?;
        let length = i64::try_from(length(threads).get()).map_err(|_| Errno::ENOMEM)?;
        ftruncate(&memory, length)?;
        // Who reads behind the end of a file that was made shorter is killed (SIGBUS in mmap(2)).
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&memory, FcntlArg::F_ADD_SEALS(seals))?;
        let slot = Self::map(&memory, threads)?;
        slot.begin_idling();
        Ok((slot, memory))
    }

    /// The slot that another process has made, for as many threads.
    ///
    /// # Errors
    /// When the kernel has no memory left.
    pub fn map(memory: impl AsFd, threads: usize) -> nix::Result<Self> {
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        Self::map_with(memory, threads, access)
    }

    /// The same without the right to write to it: whoever tries is killed.
    ///
    /// # Errors
    /// As [`WorkerSlot::map`].
    pub(super) fn map_to_read(memory: impl AsFd, threads: usize) -> nix::Result<Self> {
        Self::map_with(memory, threads, ProtFlags::PROT_READ)
    }

    fn map_with(memory: impl AsFd, threads: usize, access: ProtFlags) -> nix::Result<Self> {
        let length = length(threads);
        // SAFETY: a new mapping at a place of the kernel's choice touches nothing that exists.
        let at = unsafe { mmap(None, length, access, MapFlags::MAP_SHARED, memory, 0) }?;
        Ok(Self {
            memory: Arc::new(SharedMemory {
                at,
                length,
                threads,
            }),
        })
    }

    fn worker(&self) -> &WorkerFigures {
        // SAFETY: the mapping begins with it, is zeroed memory, valid for atomics, and aligned to a page.
        unsafe { self.memory.at.cast::<WorkerFigures>().as_ref() }
    }

    fn threads(&self) -> &[Thread] {
        // SAFETY: the worker's threads lie behind it in the mapping; sizes are multiples of eight.
        unsafe {
            let worker: *const WorkerFigures = self.worker();
            std::slice::from_raw_parts(worker.add(1).cast::<Thread>(), self.memory.threads)
        }
    }

    /// The time without a request is counted from now.
    pub fn begin_idling(&self) {
        self.worker().last.store(monotonic_now(), Ordering::Relaxed);
    }

    /// The slot of one of the worker's threads, from 0.
    pub fn thread_slot(&self, thread: usize) -> ThreadSlot {
        assert!(
            thread < self.memory.threads,
            "the board has no thread {thread}"
        );
        ThreadSlot {
            slot: self.clone(),
            thread,
        }
    }

    /// Requests that the worker has begun.
    pub fn requests(&self) -> u64 {
        self.worker().requests.load(Ordering::Relaxed)
    }

    /// What the worker has done since it began.
    pub fn totals(&self) -> Totals {
        let worker = self.worker();
        let mut totals = worker.counters.read();
        totals.requests = worker.requests.load(Ordering::Relaxed);
        for thread in self.threads() {
            thread.counters.add_to(&mut totals);
        }
        totals
    }

    /// A request ran longer than `--slow-log`.
    pub fn count_slow(&self) {
        WorkerCounters::count(&self.worker().counters.slow);
    }

    /// A request ran longer than `--request-timeout`.
    pub fn count_timeout(&self) {
        WorkerCounters::count(&self.worker().counters.timeouts);
    }

    /// So many lines of the access log were dropped.
    pub(super) fn count_dropped(&self, lines: u64) {
        let dropped = &self.worker().counters.log_dropped;
        dropped.fetch_add(lines, Ordering::Relaxed);
    }

    /// How many were.
    pub(super) fn dropped(&self) -> u64 {
        self.worker().counters.log_dropped.load(Ordering::Relaxed)
    }

    /// Whether all of the worker's threads are in requests.
    pub fn is_full(&self) -> bool {
        self.worker().busy.load(Ordering::Relaxed) as usize >= self.memory.threads
    }

    /// How long the worker has been without any request; nothing while it has one.
    pub fn idle(&self) -> Option<Duration> {
        let worker = self.worker();
        let last = worker.last.load(Ordering::Relaxed);
        let idle = worker.busy.load(Ordering::Relaxed) == 0;
        idle.then(|| Duration::from_nanos(monotonic_now().saturating_sub(last)))
    }

    /// The requests that the worker is serving, or was when it died.
    pub fn running(&self) -> Vec<Running> {
        let now = monotonic_now();
        let running = |(number, thread): (usize, &Thread)| {
            let begun = thread.begun.load(Ordering::Acquire);
            (begun != 0).then(|| Running {
                thread: number,
                tid: thread.tid.load(Ordering::Relaxed),
                begun,
                age: Duration::from_nanos(now.saturating_sub(begun)),
                request: thread.request(),
                id: thread.id(),
            })
        };
        self.threads()
            .iter()
            .enumerate()
            .filter_map(running)
            .collect()
    }
}

/// Writes whole words.
fn store(words: &[AtomicU64], bytes: &[u8]) {
    for (word, bytes) in words.iter().zip(bytes.chunks_exact(8)) {
        let bytes = <[u8; 8]>::try_from(bytes).unwrap_or_default();
        word.store(u64::from_ne_bytes(bytes), Ordering::Relaxed);
    }
}

fn load(words: &[AtomicU64]) -> impl Iterator<Item = u8> {
    let words = words.iter();
    words.flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes())
}

impl Bookkeeper for WorkerSlot {
    fn opened(&self) {
        WorkerCounters::count(&self.worker().counters.opened);
    }

    fn closed(&self) {
        WorkerCounters::count(&self.worker().counters.closed);
    }

    fn refused(&self, reason: Refusal) {
        self.worker().counters.count_refusal(reason);
    }

    fn answered(&self, status: u16) {
        self.worker().counters.count_answer(status);
    }

    fn was_left(&self) {
        self.worker().counters.count_left();
    }
}

impl Thread {
    /// Writes down the request, through a buffer of zeroes whose length is one of whole words.
    fn show(&self, parts: [&[u8]; 4], bytes: &mut [u8]) {
        let mut at = 0;
        for part in parts {
            let fits = part.len().min(bytes.len() - at);
            bytes[at..at + fits].copy_from_slice(&part[..fits]);
            at += fits;
        }
        store(&self.request, &bytes[..at.next_multiple_of(8)]);
    }

    fn show_id(&self, id: &[u8]) {
        let mut bytes = [0; ID];
        let fits = id.len().min(ID);
        bytes[..fits].copy_from_slice(&id[..fits]);
        store(&self.id, &bytes);
    }

    fn id(&self) -> String {
        let bytes: Vec<u8> = load(&self.id).take_while(|byte| *byte != 0).collect();
        bytes.escape_ascii().to_string()
    }

    fn request(&self) -> String {
        let length = self.length.load(Ordering::Relaxed) as usize;
        let bytes: Vec<u8> = load(&self.request).take(length).collect();
        let shown = bytes.escape_ascii().to_string();
        if length > SHOWN { shown + "..." } else { shown }
    }
}

impl ThreadSlot {
    fn thread(&self) -> &Thread {
        &self.slot.threads()[self.thread]
    }

    /// To be called by the thread itself before it serves.
    pub fn take(&self) {
        self.thread()
            .tid
            .store(gettid().as_raw(), Ordering::Relaxed);
    }

    /// Its number, from 0.
    pub fn number(&self) -> usize {
        self.thread
    }

    /// A request begins, now: `begun` is that in nanoseconds of the monotonic clock, and [`Running::begun`].
    pub fn begin(&self, begun: u64, method: &[u8], uri: [&[u8]; 2], id: &str) {
        let thread = self.thread();
        thread.show_id(id.as_bytes());
        let parts = [method, b" ", uri[0], uri[1]];
        let length: usize = parts.iter().map(|part| part.len()).sum();
        // Most are short, and room for the longest would have to be cleared first.
        if length <= SHORT {
            thread.show(parts, &mut [0; SHORT]);
        } else {
            thread.show(parts, &mut [0; SHOWN]);
        }
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        thread.length.store(length, Ordering::Relaxed);
        let worker = self.slot.worker();
        worker.requests.fetch_add(1, Ordering::Relaxed);
        thread.begun.store(begun, Ordering::Release);
        worker.busy.fetch_add(1, Ordering::Relaxed);
    }

    /// The request that began then has ended, and this came of it. Gives how many the worker has begun, and the nanoseconds that
    /// this one took.
    pub fn end(&self, begun: u64, request: &RequestFigures) -> (u64, u64) {
        let (thread, worker, now) = (self.thread(), self.slot.worker(), monotonic_now());
        thread.begun.store(0, Ordering::Release);
        let duration = now.saturating_sub(begun);
        thread.counters.count(duration, request);
        worker.last.store(now, Ordering::Relaxed);
        worker.busy.fetch_sub(1, Ordering::Relaxed);
        (worker.requests.load(Ordering::Relaxed), duration)
    }
}

#[cfg(test)]
mod tests {
    use super::{WorkerSlot, monotonic_now as now};
    use crate::gateway::{Bookkeeper as _, FailureKind, Refusal, RequestFigures};
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn a_slot_tells_what_runs() {
        let (slot, memory) = WorkerSlot::new(2).unwrap();
        assert!(slot.idle().is_some() && !slot.is_full());
        let worker = WorkerSlot::map(&memory, 2).unwrap();
        let threads = [worker.thread_slot(0), worker.thread_slot(1)];
        threads[0].take();
        threads[1].begin(now(), b"GET", [b"/a\n", b""], "7f3a");
        let running = slot.running();
        assert_eq!(running.len(), 1);
        assert_eq!(
            (running[0].request.as_str(), running[0].id.as_str()),
            ("GET /a\\n", "7f3a")
        );
        assert!(slot.idle().is_none());
        threads[0].begin(now(), b"POST", [&[b'x'; 600], b""], &"y".repeat(30));
        assert!(slot.is_full());
        assert!(slot.running()[0].request.ends_with("xxx..."));
        assert_eq!(slot.running()[0].id, "y".repeat(24));
        assert_eq!(threads[0].end(now(), &RequestFigures::default()).0, 2);
        threads[1].end(now(), &RequestFigures::default());
        assert!(slot.running().is_empty() && slot.idle().is_some());
    }

    #[test]
    fn a_slot_adds_up_what_its_threads_have_counted() {
        let (slot, memory) = WorkerSlot::new(2).unwrap();
        let worker = WorkerSlot::map(&memory, 2).unwrap();
        let request = RequestFigures {
            waited: 3_000_000,
            status: Some(404),
            is_counted: false,
            received: 7,
            sent: 5,
            failure: Some(FailureKind::Protocol),
            was_left: true,
        };
        for thread in 0..2 {
            let thread = worker.thread_slot(thread);
            let begun = now() - 2_000_000_000;
            thread.begin(begun, b"GET", [b"/", b""], "");
            thread.end(begun, &request);
        }
        worker.refused(Refusal::IoTimeout);
        worker.answered(503);
        worker.opened();
        worker.opened();
        worker.closed();
        worker.was_left();
        worker.count_slow();
        worker.count_timeout();
        let totals = slot.totals();
        assert_eq!(totals.requests, 2);
        assert_eq!(totals.answers, [0, 0, 0, 2, 1]);
        assert_eq!((totals.received, totals.sent), (14, 10));
        assert_eq!(
            (totals.duration.count(), totals.duration.counts[10]),
            (2, 2)
        );
        assert!(totals.duration.sum >= 4_000_000, "{totals:?}");
        assert_eq!((totals.waited.counts[2], totals.waited.sum), (2, 6_000));
        assert_eq!((totals.failures.protocol, totals.client_aborts), (2, 3));
        assert_eq!((totals.refused.io_timeout, totals.connections), (1, 1));
        assert_eq!((totals.slow, totals.timeouts), (1, 1));
    }

    /// Else reading the slot would end the master.
    #[test]
    fn a_worker_cannot_make_its_slot_smaller() {
        let (slot, memory) = WorkerSlot::new(1).unwrap();
        assert!(nix::unistd::ftruncate(&memory, 0).is_err());
        assert!(nix::unistd::ftruncate(&memory, 1 << 20).is_err());
        assert_eq!(slot.requests(), 0);
    }

    #[test]
    fn whatever_stands_in_a_slot_can_be_read() {
        let (slot, _memory) = WorkerSlot::new(1).unwrap();
        for small in [0, 1, u32::MAX / 2, u32::MAX] {
            let value = u64::from(small) << 32 | u64::from(small);
            let all = slot.memory.at.cast::<AtomicU64>();
            for word in 0..slot.memory.length.get() / size_of::<AtomicU64>() {
                // SAFETY: so many words are mapped, and whatever lies there is atomic and any bits are valid for it.
                unsafe { all.add(word).as_ref() }.store(value, Ordering::Relaxed);
            }
            let _ = (slot.idle(), slot.is_full(), slot.requests());
            let _ = (slot.totals(), slot.totals().duration.quantile(0.5));
            assert!(slot.running().iter().all(|it| it.request.len() < 4096));
        }
    }
}
