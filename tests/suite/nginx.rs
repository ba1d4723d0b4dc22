//! Real nginx in front, started with `conf/nginx.conf`: on new and on kept connections, buffered and not.
//!
//! Where there is no nginx these tests say so and pass; in CI (`CI` is set) they fail.

use std::fs::{self, File, Permissions};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, geteuid, mkfifo};
use tempfile::TempDir;

use crate::gateway::{DEADLINE, Gateway, free_port};
use crate::http::Client;

/// What differs between one nginx and the other.
#[derive(Clone, Copy, Debug)]
struct Kind {
    /// Connections to the gateway are kept, as `conf/nginx.conf` has it; else each request has its own.
    kept: bool,
    /// nginx collects request and response, as `conf/nginx.conf` has it; else it passes both on at once.
    buffered: bool,
}

#[rustfmt::skip]
const KINDS: [Kind; 4] = [
    Kind { kept: true, buffered: true },
    Kind { kept: true, buffered: false },
    Kind { kept: false, buffered: true },
    Kind { kept: false, buffered: false },
];

#[test]
fn the_application_sees_the_request_as_it_was_sent() {
    with_each(&KINDS, |site| {
        let names = "REQUEST_METHOD SCRIPT_NAME PATH_INFO QUERY_STRING REQUEST_URI wsgi.url_scheme SERVER_PROTOCOL \
                     HTTP_X_NAMES CONTENT_TYPE HTTP_CONTENT_TYPE HTTP_CONTENT_LENGTH";
        let field = format!("X-Names: {names}");
        let mut client = site.client();
        let target = "/variables/caf%C3%A9%20au/lait?a=%C3%A9&b=";
        client.begin("GET", target, &[&field], 0);
        let page = client.page("GET");
        assert_eq!(page.status, 200);
        let expected = [
            "REQUEST_METHOD='GET'",
            "SCRIPT_NAME=''",
            "PATH_INFO='/variables/caf\\xc3\\xa9 au/lait'",
            "QUERY_STRING='a=%C3%A9&b='",
            "REQUEST_URI='/variables/caf%C3%A9%20au/lait?a=%C3%A9&b='",
            "wsgi.url_scheme='http'",
            "SERVER_PROTOCOL='HTTP/1.1'",
            &format!("HTTP_X_NAMES='{names}'"),
            // nginx sends them empty or twice; PEP 3333 and wsgiref.validate want them so.
            "CONTENT_TYPE=None",
            "HTTP_CONTENT_TYPE=None",
            "HTTP_CONTENT_LENGTH=None",
        ];
        assert_eq!(page.text().lines().collect::<Vec<_>>(), expected);
    });
}

#[test]
fn a_body_comes_back_as_it_was_sent() {
    with_each(&KINDS, |site| {
        let mut client = site.client();
        for length in [1, 1_000, 100_000, 20_000_000] {
            let body = pattern(length);
            let page = client.fetch("POST", "/echo", &body);
            assert_eq!((page.status, page.body.len()), (200, length));
            assert!(page.body == body, "{length} bytes came back changed");
        }
    });
}

#[test]
fn a_large_page_of_no_announced_length_is_whole() {
    with_each(&KINDS, |site| {
        let mut client = site.client();
        let page = client.fetch("GET", "/large?20000000", b"");
        assert_eq!((page.status, page.whole), (200, true));
        assert_eq!(page.body.len(), 20_000_000);
        assert!(page.body == pattern(20_000_000), "changed on the way");
    });
}

#[test]
fn answers_without_a_body_leave_the_connection_in_order() {
    with_each(&KINDS, |site| {
        let mut client = site.client();
        let head = client.fetch("HEAD", "/hello", b"");
        assert_eq!(head.status, 200);
        assert_eq!(head.field("Content-Length"), Some("5"));
        // A body that came all the same would be read as the head of the next answer.
        assert_eq!(client.fetch("GET", "/no_content", b"").status, 204);
        let page = client.fetch("GET", "/not_modified", b"");
        assert_eq!((page.status, page.field("ETag")), (304, Some("\"1\"")));
        let page = client.fetch("GET", "/hello", b"");
        assert_eq!((page.status, page.text().as_str()), (200, "Hello"));
    });
}

#[test]
fn the_error_page_comes_through() {
    with_each(&KINDS, |site| {
        let page = site.client().fetch("GET", "/fails", b"");
        assert_eq!((page.status, page.whole), (500, true));
        assert_eq!(
            page.field("Content-Type"),
            Some("text/plain; charset=utf-8")
        );
        assert!(!page.text().contains("on purpose"), "{}", page.text());
        site.gateway.wait_for_log("failed on purpose");
        assert_eq!(site.client().fetch("GET", "/hello", b"").text(), "Hello");
    });
}

#[test]
fn an_error_in_mid_body_is_seen_as_a_cut() {
    with_each(&KINDS, |site| {
        let mut pages = vec!["/breaks?1000"];
        // Without a Content-Length only this kind of nginx takes a close before END_REQUEST for what it is.
        if site.kind.kept && site.kind.buffered {
            pages.push("/breaks");
        }
        for target in pages {
            let mut client = site.client();
            // The other kinds keep the client's connection open, so that it would wait for the rest.
            client.begin("GET", target, &["Connection: close"], 0);
            let page = client.page("GET");
            assert_eq!((page.status, page.text().as_str()), (200, "a beginning"));
            assert!(!page.whole, "{target} looks like a whole page");
        }
        site.gateway.wait_for_log("broke on purpose");
        assert_eq!(site.client().fetch("GET", "/hello", b"").text(), "Hello");
    });
}

#[test]
fn a_generator_arrives_block_by_block() {
    let unbuffered = KINDS.iter().filter(|kind| !kind.buffered);
    with_each(unbuffered, |site| {
        // The application yields a block and then waits for the client to say that it has come.
        let fifo = site.folder.path().join("fifo");
        mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        let mut client = site.client();
        client.begin("GET", &format!("/blocks?{}", fifo.display()), &[], 0);
        assert_eq!(client.head("GET").status, 200);
        assert_eq!(client.block().unwrap(), b"one");
        fs::write(&fifo, "two").unwrap();
        assert_eq!(client.block().unwrap(), b"two");
        assert_eq!(client.block().unwrap(), b"");
    });
}

#[test]
fn an_upload_is_read_while_it_arrives() {
    let unbuffered = KINDS.iter().filter(|kind| !kind.buffered);
    with_each(unbuffered, |site| {
        // The second half is sent only when the application has the first, which is more than the gateway
        // buffers. It says so in the log: nginx stops sending the request once the response has begun.
        let half = 200_000;
        let mut client = site.client();
        client.begin("POST", &format!("/piecewise?{half}"), &[], 2 * half);
        client.write(&pattern(half));
        site.gateway.wait_for_log("read the first 200000");
        client.write(&pattern(half));
        let page = client.page("POST");
        assert_eq!((page.status, page.text().as_str()), (200, "200000"));
    });
}

#[test]
fn two_thousand_requests_of_eight_clients_all_succeed() {
    with_each(&KINDS, |site| {
        thread::scope(|scope| {
            for number in 0..8 {
                scope.spawn(move || {
                    let mut client = site.client();
                    for request in 0..125 {
                        let page = client.fetch("GET", "/hello", b"");
                        assert_eq!((page.status, page.text().as_str()), (200, "Hello"));
                        let body = format!("client {number}, request {request}");
                        let page = client.fetch("POST", "/echo", body.as_bytes());
                        assert_eq!((page.status, page.text()), (200, body));
                    }
                });
            }
        });
    });
}

#[test]
fn connections_are_kept_as_configured() {
    with_each(&KINDS, |site| {
        let before = site.gateway.fd_count();
        for _ in 0..20 {
            assert_eq!(site.client().fetch("GET", "/hello", b"").status, 200);
        }
        if site.kind.kept {
            assert!(site.gateway.fd_count() > before, "no connection is kept");
        } else {
            wait_until("a connection is still open", || {
                site.gateway.fd_count() <= before
            });
        }
    });
}

#[test]
fn a_client_that_leaves_does_no_harm() {
    with_each(&KINDS, |site| {
        let mut client = site.client();
        client.begin("GET", "/endless", &[], 0);
        assert_eq!(client.head("GET").status, 200);
        client.block().unwrap();
        drop(client);
        site.gateway.wait_for_log("the endless page was closed");
        assert_eq!(site.client().fetch("GET", "/hello", b"").text(), "Hello");
        let log = site.gateway.log();
        assert!(
            !log.contains("Traceback") && !log.contains("panicked"),
            "{log}"
        );
    });
}

/// `length` bytes as the application makes them.
fn pattern(length: usize) -> Vec<u8> {
    (0..=250).cycle().take(length).collect()
}

/// Runs a test against a site of each of these kinds.
fn with_each<'a>(kinds: impl IntoIterator<Item = &'a Kind>, test: impl Fn(&Site)) {
    let Some(program) = nginx() else {
        let reason = "no nginx on this machine";
        assert!(std::env::var_os("CI").is_none(), "{reason}");
        eprintln!("skipped: {reason}");
        return;
    };
    for kind in kinds {
        // Of use when the test fails: its output is shown then.
        eprintln!("{kind:?}");
        test(&Site::start(&program, *kind));
    }
}

/// nginx, also where PATH does not have the administrator's programs.
fn nginx() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join("nginx"))
        .find(|program| program.is_file())
}

/// nginx and a gateway behind it.
struct Site {
    kind: Kind,
    address: SocketAddr,
    nginx: Child,
    gateway: Gateway,
    folder: TempDir,
}

impl Site {
    fn start(program: &Path, kind: Kind) -> Site {
        let mut builder = Gateway::builder("nginx_site").args(["--threads", "2"]);
        // As an address of its own, so that the start is read in the log: no connection but nginx's is ever made.
        let socket = format!("unix:{}", builder.socket_path().display());
        builder = builder.bind(socket);
        if geteuid().is_root() {
            // nginx's workers are www-data then.
            builder = builder.args(["--socket-group", "www-data"]);
        }
        let gateway = builder.start();
        let folder = TempDir::with_prefix("wsgi-gateway-nginx-").unwrap();
        for folder in [gateway.folder(), folder.path()] {
            fs::set_permissions(folder, Permissions::from_mode(0o711)).unwrap();
        }
        // A free port is free until somebody takes it.
        let (nginx, address) = (0..10)
            .find_map(|_| start_nginx(program, kind, &gateway, folder.path()))
            .expect("a free port");
        Site {
            kind,
            address,
            nginx,
            gateway,
            folder,
        }
    }

    fn client(&self) -> Client {
        Client::open(self.address)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // Not SIGKILL: it would leave nginx's workers behind.
        kill(
            Pid::from_raw(i32::try_from(self.nginx.id()).unwrap()),
            Signal::SIGTERM,
        )
        .unwrap();
        self.nginx.wait().unwrap();
        if thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            eprintln!("---- log of nginx\n{log}----");
        }
    }
}

/// Starts nginx on a free port and waits until it listens; `None` when the port was taken meanwhile.
fn start_nginx(
    program: &Path,
    kind: Kind,
    gateway: &Gateway,
    folder: &Path,
) -> Option<(Child, SocketAddr)> {
    let address = free_port("127.0.0.1:0");
    let (configuration, log) = (folder.join("nginx.conf"), folder.join("log"));
    fs::write(&configuration, filled_in(kind, gateway.socket(), address)).unwrap();
    let mut nginx = Command::new(program)
        .args(["-e", "stderr", "-g", "daemon off;", "-p"])
        .arg(folder)
        .arg("-c")
        .arg(&configuration)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + DEADLINE;
    loop {
        // nginx writes its pid once it has the port; before, a connect may reach whoever else has it.
        if folder.join("nginx.pid").exists() && TcpStream::connect(address).is_ok() {
            return Some((nginx, address));
        }
        if nginx.try_wait().unwrap().is_some() {
            let log = fs::read_to_string(&log).unwrap();
            assert!(
                log.contains("Address already in use"),
                "nginx ended:\n{log}"
            );
            return None;
        }
        if Instant::now() > deadline {
            nginx.kill().unwrap();
            nginx.wait().unwrap();
            panic!(
                "nginx does not start:\n{}",
                fs::read_to_string(&log).unwrap()
            );
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// `conf/nginx.conf` with this socket and this address, changed to the kind.
fn filled_in(kind: Kind, socket: &Path, address: SocketAddr) -> String {
    let mut text = include_str!("../../conf/nginx.conf").to_owned();
    let mut replace = |from: &str, to: &str| {
        assert_eq!(text.matches(from).count(), 1, "{from} in conf/nginx.conf");
        text = text.replace(from, to);
    };
    replace(
        "server unix:/run/wsgi-gateway.sock",
        &format!("server unix:{}", socket.display()),
    );
    replace("127.0.0.1:8080", &address.to_string());
    if !kind.kept {
        replace("            fastcgi_keep_conn on;", "");
        replace("        keepalive 8;", "");
    }
    if !kind.buffered {
        replace("#fastcgi_buffering off;", "fastcgi_buffering off;");
        replace(
            "#fastcgi_request_buffering off;",
            "fastcgi_request_buffering off;",
        );
    }
    text
}

fn wait_until(otherwise: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{otherwise}");
        thread::sleep(Duration::from_millis(5));
    }
}
