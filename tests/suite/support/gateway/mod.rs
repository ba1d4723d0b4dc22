//! Starts the real binary and watches it, as an operator would. Knows nothing of the protocol.
//!
//! What is started is the master; the application runs in its workers, of which there is one unless a test says otherwise.

mod builder;
mod fifo;
mod log;

use std::ffi::OsString;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

pub(crate) use builder::Builder;
pub(crate) use fifo::{Fifo, open_unwaiting};

use log::Log;

use crate::support::process_table::{self, children, is_alive, status_kib, title};
use crate::support::wait;

/// How long anything may take before a test gives up. It says "broken", never "slow".
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// The folder of the test applications.
pub(crate) fn apps() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apps")
}

/// The virtual environment with the frameworks that some tests serve.
pub(crate) fn venv() -> PathBuf {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-venv");
    assert!(
        venv.join("pyvenv.cfg").exists(),
        "{} is missing: run scripts/test, which makes it",
        venv.display()
    );
    venv
}

/// The binary under test.
pub(crate) fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_wsgi-gateway"))
}

/// Puts the binary there, by a link where both are on one disk, and the core where it looks for it.
pub(crate) fn install(at: &Path) {
    let put = |from: &Path, to: &Path| {
        fs::hard_link(from, to)
            .or_else(|_| fs::copy(from, to).map(drop))
            .unwrap();
    };
    let core = "deps/libwsgi_gateway_core.so";
    put(&binary(), at);
    fs::create_dir_all(at.with_file_name("deps")).unwrap();
    if !at.with_file_name(core).exists() {
        put(&binary().with_file_name(core), &at.with_file_name(core));
    }
}

/// The Python that the core in the build tree is for.
pub(crate) fn python() -> PathBuf {
    PathBuf::from(option_env!("PYO3_PYTHON").unwrap_or("/usr/bin/python3"))
}

/// PATH with that in front.
pub(crate) fn path() -> OsString {
    let python = python();
    let mut path = python.parent().unwrap().as_os_str().to_owned();
    if let Some(usual) = std::env::var_os("PATH") {
        path.push(":");
        path.push(usual);
    }
    path
}

/// A running FastCGI responder. Dropping it kills it, with its workers.
pub(crate) struct Gateway {
    child: Child,
    /// Whether it serves by itself: a process that a web server has started with a listening fd 0.
    alone: bool,
    socket: PathBuf,
    address: Option<SocketAddr>,
    log: Log,
    // Last, so that the folder goes after the process that has a socket in it.
    folder: Arc<TempDir>,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Exit {
    /// The exit code, or minus the signal that ended it.
    pub(crate) code: i32,
    /// Everything it wrote to stderr.
    pub(crate) log: String,
}

impl Gateway {
    /// Starts `wsgi-gateway fastcgi --bind unix:<folder>/gateway.sock --workers 1 OPTIONS APP` in `tests/apps` and
    /// waits until it answers a connect. Options that say `--workers` have it their way.
    pub(crate) fn start(app: &str, options: &[&str]) -> Gateway {
        Gateway::builder(app).args(options).start()
    }

    pub(crate) fn builder(app: &str) -> Builder {
        Builder::new(app)
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Where it listens after `bind_tcp`.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address.expect("started with bind_tcp")
    }

    /// The test's own folder, gone with the gateway.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The process that was started: the master.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The workers there are, by their titles: what the application has left behind may be among the master's children.
    pub(crate) fn workers(&self) -> Vec<u32> {
        if self.alone {
            return vec![self.pid()];
        }
        let mut found = children(self.pid());
        found.retain(|pid| title(*pid).starts_with("wsgi-gateway: worker ") && is_alive(*pid));
        found
    }

    /// The only worker, as soon as there is one that has its title.
    #[track_caller]
    pub(crate) fn worker(&self) -> u32 {
        self.wait_for_workers(1)[0]
    }

    /// Waits until there are so many workers, ready or not.
    #[track_caller]
    pub(crate) fn wait_for_workers(&self, count: usize) -> Vec<u32> {
        self.wait_for(&format!("{count} workers"), || {
            Some(self.workers()).filter(|workers| workers.len() == count)
        })
    }

    /// Waits until all workers of the first start are ready, as the log says it.
    #[track_caller]
    pub(crate) fn wait_until_ready(&self, count: usize) -> Vec<u32> {
        self.wait_for_count(READY, count);
        self.wait_for_workers(count)
    }

    /// Asks until there is an answer. For what the kernel tells nobody: a process that has come or gone, a file.
    #[track_caller]
    pub(crate) fn wait_for<T>(&self, what: &str, ask: impl FnMut() -> Option<T>) -> T {
        wait::answer(ask, || {
            let children = children(self.pid());
            format!("{what}: never so; the master's children are {children:?}")
        })
    }

    /// Everything it has written to stderr so far.
    pub(crate) fn log(&self) -> String {
        self.log.text()
    }

    #[track_caller]
    pub(crate) fn wait_for_log(&self, needle: &str) {
        self.log.wait_for(needle, 1);
    }

    /// Waits until it has been written so many times.
    #[track_caller]
    pub(crate) fn wait_for_count(&self, needle: &str, count: usize) {
        self.log.wait_for(needle, count);
    }

    /// The first line with all of these words, as soon as there is one.
    #[track_caller]
    pub(crate) fn wait_for_line(&self, words: &[&str]) -> String {
        self.wait_for(&format!("a line with {words:?}"), || {
            let log = self.log();
            let mut lines = log.lines();
            let found = lines.find(|line| words.iter().all(|word| line.contains(word)));
            found.map(str::to_owned)
        })
    }

    /// SIGHUP, and waits for how it went: `true` when the new generation serves.
    #[track_caller]
    pub(crate) fn reload(&self) -> bool {
        let count = |log: &str| [DONE, FAILED].map(|phrase| log.matches(phrase).count());
        let [done, failed] = count(&self.log());
        self.signal(Signal::SIGHUP);
        let log = self.wait_for("the reload is over", || {
            Some(self.log()).filter(|log| count(log) != [done, failed])
        });
        count(&log)[0] > done
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(pid(&self.child), signal).unwrap();
    }

    /// SIGTERM, and waits until the process has taken it: from then on it is on its way out.
    pub(crate) fn begin_to_terminate(&self) {
        self.signal(Signal::SIGTERM);
        let deadline = Instant::now() + DEADLINE;
        // SigPnd and ShdPnd are the signals that have not been delivered, the first signal in bit 0.
        // No file, or a zombie: the process has ended already.
        while let Ok(status) = fs::read_to_string(format!("/proc/{}/status", self.pid())) {
            if status.contains("\nState:\tZ") {
                return;
            }
            let pending = status
                .lines()
                .filter_map(|line| {
                    line.strip_prefix("SigPnd:")
                        .or_else(|| line.strip_prefix("ShdPnd:"))
                })
                .map(|mask| u64::from_str_radix(mask.trim(), 16).unwrap());
            if pending.fold(0, |all, mask| all | mask) & (1 << (Signal::SIGTERM as u32 - 1)) == 0 {
                return;
            }
            assert!(Instant::now() < deadline, "SIGTERM is never taken");
            thread::yield_now();
        }
    }

    /// SIGTERM, then waits for the end.
    pub(crate) fn terminate(self) -> Exit {
        self.signal(Signal::SIGTERM);
        self.wait()
    }

    /// Waits until it ends by itself, and its workers with it.
    pub(crate) fn wait(mut self) -> Exit {
        let workers = self.workers();
        let status = wait(&mut self.child, &self.log);
        self.wait_for("no worker", || {
            (!workers.iter().any(|worker| is_alive(*worker))).then_some(())
        });
        Exit {
            code: code(status),
            log: self.log.finish(),
        }
    }

    /// Whether the process is still there.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Whether it still serves with the worker that it began with: a worker that has died is replaced, so that the
    /// answers alone would not show it.
    pub(crate) fn is_unharmed(&mut self) -> bool {
        let log = self.log();
        let ended = log.lines().any(|line| line.contains(") ended"));
        self.is_running() && !ended && self.first_worker().is_none_or(is_alive)
    }

    /// The worker that was ready first, if one has been.
    fn first_worker(&self) -> Option<u32> {
        let log = self.log();
        let (before, _) = log.split_once(READY)?;
        before.rsplit_once("(pid ")?.1.parse().ok()
    }

    /// Resident memory of the worker.
    pub(crate) fn rss_kib(&self) -> u64 {
        status_kib(self.worker(), "VmRSS").unwrap()
    }

    /// The most resident memory that the worker ever had.
    pub(crate) fn peak_rss_kib(&self) -> u64 {
        status_kib(self.worker(), "VmHWM").unwrap()
    }

    /// Open file descriptors of the worker.
    pub(crate) fn fd_count(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.worker()))
            .unwrap()
            .count()
    }
}

/// What the log says of each worker that can serve.
pub(crate) const READY: &str = ") is ready";

/// What the log says at the end of a reload.
const DONE: &str = "reload: done";
const FAILED: &str = "reload: failed";

impl Drop for Gateway {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            // Stopped first, so that it starts no more of them.
            self.signal(Signal::SIGSTOP);
            let children = children(self.pid());
            self.child.kill().unwrap();
            self.child.wait().unwrap();
            // They follow by themselves, which a test of its own looks at; the next test is not to wait for that.
            for child in &children {
                process_table::send(*child, Signal::SIGKILL);
            }
            let deadline = Instant::now() + DEADLINE;
            while children.iter().any(|child| is_alive(*child)) && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(1));
            }
        }
        if thread::panicking() {
            eprintln!("---- log of the gateway\n{}----", self.log.text());
        }
    }
}

/// A port that nobody listens on, of the loopback address given with port 0.
pub(crate) fn free_port(address: &str) -> SocketAddr {
    TcpListener::bind(address).unwrap().local_addr().unwrap()
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap())
}

fn code(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| -status.signal().unwrap_or(0))
}

fn wait(child: &mut Child, log: &Log) -> ExitStatus {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the gateway does not end; its log:\n{}", log.text());
        }
        thread::sleep(Duration::from_millis(5));
    }
}
