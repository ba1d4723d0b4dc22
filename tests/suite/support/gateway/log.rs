//! What a process writes to stderr.

use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Instant;

use super::DEADLINE;

/// The stderr of a process, read as it comes so that the process never waits for a reader.
#[derive(Default)]
pub(super) struct Log {
    shared: Arc<(Mutex<Written>, Condvar)>,
}

#[derive(Default)]
struct Written {
    text: Vec<u8>,
    /// Whether nobody has the other end open any more.
    ended: bool,
}

impl Log {
    pub(super) fn follow(mut pipe: impl std::io::Read + Send + 'static) -> Log {
        let log = Log::default();
        let shared = Arc::clone(&log.shared);
        thread::spawn(move || {
            let mut block = [0; 8192];
            while let Ok(length @ 1..) = pipe.read(&mut block) {
                shared.0.lock().unwrap().text.extend(&block[..length]);
                shared.1.notify_all();
            }
            shared.0.lock().unwrap().ended = true;
            shared.1.notify_all();
        });
        log
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.shared.0.lock().unwrap().text).into_owned()
    }

    #[track_caller]
    pub(super) fn wait_for(&self, needle: &str, count: usize) {
        let came = self.wait_until(|written| {
            let text = String::from_utf8_lossy(&written.text);
            text.matches(needle).count() >= count
        });
        assert!(
            came,
            "{needle:?} never came {count} times into the log:\n{}",
            self.text()
        );
    }

    /// The whole text of a process that has ended.
    #[track_caller]
    pub(super) fn finish(&self) -> String {
        let ended = self.wait_until(|written| written.ended);
        assert!(ended, "somebody still has its stderr: {}", self.text());
        self.text()
    }

    /// Waits for what is written, up to the deadline; says whether it came.
    fn wait_until(&self, what: impl Fn(&Written) -> bool) -> bool {
        let deadline = Instant::now() + DEADLINE;
        let mut written = self.shared.0.lock().unwrap();
        while !what(&written) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            written = self.shared.1.wait_timeout(written, left).unwrap().0;
        }
        true
    }
}
