//! Runs the CGI door as a web server would: an environment of CGI variables and nothing else, a request
//! body on stdin, the response on stdout. Knows RFC 3875's response syntax and nothing of `src/`.

use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::Pid;

use crate::support::client::{Pair, Request};
use crate::support::gateway::{DEADLINE, apps, binary};

/// What the web server puts on fd 0. FINDINGS of real servers: pipes and files that end, and client
/// sockets that never do.
pub(crate) enum Stdin {
    /// A pipe with these bytes, then its end.
    Pipe(Vec<u8>),
    /// A pipe with these bytes that stays open for as long as the process lives.
    OpenPipe(Vec<u8>),
    /// A connected socket with these bytes that stays open, as small servers pass on the client's.
    OpenSocket(Vec<u8>),
    File(PathBuf),
    Null,
    /// No fd 0 at all.
    Closed,
    Fd(OwnedFd),
}

/// What the process finds as fd 1.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stdout {
    Pipe,
    /// A SOCK_SEQPACKET socket: each of the process's writes arrives as one packet.
    Packets,
}

/// One CGI request, not yet started.
pub(crate) struct Cgi {
    door: Option<&'static str>,
    options: Vec<OsString>,
    app: OsString,
    words: Vec<OsString>,
    environment: Vec<Pair>,
    stdin: Stdin,
    stdout: Stdout,
    cwd: Option<PathBuf>,
    program: PathBuf,
}

impl Cgi {
    /// `wsgi-gateway cgi APP` with the request's variables and its body in a pipe that ends.
    pub(crate) fn new(app: impl AsRef<OsStr>, request: &Request) -> Cgi {
        let mut cgi = Cgi::bare(app);
        cgi.environment.extend(request.params.iter().cloned());
        cgi.stdin = Stdin::Pipe(request.stdin.clone());
        cgi
    }

    /// With no variables and nothing on stdin.
    pub(crate) fn bare(app: impl AsRef<OsStr>) -> Cgi {
        Cgi {
            door: Some("cgi"),
            options: Vec::new(),
            app: app.as_ref().into(),
            words: Vec::new(),
            // The folder of the applications is part of the source tree: nothing is written there.
            environment: vec![(b"PYTHONDONTWRITEBYTECODE".to_vec(), b"1".to_vec())],
            stdin: Stdin::Null,
            stdout: Stdout::Pipe,
            cwd: None,
            program: binary(),
        }
    }

    /// Without the word `cgi`: the environment and fd 0 tell.
    pub(crate) fn auto_door(mut self) -> Cgi {
        self.door = None;
        self
    }

    /// Another subcommand that takes an application: `check`.
    pub(crate) fn door(mut self, door: &'static str) -> Cgi {
        self.door = Some(door);
        self
    }

    /// Another program, started the same way: a script whose first line names the gateway.
    pub(crate) fn program(mut self, program: impl Into<PathBuf>) -> Cgi {
        self.program = program.into();
        self.door = None;
        self.app = OsString::new();
        self
    }

    /// The gateway where it is installed, with cores of its own.
    pub(crate) fn installed(mut self, program: impl Into<PathBuf>) -> Cgi {
        self.program = program.into();
        self
    }

    pub(crate) fn option(mut self, option: impl AsRef<OsStr>) -> Cgi {
        self.options.push(option.as_ref().into());
        self
    }

    pub(crate) fn options<S: AsRef<OsStr>>(mut self, options: impl IntoIterator<Item = S>) -> Cgi {
        for option in options {
            self = self.option(option);
        }
        self
    }

    /// What a web server appends to argv for a query without `=` (RFC 3875 section 4.4).
    pub(crate) fn words(mut self, words: &[&str]) -> Cgi {
        self.words.extend(words.iter().map(OsString::from));
        self
    }

    pub(crate) fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Cgi {
        self.environment.push((
            name.as_ref().as_bytes().to_vec(),
            value.as_ref().as_bytes().to_vec(),
        ));
        self
    }

    /// Not even what `bare` sets.
    pub(crate) fn empty_environment(mut self) -> Cgi {
        self.environment.clear();
        self
    }

    pub(crate) fn stdin(mut self, stdin: Stdin) -> Cgi {
        self.stdin = stdin;
        self
    }

    /// Stdout is a socket that keeps the writes apart: `Output::packets`.
    pub(crate) fn packets(mut self) -> Cgi {
        self.stdout = Stdout::Packets;
        self
    }

    pub(crate) fn cwd(mut self, cwd: impl Into<PathBuf>) -> Cgi {
        self.cwd = Some(cwd.into());
        self
    }

    /// Runs it to its end.
    #[track_caller]
    pub(crate) fn run(self) -> Output {
        self.spawn().finish()
    }

    pub(crate) fn spawn(self) -> Running {
        let mut command = Command::new(&self.program);
        command.current_dir(self.cwd.unwrap_or_else(apps));
        let mut argv = vec![self.program.clone().into_os_string()];
        argv.extend(self.door.map(OsString::from));
        argv.extend(self.options);
        argv.extend(Some(self.app).filter(|app| !app.is_empty()));
        argv.extend(self.words);
        command.args(&argv[1..]).env_clear();

        let mut names: Vec<&[u8]> = self.environment.iter().map(|pair| &*pair.0).collect();
        names.sort_unstable();
        let has_duplicates = names.windows(2).any(|pair| pair[0] == pair[1]);
        if has_duplicates {
            exec_with(&mut command, &self.program, &argv, &self.environment);
        } else {
            for (name, value) in &self.environment {
                command.env(OsStr::from_bytes(name), OsStr::from_bytes(value));
            }
        }

        let mut input = None;
        let mut held = None;
        match self.stdin {
            Stdin::Pipe(bytes) => {
                command.stdin(Stdio::piped());
                input = Some((bytes, true));
            }
            Stdin::OpenPipe(bytes) => {
                command.stdin(Stdio::piped());
                input = Some((bytes, false));
            }
            Stdin::OpenSocket(bytes) => {
                let (mut ours, theirs) = UnixStream::pair().unwrap();
                // Small enough for the socket's buffer, so this does not wait for the child.
                ours.write_all(&bytes).unwrap();
                held = Some(OwnedFd::from(ours));
                command.stdin(OwnedFd::from(theirs));
            }
            Stdin::File(path) => {
                command.stdin(std::fs::File::open(path).unwrap());
            }
            Stdin::Null => {
                command.stdin(Stdio::null());
            }
            Stdin::Closed => {
                command.stdin(Stdio::null());
                // SAFETY: closes one descriptor of the child between fork and exec, and close(2) is
                // async-signal-safe.
                unsafe {
                    command.pre_exec(|| nix::unistd::close(0).map_err(Into::into));
                }
            }
            Stdin::Fd(fd) => {
                command.stdin(fd);
            }
        }
        let mut packets = None;
        match self.stdout {
            Stdout::Pipe => command.stdout(Stdio::piped()),
            Stdout::Packets => {
                let (ours, theirs) = socketpair(
                    AddressFamily::Unix,
                    SockType::SeqPacket,
                    None,
                    SockFlag::SOCK_CLOEXEC,
                )
                .unwrap();
                packets = Some(ours);
                command.stdout(theirs)
            }
        };
        command.stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", self.program.display()));
        // The command holds the child's ends of the sockets: without this they would never end.
        drop(command);

        let stdout = match packets {
            Some(socket) => Stream::follow(Box::new(std::fs::File::from(socket))),
            None => Stream::follow(Box::new(child.stdout.take().unwrap())),
        };
        let stderr = Stream::follow(Box::new(child.stderr.take().unwrap()));
        let feeder = input.map(|(bytes, ends)| {
            let pipe = child.stdin.take().unwrap();
            if !ends {
                held = Some(pipe.as_fd().try_clone_to_owned().unwrap());
            }
            thread::spawn(move || {
                let mut pipe = pipe;
                // A process that does not read all of it is not this side's business.
                let _ = pipe.write_all(&bytes);
            })
        });
        Running {
            child,
            stdout,
            stderr,
            feeder,
            held,
        }
    }
}

/// Lets the child exec with an environment that `Command` cannot express: one name twice, which environ(7)
/// allows.
fn exec_with(command: &mut Command, program: &Path, argv: &[OsString], environment: &[Pair]) {
    let program = CString::new(program.as_os_str().as_bytes()).unwrap();
    let argv: Vec<CString> = argv
        .iter()
        .map(|word| CString::new(word.as_bytes()).unwrap())
        .collect();
    let environment: Vec<CString> = environment
        .iter()
        .map(|(name, value)| CString::new([name, &b"="[..], value].concat()).unwrap())
        .collect();
    // SAFETY: between fork and exec the closure only execs; its strings were made before the fork.
    unsafe {
        command.pre_exec(move || {
            nix::unistd::execve(&program, &argv, &environment)?;
            Ok(())
        });
    }
}

/// A CGI process under way. Dropping it kills it.
pub(crate) struct Running {
    child: Child,
    stdout: Stream,
    stderr: Stream,
    feeder: Option<JoinHandle<()>>,
    held: Option<OwnedFd>,
}

impl Running {
    /// Waits until stdout holds these bytes.
    #[track_caller]
    pub(crate) fn wait_for_stdout(&self, needle: &[u8]) {
        if let Err(seen) = self.stdout.wait_for(|state| contains(&state.bytes, needle)) {
            panic!(
                "{:?} never came on stdout, but {:?}; stderr: {}",
                String::from_utf8_lossy(needle),
                String::from_utf8_lossy(&seen),
                self.stderr.text()
            );
        }
    }

    /// Waits until the process, and whoever else has it, has closed stdout.
    #[track_caller]
    pub(crate) fn wait_for_end_of_stdout(&self) -> Vec<u8> {
        match self.stdout.wait_for(|state| state.ended) {
            Ok(bytes) => bytes,
            Err(seen) => panic!(
                "stdout never ended after {:?}; stderr: {}",
                String::from_utf8_lossy(&seen),
                self.stderr.text()
            ),
        }
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    /// As a client that leaves: nobody reads stdout any more, and the next write fails.
    pub(crate) fn leave(&mut self) {
        self.stdout.leave();
    }

    /// Waits for the end of the process and of its output. What holds stdin open is let go only then.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Output {
        let deadline = Instant::now() + DEADLINE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                panic!(
                    "the CGI process does not end; stdout: {:?}; stderr: {}",
                    String::from_utf8_lossy(&self.stdout.bytes()),
                    self.stderr.text()
                );
            }
            // The end of a child is told by a signal that threads cannot wait for: ask again.
            thread::sleep(Duration::from_millis(1));
        };
        self.held = None;
        if let Some(feeder) = self.feeder.take() {
            feeder.join().unwrap();
        }
        self.wait_for_end_of_stdout();
        if self.stderr.wait_for(|state| state.ended).is_err() {
            panic!("somebody still has stderr: {}", self.stderr.text());
        }
        Output {
            code: code(status),
            stdout: self.stdout.bytes(),
            packets: self.stdout.packets(),
            stderr: self.stderr.text(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn code(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| -status.signal().unwrap_or(0))
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    packets: Vec<Vec<u8>>,
    ended: bool,
    left: bool,
}

/// An output of the process, read as it comes.
struct Stream {
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl Stream {
    fn follow(mut source: Box<dyn Read + Send>) -> Stream {
        let shared = Arc::new((Mutex::new(State::default()), Condvar::new()));
        thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                let mut block = vec![0; 1 << 20];
                loop {
                    let length = source.read(&mut block).unwrap_or(0);
                    let mut state = shared.0.lock().unwrap();
                    state.bytes.extend(&block[..length]);
                    if length == 0 || state.left {
                        state.ended = true;
                        // Closed before anybody hears of it.
                        drop(std::mem::replace(&mut source, Box::new(std::io::empty())));
                        shared.1.notify_all();
                        return;
                    }
                    state.packets.push(block[..length].to_vec());
                    shared.1.notify_all();
                }
            }
        });
        Stream { shared }
    }

    /// Closes the reading side at the next block, and waits until that has happened.
    fn leave(&mut self) {
        self.shared.0.lock().unwrap().left = true;
        assert!(self.wait_for(|state| state.ended).is_ok());
    }

    /// The bytes so far once that holds, or after the deadline as an error.
    fn wait_for(&self, holds: impl Fn(&State) -> bool) -> Result<Vec<u8>, Vec<u8>> {
        let deadline = Instant::now() + DEADLINE;
        let mut state = self.shared.0.lock().unwrap();
        loop {
            if holds(&state) {
                return Ok(state.bytes.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(state.bytes.clone());
            }
            state = self.shared.1.wait_timeout(state, left).unwrap().0;
        }
    }

    fn bytes(&self) -> Vec<u8> {
        self.shared.0.lock().unwrap().bytes.clone()
    }

    fn packets(&self) -> Vec<Vec<u8>> {
        self.shared.0.lock().unwrap().packets.clone()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }
}

/// What a CGI process left behind.
pub(crate) struct Output {
    /// The exit code, or minus the signal that ended it.
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    /// The reads that stdout took; after `packets()` these are the process's writes.
    pub(crate) packets: Vec<Vec<u8>>,
    pub(crate) stderr: String,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "exit code {}\n---- stdout\n{}\n---- stderr\n{}\n----",
            self.code,
            self.text(),
            self.stderr
        )
    }
}

impl Output {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The response, strictly: `Status` first, every line ended by CRLF, an empty line, the body.
    #[track_caller]
    pub(crate) fn response(&self) -> CgiResponse {
        let end = self
            .stdout
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .unwrap_or_else(|| panic!("no whole head: {self:#?}"));
        let head: String = self.stdout[..end].iter().map(|b| char::from(*b)).collect();
        let mut lines = head.split("\r\n");
        let first = lines.next().unwrap();
        let status = first
            .strip_prefix("Status: ")
            .unwrap_or_else(|| panic!("the first line is not a status: {self:#?}"));
        let (status, reason) = status.split_once(' ').unwrap_or((status, ""));
        let headers = lines
            .map(|line| {
                assert!(!line.contains(['\r', '\n']), "a bare CR or LF: {line:?}");
                let (name, value) = line
                    .split_once(": ")
                    .unwrap_or_else(|| panic!("not a header line: {line:?} in {self:#?}"));
                (name.to_owned(), value.to_owned())
            })
            .collect();
        CgiResponse {
            status: status.parse().unwrap(),
            reason: reason.to_owned(),
            headers,
            body: self.stdout[end + 4..].to_vec(),
        }
    }
}

/// The parts of a CGI response.
#[derive(Debug)]
pub(crate) struct CgiResponse {
    pub(crate) status: u16,
    pub(crate) reason: String,
    /// All but the first, `Status`.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// A FIFO that applications wait on and tests write to.
pub(crate) struct Fifo {
    path: PathBuf,
    // Open for reading too: so that opening it here waits for nobody, and the application's end never
    // sees an end of file that it did not earn.
    file: std::fs::File,
}

impl Fifo {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Fifo {
        let path = path.into();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        Fifo { path, file }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The word that lets one waiting application go on.
    pub(crate) fn go(&self) {
        (&self.file).write_all(b"x").unwrap();
    }
}

/// Bytes as an operating system's string.
pub(crate) fn os(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}
