//! Where the gateway listens: sockets in the file system and who may use, replace and remove them,
//! abstract ones, TCP, and listeners that somebody else made (section 2.2 of the specification: fd 0).

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{self, UnixListener, UnixStream};
use std::path::Path;

use crate::support::client::{Connection, Request, fetch};
use crate::support::gateway::{Builder, Fifo, Gateway, free_port};

fn builder() -> Builder {
    Gateway::builder("fcgi_unread")
}

#[track_caller]
fn serves(connection: &mut Connection) {
    let response = connection.request(&Request::get("/here"));
    assert_eq!(response.expect(200).text(), "/here");
}

/// Whether a peer is turned away before a word of the protocol.
#[track_caller]
fn turned_away(mut connection: Connection) {
    connection.write(&Request::get("/").bytes());
    assert_eq!(connection.read_to_eof(), b"");
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

// ---- In the file system

#[test]
fn owner_and_group_may_connect_and_nobody_else() {
    // Whatever the umask of who starts it.
    for umask in ["umask 000", "umask 022", "umask 077"] {
        let line = match umask {
            "umask 000" => "umask 000; exec \"$@\"",
            "umask 022" => "umask 022; exec \"$@\"",
            _ => "umask 077; exec \"$@\"",
        };
        let gateway = builder().shell(line).start();
        assert_eq!(mode(gateway.socket()), 0o660, "{umask}");
        serves(&mut Connection::open(gateway.socket()));
    }
}

#[test]
fn the_socket_has_the_mode_it_is_given() {
    for (given, expected) in [("0600", 0o600), ("666", 0o666), ("0777", 0o777)] {
        let gateway = builder().args(["--socket-mode", given]).start();
        assert_eq!(mode(gateway.socket()), expected);
    }
    let exit = builder().args(["--socket-mode", "rw-rw----"]).run();
    assert_eq!(exit.code, 2, "{}", exit.log);
}

#[test]
fn the_socket_has_the_owner_and_group_it_is_given() {
    let root = nix::unistd::geteuid().is_root();
    // Only root may give a socket away; everybody may give it to themselves.
    let (user, uid) = owner(root, "nobody", nix::unistd::geteuid().as_raw());
    let (group, gid) = owner(root, "nogroup", nix::unistd::getegid().as_raw());
    let gateway = builder()
        .args(["--socket-user", &user, "--socket-group", &group])
        .start();
    let metadata = std::fs::metadata(gateway.socket()).unwrap();
    if let Some(uid) = uid {
        assert_eq!(metadata.uid(), uid);
    }
    if let Some(gid) = gid {
        assert_eq!(metadata.gid(), gid);
    }
    assert_ne!((uid, gid), (None, None));
}

/// A name and its number, by the system's own files.
fn owner(root: bool, name: &str, mine: u32) -> (String, Option<u32>) {
    if !root {
        return (mine.to_string(), Some(mine));
    }
    let number = if name == "nogroup" {
        let group = nix::unistd::Group::from_name(name).unwrap();
        group.map(|group| group.gid.as_raw())
    } else {
        let user = nix::unistd::User::from_name(name).unwrap();
        user.map(|user| user.uid.as_raw())
    };
    let number = number.unwrap_or(65_534);
    (name.to_owned(), Some(number))
}

#[test]
fn a_user_that_does_not_exist_is_named() {
    let exit = builder().args(["--socket-user", "no-such-user-here"]).run();
    assert_ne!(exit.code, 0);
    assert!(exit.log.contains("no-such-user-here"), "{}", exit.log);
}

#[test]
fn a_stale_socket_is_replaced() {
    let builder = builder();
    let path = builder.socket_path();
    drop(UnixListener::bind(&path).unwrap());
    let stale = std::fs::metadata(&path).unwrap().ino();
    let gateway = builder.start();
    serves(&mut Connection::open(gateway.socket()));
    // Made anew: another inode, or the same number with the mode of a new one.
    let fresh = std::fs::metadata(&path).unwrap();
    assert!(fresh.ino() != stale || fresh.permissions().mode() & 0o777 == 0o660);
}

#[test]
fn what_a_killed_gateway_left_is_replaced() {
    let builder = builder();
    let folder = builder.folder();
    let path = folder.path().join("shared.sock");
    drop(builder);
    let first = self::builder().socket(&path).start();
    drop(first);
    assert!(path.exists(), "it was killed, so it could not remove it");
    // A worker of the first may not be dead yet, and take a connection.
    let second = self::builder().socket(&path).ready_by_log().start();
    serves(&mut Connection::open(second.socket()));
}

#[test]
fn a_live_socket_is_refused_with_who_and_where() {
    let first = builder().start();
    let exit = builder().socket(first.socket()).run();
    assert_eq!(exit.code, 1, "{}", exit.log);
    let path = first.socket().to_str().unwrap();
    assert!(exit.log.contains(path), "{}", exit.log);
    assert!(exit.log.contains(&first.pid().to_string()), "{}", exit.log);
    // The first one has noticed nothing.
    serves(&mut Connection::open(first.socket()));
}

#[test]
fn what_is_no_socket_is_refused_and_left() {
    let file = builder();
    let path = file.socket_path();
    std::fs::write(&path, "precious").unwrap();
    let folder = file.folder();
    let exit = file.run();
    assert_eq!(exit.code, 2, "{}", exit.log);
    assert!(exit.log.contains(path.to_str().unwrap()), "{}", exit.log);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    drop(folder);

    let directory = builder();
    let path = directory.socket_path();
    let folder = directory.folder();
    std::fs::create_dir(&path).unwrap();
    assert_eq!(directory.run().code, 2);
    assert!(path.is_dir());
    drop(folder);
}

#[test]
fn a_folder_that_does_not_exist_is_named() {
    let builder = builder();
    let path = builder.folder().path().join("nowhere/gateway.sock");
    let exit = builder.socket(&path).run();
    assert_eq!(exit.code, 2, "{}", exit.log);
    assert!(exit.log.contains(path.to_str().unwrap()), "{}", exit.log);
}

#[test]
fn the_owner_removes_its_socket_at_the_end() {
    let gateway = builder().start();
    gateway.wait_for_log("ready");
    let path = gateway.socket().to_owned();
    // Kept alive, so that its absence is not the folder's.
    let folder = std::fs::File::open(gateway.folder()).unwrap();
    assert!(std::fs::metadata(&path).unwrap().file_type().is_socket());
    gateway.signal(nix::sys::signal::Signal::SIGTERM);
    let mut gateway = gateway;
    while gateway.is_running() {
        std::thread::yield_now();
    }
    assert!(gateway.folder().exists());
    assert!(!path.exists());
    drop(folder);
}

#[test]
fn a_start_that_is_stopped_removes_its_socket() {
    let builder = Gateway::builder("fcgi_slow_import");
    let folder = builder.folder();
    let fifo = Fifo::new(folder.path(), "fifo");
    let mut gateway = builder.env("FCGI_TEST_FIFO", fifo.path()).start();
    let path = gateway.socket().to_owned();
    // The application is being imported, and web servers may connect already.
    let file = fifo.entered();
    gateway.signal(nix::sys::signal::Signal::SIGTERM);
    drop(file);
    while gateway.is_running() {
        std::thread::yield_now();
    }
    assert!(!path.exists());
}

#[test]
fn only_the_owner_removes_a_socket() {
    let gateway = builder().start();
    gateway.wait_for_log("ready");
    let path = gateway.socket().to_owned();
    // Somebody else has taken the place meanwhile.
    std::fs::remove_file(&path).unwrap();
    let other = UnixListener::bind(&path).unwrap();
    let mut gateway = gateway;
    gateway.signal(nix::sys::signal::Signal::SIGTERM);
    while gateway.is_running() {
        std::thread::yield_now();
    }
    UnixStream::connect(&path).expect("the other one's socket is still there");
    drop(other);
}

#[test]
fn a_refused_start_removes_nothing() {
    let first = builder().start();
    builder().socket(first.socket()).run();
    builder().socket(first.socket()).run();
    assert!(first.socket().exists());
    // Nor does a start that fails for another reason after it has bound.
    let broken = Gateway::builder("fcgi_no_such_module");
    let path = broken.socket_path();
    let folder = broken.folder();
    let exit = broken.run();
    assert_eq!(exit.code, 3, "{}", exit.log);
    assert!(!path.exists(), "and this one was its own");
    drop(folder);
}

#[test]
fn several_addresses_at_once() {
    let builder = builder();
    let folder = builder.folder();
    let paths = ["one.sock", "two.sock"].map(|name| folder.path().join(name));
    let tcp = free_port("127.0.0.1:0");
    let gateway = builder
        .bind(format!("unix:{}", paths[0].display()))
        .bind(paths[1].display().to_string())
        .bind(tcp.to_string())
        .args(["--allow", "127.0.0.1"])
        .start();
    for path in &paths {
        serves(&mut Connection::open(path));
        assert_eq!(mode(path), 0o660);
    }
    serves(&mut Connection::tcp(tcp));
    assert_eq!(gateway.terminate().code, 0);
    assert!(paths.iter().all(|path| !path.exists()));
}

#[test]
fn a_path_too_long_for_a_socket_is_named() {
    let builder = builder();
    let path = builder.folder().path().join("x".repeat(120));
    let exit = builder.socket(&path).run();
    assert!(exit.code == 1 || exit.code == 2, "{}", exit.log);
    assert!(exit.log.contains("xxxxxxxx"), "{}", exit.log);
}

// ---- Without a file

#[test]
fn an_abstract_address() {
    let builder = builder();
    let name = builder.folder().path().display().to_string();
    let gateway = builder.bind(format!("unix:@{name}")).start();
    let address = net::SocketAddr::from_abstract_name(&name).unwrap();
    let connect = || Connection::over(UnixStream::connect_addr(&address).unwrap());
    serves(&mut connect());
    assert_eq!(gateway.terminate().code, 0);
    assert!(UnixStream::connect_addr(&address).is_err());
}

#[test]
fn tcp_on_ipv4() {
    let gateway = builder().bind_tcp().start();
    let mut connection = Connection::tcp(gateway.address());
    for _ in 0..10 {
        let response = connection.request(&Request::get("/tcp").keep());
        assert_eq!(response.expect(200).text(), "/tcp");
    }
    let large = Request::post("/", &[b'x'; 1_000_000]);
    let response = connection.request(&large).expect(200);
    assert!(response.closed && !response.reset);
}

#[test]
fn tcp_on_ipv6() {
    let address = free_port("[::1]:0");
    let gateway = builder().bind_address(address).start();
    serves(&mut Connection::tcp(gateway.address()));
    drop(gateway);
    // And without the word in front.
    let _gateway = builder().bind(address.to_string()).start();
    serves(&mut Connection::tcp(address));
}

#[test]
fn a_port_in_use_is_refused_with_the_address() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let exit = builder().bind(format!("tcp:{address}")).run();
    assert_eq!(exit.code, 1, "{}", exit.log);
    assert!(exit.log.contains(&address), "{}", exit.log);
}

#[test]
fn an_address_that_is_none_is_a_usage_error() {
    for address in [
        "",
        "unix:",
        "tcp:",
        "tcp:localhost",
        "fd:",
        "fd:x",
        "fd:-1",
        "host:99999",
    ] {
        let exit = builder().bind(address).run();
        assert_eq!(exit.code, 2, "{address:?}: {}", exit.log);
    }
}

// ---- Who may connect

#[test]
fn allow_lets_in_only_the_addresses_it_names() {
    let open = builder()
        .bind_tcp()
        .args(["--allow", "10.1.2.3,127.0.0.1"])
        .start();
    serves(&mut Connection::tcp(open.address()));
    // Readiness by TCP is a connect, which is accepted before the peer is looked at.
    let shut = builder().bind_tcp().args(["--allow", "10.1.2.3"]).start();
    turned_away(Connection::tcp(shut.address()));
    turned_away(Connection::tcp(shut.address()));
}

#[test]
fn section_2_3_fcgi_web_server_addrs_lets_in_only_the_addresses_it_names() {
    let open = builder()
        .bind_tcp()
        .env("FCGI_WEB_SERVER_ADDRS", "10.1.2.3,127.0.0.1")
        .start();
    serves(&mut Connection::tcp(open.address()));
    let shut = builder()
        .bind_tcp()
        .env("FCGI_WEB_SERVER_ADDRS", "10.1.2.3")
        .start();
    turned_away(Connection::tcp(shut.address()));
}

#[test]
fn allow_has_no_say_about_unix_sockets() {
    let gateway = builder()
        .args(["--allow", "10.1.2.3"])
        .env("FCGI_WEB_SERVER_ADDRS", "10.1.2.3")
        .start();
    serves(&mut Connection::open(gateway.socket()));
}

#[test]
fn an_ipv4_peer_of_an_ipv6_socket_is_known_by_its_ipv4_address() {
    let port = free_port("[::]:0").port();
    let gateway = builder()
        .bind(format!("tcp:[::]:{port}"))
        .args(["--allow", "127.0.0.1"])
        .start();
    serves(&mut Connection::tcp(SocketAddr::from((
        [127, 0, 0, 1],
        port,
    ))));
    turned_away(Connection::tcp(free(port)));
    drop(gateway);
}

fn free(port: u16) -> SocketAddr {
    SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port))
}

#[test]
fn tcp_open_to_everybody_is_warned_about() {
    let open = builder().bind_tcp().start();
    open.wait_for_log("--allow");
    let told = builder().bind_tcp().args(["--allow", "127.0.0.1"]).start();
    told.wait_for_log("ready");
    serves(&mut Connection::tcp(told.address()));
    assert!(!told.log().contains("--allow"), "{}", told.log());
}

#[test]
fn an_allow_that_is_no_address_is_a_usage_error() {
    let exit = builder().bind_tcp().args(["--allow", "localhost!"]).run();
    assert_eq!(exit.code, 2, "{}", exit.log);
}

// ---- Sockets made by somebody else

fn listener(builder: &Builder) -> (UnixListener, std::path::PathBuf) {
    let path = builder.folder().path().join("given.sock");
    (UnixListener::bind(&path).unwrap(), path)
}

#[test]
fn section_2_2_a_listening_socket_on_fd_0_is_fastcgi() {
    // Blocking or not: mod_fcgid gives a blocking one.
    for nonblocking in [false, true] {
        let builder = builder().auto_door();
        let (listener, path) = listener(&builder);
        listener.set_nonblocking(nonblocking).unwrap();
        let gateway = builder.stdin(listener).start();
        serves(&mut Connection::open(&path));
        serves(&mut Connection::open(&path));
        let folder = std::fs::read_dir(gateway.folder()).unwrap();
        assert!(folder.count() > 0);
        let mut gateway = gateway;
        gateway.signal(nix::sys::signal::Signal::SIGTERM);
        while gateway.is_running() {
            std::thread::yield_now();
        }
        assert!(path.exists(), "whoever made it removes it");
    }
}

#[test]
fn section_2_2_a_tcp_listener_on_fd_0() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let _gateway = builder().auto_door().stdin(listener).start();
    serves(&mut Connection::tcp(address));
}

#[test]
fn section_2_2_with_the_nearly_empty_environment_that_a_web_server_gives() {
    let builder = builder()
        .auto_door()
        .clean_environment()
        .env("PATH", "/usr/bin:/bin");
    let (listener, path) = listener(&builder);
    let _gateway = builder.stdin(listener).start();
    serves(&mut Connection::open(&path));
}

#[test]
fn section_2_3_web_server_addrs_count_for_an_inherited_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let _gateway = builder()
        .auto_door()
        .env("FCGI_WEB_SERVER_ADDRS", "10.9.8.7")
        .stdin(listener)
        .start();
    turned_away(Connection::tcp(address));
}

#[test]
fn fd_0_by_its_number() {
    let builder = builder().bind("fd:0");
    let (listener, path) = listener(&builder);
    let _gateway = builder.stdin(listener).start();
    serves(&mut Connection::open(&path));
}

#[test]
fn a_descriptor_by_its_number() {
    let builder = builder().bind("fd:7").shell("exec \"$@\" 7<&0 </dev/null");
    let (listener, path) = listener(&builder);
    let _gateway = builder.stdin(listener).start();
    serves(&mut Connection::open(&path));
}

#[test]
fn a_descriptor_that_does_not_listen_is_refused() {
    let (connected, _other) = UnixStream::pair().unwrap();
    let exit = builder().bind("fd:0").stdin(OwnedFd::from(connected)).run();
    assert_eq!(exit.code, 2, "{}", exit.log);
    let exit = builder().bind("fd:9").run();
    assert_eq!(exit.code, 2, "{}", exit.log);
    assert!(exit.log.contains('9'), "{}", exit.log);
}

#[test]
fn systemd_gives_its_sockets_from_fd_3_on() {
    let builder = builder()
        .bind("systemd")
        .shell("export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\" 3<&0 </dev/null");
    let (listener, path) = listener(&builder);
    let gateway = builder.stdin(listener).start();
    serves(&mut Connection::open(&path));
    let mut gateway = gateway;
    gateway.signal(nix::sys::signal::Signal::SIGTERM);
    while gateway.is_running() {
        std::thread::yield_now();
    }
    assert!(path.exists(), "it is systemd's");
}

#[test]
fn systemd_sockets_of_another_process_are_refused() {
    let stranger = builder()
        .bind("systemd")
        .env("LISTEN_PID", "1")
        .env("LISTEN_FDS", "1")
        .run();
    assert_eq!(stranger.code, 2, "{}", stranger.log);
    let nothing = builder().bind("systemd").run();
    assert_eq!(nothing.code, 2, "{}", nothing.log);
    assert!(nothing.log.contains("systemd") || nothing.log.contains("LISTEN_FDS"));
}

#[test]
fn the_listener_does_not_leak_into_what_the_application_starts() {
    let gateway = builder().start();
    fetch(gateway.socket(), &Request::get("/")).expect(200);
    // Every descriptor that it opened itself is close-on-exec (02000000 in the flags).
    let pid = gateway.worker().to_string();
    let fdinfo = format!("/proc/{pid}/fdinfo");
    for entry in std::fs::read_dir(fdinfo).unwrap() {
        let entry = entry.unwrap();
        let number: u32 = entry.file_name().to_str().unwrap().parse().unwrap();
        let Ok(text) = std::fs::read_to_string(entry.path()) else {
            continue;
        };
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = u32::from_str_radix(flags.unwrap().trim(), 8).unwrap();
        let target = |pid: &str| std::fs::read_link(format!("/proc/{pid}/fd/{number}")).ok();
        let theirs = target(&pid);
        // What whoever runs the tests left open came to both of us.
        let inherited = number <= 2 || theirs == target("self");
        assert!(
            inherited || flags & 0o2_000_000 != 0,
            "fd {number}, {theirs:?}: {text}"
        );
    }
}
