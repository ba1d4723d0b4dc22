//! How a gateway is started.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::log::Log;
use super::{DEADLINE, Exit, Gateway, apps, binary, free_port, install, path};

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
    pub(super) fn new(app: &str) -> Builder {
        // Not of a name by which root's `ps` and `stop` of another test would find a control socket in it.
        let folder = Arc::new(TempDir::with_prefix("wsgi.gateway-test-").unwrap());
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

fn prefixed(prefix: &str, path: &Path) -> OsString {
    let mut whole = OsString::from(prefix);
    whole.push(path);
    whole
}
