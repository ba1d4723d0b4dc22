//! Real nginx in front, started with `conf/nginx.conf` and `conf/nginx-prefix.conf`: the list of requests through each way that they
//! show, and what nginx's buffers and kept connections could get wrong.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::thread;

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::matrix::{self, Loss, Way, loss};
use super::{Conf, Server, gateway, program, reachable, server_user};
use crate::support::gateway::Gateway;
use crate::support::http::Client;
use crate::support::process_table::send;
use crate::support::release::{Held, Release};
use crate::support::wait;

/// The whole list of requests, through everything that the two files let one do.
#[test]
fn every_request_arrives_as_on_a_plain_server() {
    if program("nginx").is_none() {
        return;
    }
    let (whole, mounted) = (
        gateway(matrix::APP, &[]),
        gateway(matrix::APP, &["--mount", "/app"]),
    );
    let (site, prefix) = (Conf::read("nginx.conf"), Conf::read("nginx-prefix.conf"));
    let stock = site.clone().without(&[
        "fastcgi_param SCRIPT_NAME \"\";",
        "fastcgi_param PATH_INFO $fastcgi_script_name;",
    ]);
    let plain = prefix.clone().without(&[
        "fastcgi_split_path_info (?s)^(/app)(/.*)?$;",
        "fastcgi_param PATH_INFO $fastcgi_path_info;",
    ]);
    let [kept, unbuffered, new, _] = KINDS;
    let ways = [
        ("nginx", "", kept.of(site.clone()), &whole),
        ("nginx, unbuffered", "", unbuffered.of(site.clone()), &whole),
        ("nginx, new connections", "", new.of(site), &whole),
        ("nginx, stock fastcgi_params", "", stock, &whole),
        ("nginx, prefix", "/app", prefix, &whole),
        (
            "nginx, prefix, stock fastcgi_params, --mount",
            "/app",
            plain,
            &mounted,
        ),
    ];
    let servers = ways.map(|(name, mount, conf, gateway)| (name, mount, start(&conf, gateway)));
    matrix::check(&servers.each_ref().map(|(name, mount, server)| Way {
        name,
        address: server.address(),
        mount,
        losses: if mount.is_empty() {
            &[LOSSES, ABSOLUTE]
        } else {
            &[LOSSES, ABSOLUTE_BELOW]
        },
    }));
}

/// What nginx itself changes, whatever is behind it.
#[rustfmt::skip]
const LOSSES: &[Loss] = &[
    loss("double slashes", "PATH_INFO", "'/double/slash/'", "merge_slashes"),
    loss("dots", "PATH_INFO", "'/a/c'", "resolved before a location is looked for"),
    loss("encoded dots", "PATH_INFO", "'/c'", "resolved before a location is looked for"),
    loss("above the root", "status", "400", "refused by nginx"),
    loss("encoded slashes above the root", "status", "400", "refused by nginx"),
    loss("HTTP/1.0 without host", "HTTP_HOST", "''", "$http_host of none is empty"),
    loss("absolute target", "HTTP_HOST", "'site.example:PORT'", "$http_host is the field as it is"),
    loss("absolute target", "SERVER_NAME", "'site.example'", "taken from it, where server_name says nothing"),
];

/// What nginx does to the target of an absolute request, as it is with each mount.
const ABSOLUTE: &[Loss] = &[loss(
    "absolute target",
    "REQUEST_URI",
    "'/abs?x=1'",
    "nginx cuts scheme and host",
)];
const ABSOLUTE_BELOW: &[Loss] = &[loss(
    "absolute target",
    "REQUEST_URI",
    "'/app/abs?x=1'",
    "nginx cuts scheme and host",
)];

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

/// The thread that has it is interrupted at once, and the connection ends.
#[test]
fn a_request_that_takes_too_long_gets_a_page() {
    if program("nginx").is_none() {
        return;
    }
    for kind in KINDS {
        let gateway = gateway("stuck.py", &["--request-timeout", "300ms"]);
        let nginx = start(&kind.of(Conf::read("nginx.conf")), &gateway);
        // A body is not read, and one of them is more than fits into a socket.
        let requests = [("GET", 0), ("POST", 1_000), ("POST", 2_000_000)];
        for (count, (method, body)) in requests.into_iter().enumerate() {
            let mut client = Client::open(nginx.address());
            let page = client.fetch(method, "/sleeps", &pattern(body));
            assert_eq!((page.status, page.whole), (504, true), "{kind:?}, {body}");
            assert!(page.text().contains("did not answer in time"), "{body}");
            gateway.wait_for_count("its worker goes on serving", count + 1);
        }
        let page = Client::open(nginx.address()).fetch("GET", "/", b"");
        assert_eq!(page.status, 200);
    }
}

#[test]
fn an_error_in_mid_body_is_seen_as_a_cut() {
    with_each(&KINDS, |site| {
        // Whether the client can tell without a Content-Length is another test's question (`cuts`).
        let mut client = site.client();
        // Some kinds keep the client's connection open, so that it would wait for the rest.
        client.begin("GET", "/breaks?1000", &["Connection: close"], 0);
        let page = client.page("GET");
        assert_eq!((page.status, page.text().as_str()), (200, "a beginning"));
        assert!(!page.whole, "it looks like a whole page");
        site.gateway.wait_for_log("broke on purpose");
        assert_eq!(site.client().fetch("GET", "/hello", b"").text(), "Hello");
    });
}

#[test]
fn a_generator_arrives_block_by_block() {
    let unbuffered = KINDS.iter().filter(|kind| !kind.buffered);
    with_each(unbuffered, |site| {
        // The application yields a block and then waits for the client to say that it has come.
        let fifo = site.gateway.folder().join("fifo");
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
            wait::until(
                || site.gateway.fd_count() <= before,
                || "a connection is still open".into(),
            );
        }
    });
}

/// What it has sent on a kept connection it sends again on a new one, where a request may be asked twice.
#[test]
fn a_get_on_a_kept_connection_survives_its_worker() {
    const CLIENTS: usize = 4;
    if program("nginx").is_none() {
        return;
    }
    let release = Release::new("serves text");
    let gateway = reachable(release.builder());
    let conf = Conf::read("nginx.conf").put("worker_processes auto;", "worker_processes 1;");
    let nginx = start(&conf, &gateway);
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|_| Client::open(nginx.address()))
        .collect();
    // While the only thread is taken, a connection is made for each of them, and then they are used again.
    for (name, kill) in [("one", false), ("two", true), ("three", true)] {
        let before = gateway.fd_count();
        let held = Held::new(&gateway, name);
        for client in &mut clients {
            client.begin("GET", "/", &[], 0);
        }
        if kill {
            send(gateway.worker(), Signal::SIGKILL);
        }
        drop(held);
        for client in &mut clients {
            let page = client.page("GET");
            assert_eq!((page.status, page.text().as_str()), (200, "text"));
        }
        if !kill {
            assert!(gateway.fd_count() > before, "none are kept");
        }
    }
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
    if program("nginx").is_none() {
        return;
    }
    for kind in kinds {
        // Of use when the test fails: its output is shown then.
        eprintln!("{kind:?}");
        test(&Site::start(*kind));
    }
}

/// nginx and a gateway behind it.
struct Site {
    kind: Kind,
    nginx: Server,
    gateway: Gateway,
}

impl Site {
    fn start(kind: Kind) -> Site {
        let gateway = gateway("nginx_site", &["--threads", "2"]);
        let nginx = start(&kind.of(Conf::read("nginx.conf")), &gateway);
        Site {
            kind,
            nginx,
            gateway,
        }
    }

    fn client(&self) -> Client {
        Client::open(self.nginx.address())
    }
}

impl Kind {
    /// A configuration changed to this kind, as its comments say.
    fn of(self, mut conf: Conf) -> Conf {
        if !self.kept {
            conf = conf.without(&["fastcgi_keep_conn on;", "keepalive 8;"]);
        }
        if !self.buffered {
            conf = conf.with(&["fastcgi_buffering off;", "fastcgi_request_buffering off;"]);
        }
        conf
    }
}

/// As nginx has it in its own log, with its id.
#[test]
fn nginx_sends_what_stands_in_a_line() {
    if program("nginx").is_none() {
        return;
    }
    let builder = Gateway::builder("logged.py");
    let path = builder.folder().path().join("access.log");
    let builder = builder.arg("--access-log").arg(&path);
    let gateway = reachable(builder.args(["--access-log-format", "combined"]));
    let conf = Conf::read("nginx.conf").with(&["fastcgi_param HTTP_X_REQUEST_ID $request_id;"]);
    let nginx = start(&conf, &gateway);
    let mut client = Client::open(nginx.address());
    client.begin(
        "GET",
        "/a%20b/%22%0a?c=%22&d",
        &["User-Agent: \"x\" \\", "Referer: /r"],
        0,
    );
    let page = client.page("GET");
    let id = page.text();
    assert!(page.status == 200 && id.len() == 32, "{id}");
    let line = gateway.wait_for("a line", || {
        let text = fs::read_to_string(&path).ok()?;
        text.strip_suffix('\n').map(str::to_owned)
    });
    let (client, rest) = line.split_once(" - - [").unwrap();
    assert_eq!(client, "127.0.0.1");
    let expected = "] \"GET /a%20b/%22%0a?c=%22&d HTTP/1.1\" 200 32 \"/r\" \"\\\"x\\\" \\\\\"";
    assert!(rest.ends_with(expected), "{rest}");
}

/// Starts nginx with this configuration in front of this gateway.
pub(super) fn start(conf: &Conf, gateway: &Gateway) -> Server {
    let program = program("nginx").expect("asked for before");
    Server::start(1, |start| {
        let folder = start.folder.path();
        let conf = filled_in(conf.clone(), gateway.socket(), start.address());
        let conf = start.folder.write("nginx.conf", conf.text());
        let mut nginx = Command::new(&program);
        nginx
            .args(["-e", "stderr", "-g", "daemon off;", "-p"])
            .arg(folder);
        nginx.arg("-c").arg(conf);
        nginx
    })
}

/// A configuration with this socket and this address.
fn filled_in(conf: Conf, socket: &Path, address: SocketAddr) -> Conf {
    let socket = format!("unix:{};", socket.display());
    let conf = conf
        .put("unix:/run/wsgi-gateway.sock;", socket)
        .put("127.0.0.1:8080", address.to_string());
    // nginx warns about a user where it cannot become one.
    match server_user() {
        Some(_) => conf,
        None => conf.without(&["user www-data;"]),
    }
}
