//! Starts the real binary and watches it, as an operator would. Knows nothing of the protocol.
//!
//! What is started is the master; the application runs in its workers, of which there is one unless a test says otherwise.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::support::process_table::{self, children, is_alive, status_kib, title};

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

/// A folder for the control sockets of gateways that a test says nothing of, where every user may make one.
fn control_folder() -> &'static Path {
    let folder = Path::new("/tmp/wsgi.gateway.tests");
    let _ = fs::create_dir(folder);
    let _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o1777));
    folder
}

/// The binary as a command with nothing in its environment that would change its mind: no trace of a
/// CGI request, of socket activation or of another Python.
fn command(binary: &Path, shell: Option<&str>) -> Command {
    let mut command = Command::new(binary);
    if let Some(line) = shell {
        command = Command::new("/bin/sh");
        command.args(["-c", line, "sh"]).arg(binary);
    }
    for name in [
        "REQUEST_METHOD",
        "GATEWAY_INTERFACE",
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_FDNAMES",
        "NOTIFY_SOCKET",
        "FCGI_WEB_SERVER_ADDRS",
        "VIRTUAL_ENV",
        "PYTHONHOME",
        "PYTHONPATH",
        "RUST_LOG",
    ] {
        command.env_remove(name);
    }
    for (name, _) in std::env::vars_os() {
        if name.as_bytes().starts_with(b"WSGI_GATEWAY_") {
            command.env_remove(name);
        }
    }
    command.env("PATH", path());
    // What the tests of one gateway start is none of another's business.
    command.env("RUNTIME_DIRECTORY", control_folder());
    // The folder of the applications is part of the source tree: nothing is written there.
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
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
    pub(crate) fn wait_for<T>(&self, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            assert!(
                Instant::now() < deadline,
                "{what}: never so; the master's children are {:?}",
                children(self.pid())
            );
            thread::sleep(Duration::from_millis(5));
        }
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

/// What is said about a start that is not the usual one.
pub(crate) struct Builder {
    program: PathBuf,
    app: OsString,
    door: Option<&'static str>,
    args: Vec<OsString>,
    envs: Vec<(OsString, OsString)>,
    clean_environment: bool,
    cwd: PathBuf,
    binds: Vec<OsString>,
    stdin: Option<OwnedFd>,
    uid: Option<u32>,
    shell: Option<&'static str>,
    socket: PathBuf,
    address: Option<SocketAddr>,
    ready: Ready,
    one_worker: bool,
    folder: Arc<TempDir>,
}

/// What a start waits for.
enum Ready {
    Unix,
    Tcp,
    /// A line in the log: where a connect would succeed before the process is there.
    Log,
}

impl Builder {
    fn new(app: &str) -> Builder {
        let folder = Arc::new(TempDir::with_prefix("wsgi-gateway-test-").unwrap());
        Builder {
            program: binary(),
            app: app.into(),
            door: Some("fastcgi"),
            args: Vec::new(),
            envs: Vec::new(),
            clean_environment: false,
            cwd: apps(),
            binds: Vec::new(),
            stdin: None,
            uid: None,
            shell: None,
            socket: folder.path().join("gateway.sock"),
            address: None,
            ready: Ready::Unix,
            one_worker: true,
            folder,
        }
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Builder {
        self.args.push(arg.as_ref().into());
        self
    }

    pub(crate) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Builder {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().into()));
        self
    }

    pub(crate) fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Builder {
        self.envs
            .push((name.as_ref().into(), value.as_ref().into()));
        self
    }

    /// Nothing in the environment but what `env` adds: what a web server that spawns gives.
    pub(crate) fn clean_environment(mut self) -> Builder {
        self.clean_environment = true;
        self
    }

    pub(crate) fn cwd(mut self, cwd: impl Into<PathBuf>) -> Builder {
        self.cwd = cwd.into();
        self
    }

    /// The socket at a place of the test's choice.
    pub(crate) fn socket(mut self, path: impl Into<PathBuf>) -> Builder {
        self.socket = path.into();
        self
    }

    /// One `--bind` as given, instead of the socket in the folder; readiness is then read in the log.
    pub(crate) fn bind(mut self, address: impl AsRef<OsStr>) -> Builder {
        self.binds.push(address.as_ref().into());
        self.ready = Ready::Log;
        self
    }

    /// On a free port of 127.0.0.1.
    pub(crate) fn bind_tcp(self) -> Builder {
        let address = free_port("127.0.0.1:0");
        self.bind_address(address)
    }

    pub(crate) fn bind_address(mut self, address: SocketAddr) -> Builder {
        self.binds.push(format!("tcp:{address}").into());
        self.address = Some(address);
        self.ready = Ready::Tcp;
        self
    }

    /// As many workers as there are without a word about it on the command line.
    pub(crate) fn workers_by_default(mut self) -> Builder {
        self.one_worker = false;
        self
    }

    /// A connect, which asks whether it is there, would be the first request for a worker on demand.
    pub(crate) fn ready_by_log(mut self) -> Builder {
        self.ready = Ready::Log;
        self
    }

    /// The descriptor is the child's fd 0, as a web server that spawns its responder does it.
    pub(crate) fn stdin(mut self, fd: impl Into<OwnedFd>) -> Builder {
        self.stdin = Some(fd.into());
        self.ready = Ready::Log;
        self
    }

    /// Started by that user, who is given the folder and in it a copy of the binary: where it is built nobody else may be
    /// let in.
    pub(crate) fn uid(mut self, uid: u32) -> Builder {
        self.uid = Some(uid);
        self
    }

    /// The binary where it is installed, with cores of its own.
    pub(crate) fn program(mut self, program: impl Into<PathBuf>) -> Builder {
        self.program = program.into();
        self
    }

    /// Started by a line of shell that ends in `exec "$@"`: for what only the process itself can
    /// arrange, such as a descriptor of a certain number or LISTEN_PID.
    pub(crate) fn shell(mut self, line: &'static str) -> Builder {
        self.shell = Some(line);
        self
    }

    /// Without the word `fastcgi` and without `--bind`: fd 0 tells.
    pub(crate) fn auto_door(mut self) -> Builder {
        self.door = None;
        self
    }

    pub(crate) fn folder(&self) -> Arc<TempDir> {
        Arc::clone(&self.folder)
    }

    /// The socket that the next start will have.
    pub(crate) fn socket_path(&self) -> PathBuf {
        self.socket.clone()
    }

    /// Starts it and waits until it serves. Panics with its stderr if it ends instead.
    pub(crate) fn start(self) -> Gateway {
        let mut gateway = self.spawn();
        let deadline = Instant::now() + DEADLINE;
        loop {
            let serves = match gateway.1 {
                Ready::Unix => UnixStream::connect(&gateway.0.socket).is_ok(),
                Ready::Tcp => TcpStream::connect(gateway.0.address()).is_ok(),
                Ready::Log => gateway.0.log().contains("ready"),
            };
            if serves {
                return gateway.0;
            }
            if let Some(status) = gateway.0.child.try_wait().unwrap() {
                let log = gateway.0.log.finish();
                panic!("the gateway ended ({status}) instead of serving:\n{log}");
            }
            assert!(Instant::now() < deadline, "the gateway does not serve");
            // The kernel tells nobody that a path has become a socket: ask again.
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts it and waits for nothing.
    pub(crate) fn begin(self) -> Gateway {
        self.spawn().0
    }

    /// Starts it and waits until it ends: for starts that must fail.
    pub(crate) fn run(self) -> Exit {
        self.spawn().0.wait()
    }

    fn spawn(self) -> (Gateway, Ready) {
        let mut command = command(&self.program, self.shell);
        if let Some(uid) = self.uid {
            let copy = self.folder.path().join("wsgi-gateway");
            install(&copy);
            chown(self.folder.path(), Some(uid), None).unwrap();
            command = self::command(&copy, self.shell);
            command.uid(uid).gid(uid);
        }
        if self.clean_environment {
            command.env_clear();
        }
        command.envs(self.envs).current_dir(&self.cwd);
        let says_workers = self.args.iter().any(|arg| arg == "--workers");
        let alone = self.binds.is_empty() && self.stdin.is_some() && !says_workers;
        if let Some(door) = self.door {
            command.arg(door);
            if self.one_worker && !alone && !says_workers {
                command.args(["--workers", "1"]);
            }
            if self.binds.is_empty() && self.stdin.is_none() {
                command.arg("--bind").arg(prefixed("unix:", &self.socket));
            }
            for bind in &self.binds {
                command.arg("--bind").arg(bind);
            }
        }
        command.args(self.args).arg(self.app);
        command.stdin(match self.stdin {
            Some(fd) => Stdio::from(fd),
            None => Stdio::null(),
        });
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = Log::follow(child.stderr.take().unwrap());
        let gateway = Gateway {
            child,
            alone,
            socket: self.socket,
            address: self.address,
            log,
            folder: self.folder,
        };
        (gateway, self.ready)
    }
}

/// A port that nobody listens on, of the loopback address given with port 0.
pub(crate) fn free_port(address: &str) -> SocketAddr {
    TcpListener::bind(address).unwrap().local_addr().unwrap()
}

fn prefixed(prefix: &str, path: &Path) -> OsString {
    let mut whole = OsString::from(prefix);
    whole.push(path);
    whole
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

/// The stderr of a process, read as it comes so that the process never waits for a reader.
#[derive(Default)]
struct Log {
    shared: Arc<(Mutex<Written>, Condvar)>,
}

#[derive(Default)]
struct Written {
    text: Vec<u8>,
    /// Whether nobody has the other end open any more.
    ended: bool,
}

impl Log {
    fn follow(mut pipe: impl std::io::Read + Send + 'static) -> Log {
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

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.shared.0.lock().unwrap().text).into_owned()
    }

    #[track_caller]
    fn wait_for(&self, needle: &str, count: usize) {
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
    fn finish(&self) -> String {
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

/// A named pipe between a test and an application: each waits there for the other.
pub(crate) struct Fifo {
    path: PathBuf,
}

impl Fifo {
    pub(crate) fn new(folder: &Path, name: &str) -> Fifo {
        let path = folder.join(name);
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        Fifo { path }
    }

    /// For a query.
    pub(crate) fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// Waits until the application reads from it. The application reads on until the file is dropped.
    pub(crate) fn entered(&self) -> File {
        let deadline = Instant::now() + DEADLINE;
        loop {
            // Without a reader this open fails instead of waiting for ever.
            let open = File::options()
                .write(true)
                .custom_flags(nix::libc::O_NONBLOCK)
                .open(&self.path);
            match open {
                Ok(file) => return file,
                Err(error) => assert_eq!(error.raw_os_error(), Some(nix::libc::ENXIO)),
            }
            assert!(Instant::now() < deadline, "the application never came");
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits for the application and gives it its answer.
    pub(crate) fn release(&self, answer: &[u8]) {
        std::io::Write::write_all(&mut self.entered(), answer).unwrap();
    }
}
