//! What systemd is told by sd_notify(3) and what it gives: the sockets, and a watchdog's time.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};

use nix::sys::signal::Signal;

use crate::support::client::{Connection, Request};
use crate::support::gateway::{Builder, DEADLINE, Fifo, Gateway};
use crate::support::load::Load;
use crate::support::release::Release;

/// The service manager's end.
struct Manager {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Manager {
    fn of(builder: Builder) -> (Manager, Builder) {
        let path = builder.folder().path().join("notify.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let manager = Manager {
            socket,
            heard: Vec::new(),
        };
        (manager, builder.env("NOTIFY_SOCKET", path))
    }

    /// In the abstract name space, as container managers do.
    fn without_a_file(builder: Builder) -> (Manager, Builder) {
        let name = builder.folder().path().join("notify").display().to_string();
        let place = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&place).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let manager = Manager {
            socket,
            heard: Vec::new(),
        };
        (manager, builder.env("NOTIFY_SOCKET", format!("@{name}")))
    }

    /// Reads messages up to that one, whose lines are the states; gives the state that begins like this.
    #[track_caller]
    fn wait_for(&mut self, state: &str) -> String {
        let mut block = [0; 4096];
        loop {
            let Ok(length) = self.socket.recv(&mut block) else {
                panic!("{state} never came: {:?}", self.heard);
            };
            let text = String::from_utf8_lossy(&block[..length]).into_owned();
            self.heard.extend(text.lines().map(str::to_owned));
            if let Some(line) = text.lines().find(|line| line.starts_with(state)) {
                return line.to_owned();
            }
        }
    }

    /// Whether that has been said by now.
    fn has_heard(&mut self, state: &str) -> bool {
        let mut block = [0; 4096];
        self.socket.set_nonblocking(true).unwrap();
        while let Ok(length) = self.socket.recv(&mut block) {
            let text = String::from_utf8_lossy(&block[..length]).into_owned();
            self.heard.extend(text.lines().map(str::to_owned));
        }
        self.socket.set_nonblocking(false).unwrap();
        self.heard.iter().any(|line| line.starts_with(state))
    }
}

#[test]
fn ready_is_said_when_a_worker_is_ready() {
    for preload in [false, true] {
        let builder = Gateway::builder("fcgi_slow_import");
        let folder = builder.folder();
        let fifo = Fifo::new(folder.path(), "fifo");
        let (mut manager, builder) = Manager::of(builder);
        let builder = builder.env("FCGI_TEST_FIFO", fifo.path());
        let gateway = builder.args(preload.then_some("--preload")).start();
        let importing = fifo.entered();
        assert!(!manager.has_heard("READY"), "{:?}", manager.heard);
        drop(importing);
        manager.wait_for("READY=1");
        gateway.wait_for_log("ready on ");
        let status = manager.wait_for("STATUS=");
        assert!(status.contains("worker"), "{status}");
        gateway.signal(Signal::SIGTERM);
        manager.wait_for("STOPPING=1");
        assert_eq!(gateway.wait().code, 0);
    }
}

#[test]
fn a_manager_without_a_file_hears_the_same() {
    let (mut manager, builder) = Manager::without_a_file(Gateway::builder("hello"));
    let gateway = builder.start();
    manager.wait_for("READY=1");
    manager.wait_for("STATUS=");
    gateway.signal(Signal::SIGTERM);
    manager.wait_for("STOPPING=1");
    assert_eq!(gateway.wait().code, 0);
}

#[test]
fn a_reload_is_said_to_begin_and_to_end() {
    let release = Release::new("serves text");
    let (mut manager, builder) = Manager::of(release.builder());
    let gateway = builder.start();
    manager.wait_for("READY=1");
    for word in ["serves text", "raises"] {
        release.deploy(word);
        gateway.signal(Signal::SIGHUP);
        manager.wait_for("RELOADING=1");
        // Type=notify-reload wants to know when.
        let when = manager.heard.iter().rev().find_map(|line| {
            let usec = line.strip_prefix("MONOTONIC_USEC=")?;
            usec.parse::<u64>().ok()
        });
        assert!(when.is_some_and(|usec| usec > 0), "{:?}", manager.heard);
        manager.wait_for("READY=1");
    }
}

#[test]
fn the_watchdog_hears_of_us() {
    let (mut manager, builder) = Manager::of(Gateway::builder("hello"));
    let gateway = builder.env("WATCHDOG_USEC", "200000").start();
    for _ in 0..5 {
        manager.wait_for("WATCHDOG=1");
    }
    assert_eq!(gateway.terminate().code, 0);
}

/// The unit's sockets are the same before and after, and a stop leaves them to systemd.
#[test]
fn systemds_sockets_survive_reloads() {
    let release = Release::new("serves 0");
    let builder = release
        .builder()
        .bind("systemd")
        .args(["--workers", "2"])
        .shell("export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\" 3<&0 </dev/null");
    let path = builder.socket_path();
    let listener = UnixListener::bind(&path).unwrap();
    let gateway = builder.stdin(listener).start();
    let ((), tally) = Load::on(&gateway, "/").clients(2).during(|load| {
        for number in 1..=3 {
            release.deploy(&format!("serves {number}"));
            assert!(gateway.reload());
            load.wait_for_more(4);
        }
    });
    tally.expect_none_lost();
    let mut connection = Connection::open(&path);
    connection.request(&Request::get("/").keep()).expect(200);
    let exit = gateway.terminate();
    assert_eq!(exit.code, 0, "{}", exit.log);
    // The folder is gone with the gateway; that it was not removed before is looked at in `fastcgi::sockets`.
    assert_eq!(connection.read_to_eof(), b"");
}
