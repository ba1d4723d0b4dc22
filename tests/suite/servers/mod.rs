//! Starts real web servers with the files of `conf/`, as an operator would who copied them or had them printed (`wsgi-gateway conf`): a
//! port of our own, paths and a user are filled in, and nothing else. Knows nothing of what the servers are then asked.
//!
//! A server that is not installed: the test says so and passes; in CI (`CI` is set) it fails.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use tempfile::TempDir;

use crate::support::gateway::{Builder, DEADLINE, Gateway, free_port, install};

mod accelerated;
mod apache;
mod authorizer;
mod caddy;
mod cuts;
mod django;
mod explained;
mod explanation;
mod h2o;
mod haproxy;
mod haproxy_lives;
mod hgweb;
mod larger;
mod lighttpd;
mod matrix;
mod mistaken;
mod mistaken_apache;
mod nginx;
mod oracle;
mod persistent;
mod printed;
mod requests;
mod responders;
mod sites;
mod slow_clients;
mod small;
mod suexec;
mod systemd;
mod tried;
mod unspoken;

/// A program by its name, also where PATH does not have the administrator's programs; `None` after saying that the test is skipped.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join(name))
        .find(|program| program.is_file());
    found.or_else(|| skip(&format!("no {name} on this machine")))
}

/// A file that a test needs of a package, such as a server's module.
pub(crate) fn installed(path: &str) -> Option<PathBuf> {
    let file = PathBuf::from(path);
    if file.exists() {
        return Some(file);
    }
    skip(&format!("no {path} on this machine"))
}

/// Says why a test has nothing to look at, which in CI is its failure.
pub(crate) fn skip<T>(reason: &str) -> Option<T> {
    assert!(std::env::var_os("CI").is_none(), "{reason}");
    eprintln!("skipped: {reason}");
    None
}

/// Whom a server that is started by root becomes; `None` where we are somebody else, whom it then stays.
pub(crate) fn server_user() -> Option<&'static str> {
    geteuid().is_root().then_some("www-data")
}

/// A file of `conf/` on its way to a server. Each change is one that its comments tell the reader to make, and says so when the line that
/// it changes is no longer there.
#[derive(Clone)]
pub(crate) struct Conf {
    name: &'static str,
    text: String,
}

/// The files of `conf/` that `wsgi-gateway conf` prints when it is asked so, with the addresses that stand there.
const PRINTED: [(&str, &[&str]); 9] = [
    ("nginx.conf", &["nginx"]),
    ("nginx-prefix.conf", &["nginx", "--mount=/app"]),
    ("lighttpd.conf", &["lighttpd"]),
    ("lighttpd-prefix.conf", &["lighttpd", "--mount=/app"]),
    ("Caddyfile", &["caddy"]),
    ("Caddyfile-prefix", &["caddy", "--mount=/app"]),
    ("haproxy.cfg", &["haproxy"]),
    ("haproxy-prefix.cfg", &["haproxy", "--mount=/app"]),
    ("h2o.conf", &["h2o"]),
];

impl Conf {
    /// A file as an operator gets it: printed where it can be, else copied.
    pub(crate) fn read(name: &'static str) -> Conf {
        if let Some((_, words)) = PRINTED.iter().find(|(printed, _)| *printed == name) {
            let words = [words, &["--whole", "--listen=127.0.0.1:8080"][..]].concat();
            let text = printed::print(&words);
            return Conf { name, text };
        }
        let path = conf(name);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Conf { name, text }
    }

    /// What stands there exactly once.
    pub(crate) fn put(self, from: &str, to: impl AsRef<str>) -> Conf {
        let count = self.text.matches(from).count();
        assert_eq!(count, 1, "{from:?} in conf/{}", self.name);
        self.put_all(from, to)
    }

    /// What stands there at least once.
    pub(crate) fn put_all(mut self, from: &str, to: impl AsRef<str>) -> Conf {
        assert!(self.text.contains(from), "{from:?} in conf/{}", self.name);
        self.text = self.text.replace(from, to.as_ref());
        self
    }

    /// Takes the `#` from before these lines, which stand there as comments (given without it and without what they are indented by).
    pub(crate) fn with(self, lines: &[&str]) -> Conf {
        self.each(lines, |line, wanted| {
            let indent = line.len() - line.trim_start().len();
            let rest = line[indent..].strip_prefix('#')?;
            (rest.trim_start() == wanted).then(|| format!("{}{rest}", &line[..indent]))
        })
    }

    /// Puts a `#` before these lines.
    pub(crate) fn without(self, lines: &[&str]) -> Conf {
        self.each(lines, |line, wanted| {
            (line.trim_start() == wanted).then(|| format!("#{line}"))
        })
    }

    fn each(mut self, lines: &[&str], change: impl Fn(&str, &str) -> Option<String>) -> Conf {
        for wanted in lines {
            let mut count = 0;
            let mut text = String::new();
            for line in self.text.lines() {
                let changed = change(line, wanted);
                count += usize::from(changed.is_some());
                text.push_str(changed.as_deref().unwrap_or(line));
                text.push('\n');
            }
            assert_eq!(count, 1, "the line {wanted:?} in conf/{}", self.name);
            self.text = text;
        }
        self
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

/// Where a file of `conf/` is.
pub(crate) fn conf(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("conf")
        .join(name)
}

/// A folder of a test's own, in which a server that has become `server_user` finds its files.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Folder {
        let folder = TempDir::with_prefix("wsgi-gateway-server-").unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        Folder(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// The path of something in it, as a configuration has it.
    pub(crate) fn at(&self, name: &str) -> String {
        let path = self.path().join(name);
        path.to_str().expect("a temp folder in ASCII").to_owned()
    }

    /// A file that everybody may read, with the folders that it is in.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        self.put(name, text.as_ref(), 0o644)
    }

    /// A program that everybody may run.
    pub(crate) fn write_program(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        self.put(name, text.as_ref(), 0o755)
    }

    fn put(&self, name: &str, text: &[u8], mode: u32) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    /// An empty folder that the server may write to.
    pub(crate) fn writable(&self, name: &str) -> String {
        let path = self.path().join(name);
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
        self.at(name)
    }

    /// The gateway's program in this folder: where the tests are built need not be readable for the server's user.
    pub(crate) fn gateway_program(&self) -> String {
        let path = self.path().join("wsgi-gateway");
        if !path.exists() {
            install(&path);
        }
        self.at("wsgi-gateway")
    }

    /// A test application (`name.py`) in this folder.
    pub(crate) fn app(&self, name: &str) -> String {
        let file = format!("{name}.py");
        let text = fs::read(crate::support::gateway::apps().join(&file)).unwrap();
        self.write(&file, text);
        self.at(&file)
    }
}

/// A gateway that a web server's user may connect to, by its socket in its folder.
pub(crate) fn gateway(app: &str, options: &[&str]) -> Gateway {
    reachable(Gateway::builder(app).args(options))
}

/// Starts it so that a web server's user may connect to it.
pub(crate) fn reachable(mut builder: Builder) -> Gateway {
    // As an address of its own, so that the start is read in the log: no connection but the web server's is ever made.
    let socket = format!("unix:{}", builder.socket_path().display());
    builder = builder.bind(socket);
    if let Some(user) = server_user() {
        builder = builder.args(["--socket-group", user]);
    }
    let gateway = builder.start();
    fs::set_permissions(gateway.folder(), Permissions::from_mode(0o711)).unwrap();
    gateway
}

/// A running web server. Dropping it ends it, and shows what it wrote when the test has failed.
pub(crate) struct Server {
    child: Child,
    addresses: Vec<SocketAddr>,
    folder: Folder,
}

/// What a server is to be started with: a folder for its files, and ports that are free.
pub(crate) struct Start {
    pub(crate) folder: Folder,
    pub(crate) addresses: Vec<SocketAddr>,
}

impl Start {
    /// The first address, for servers with one.
    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }
}

impl Server {
    /// Starts what `command` makes, in the foreground, and waits until it listens on all of its `ports` addresses. `command` writes the
    /// server's files; it is called again, with another folder and other ports, when a port was taken meanwhile.
    pub(crate) fn start(ports: usize, command: impl Fn(&Start) -> Command) -> Server {
        (0..10)
            .find_map(|_| Server::try_start(ports, &command))
            .expect("free ports")
    }

    fn try_start(ports: usize, command: &impl Fn(&Start) -> Command) -> Option<Server> {
        // The kernel may give the same port again: a free one is not held.
        let mut addresses = Vec::new();
        while addresses.len() < ports {
            let address = free_port("127.0.0.1:0");
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        let start = Start {
            folder: Folder::new(),
            addresses,
        };
        let mut command = command(&start);
        let log = File::create(start.folder.path().join("log")).unwrap();
        let child = command
            // Apache sends the signal that ends it to its whole group.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut server = Server {
            child,
            addresses: start.addresses,
            folder: start.folder,
        };
        let deadline = Instant::now() + DEADLINE;
        loop {
            if server.listens() {
                return Some(server);
            }
            if let Some(status) = server.child.try_wait().unwrap() {
                let log = server.log();
                let taken = log.to_lowercase().contains("address already in use");
                assert!(taken, "{command:?} ended ({status}):\n{log}");
                return None;
            }
            assert!(Instant::now() < deadline, "{command:?} does not listen");
            // The kernel tells nobody that a port is listened on: ask again.
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether it has all of its ports: it and nobody else, and without a connection made to see.
    fn listens(&self) -> bool {
        let sockets = sockets_of(self.child.id());
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        self.addresses.iter().all(|address| {
            // The kernel's columns: number, local address, remote address, state (0A listens), ..., inode as the tenth.
            let port = format!(":{:04X}", address.port());
            table.lines().any(|line| {
                let mut columns = line.split_whitespace();
                columns.nth(1).is_some_and(|local| local.ends_with(&port))
                    && columns.nth(1) == Some("0A")
                    && columns.nth(5).is_some_and(|inode| {
                        let socket = format!("socket:[{inode}]");
                        sockets.iter().any(|of_it| of_it == OsStr::new(&socket))
                    })
            })
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What it wrote, to its stderr or stdout or a file of its folder that is called `*.log`.
    pub(crate) fn log(&self) -> String {
        let mut text = String::new();
        for entry in fs::read_dir(self.folder.path()).unwrap().flatten() {
            let name = entry.file_name();
            if name == "log" || Path::new(&name).extension() == Some(OsStr::new("log")) {
                text += &String::from_utf8_lossy(&fs::read(entry.path()).unwrap_or_default());
            }
        }
        text
    }

    /// Whether the process is still there.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(pid, signal).unwrap();
    }

    /// Ends it and waits until it is gone.
    fn end(&mut self) {
        if self.child.try_wait().unwrap().is_some() {
            return;
        }
        // Not SIGKILL: it would leave a server's workers behind.
        self.signal(Signal::SIGTERM);
        let deadline = Instant::now() + DEADLINE;
        while self.child.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                eprintln!("the server does not end on SIGTERM");
                self.child.kill().unwrap();
                self.child.wait().unwrap();
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
        if thread::panicking() {
            eprintln!("---- log of the web server\n{}----", self.log());
        }
    }
}

/// The sockets that a process has open, as /proc names them.
fn sockets_of(pid: u32) -> Vec<std::ffi::OsString> {
    // No folder: it has ended, which is noticed elsewhere.
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .map(PathBuf::into_os_string)
        .collect()
}
