//! An application that forks, by hand or with multiprocessing: its children are not the gateway. They have copies of its
//! sockets, its signal handlers and the open request, and none of them may be seen from outside.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::support::cgi::Cgi;
use crate::support::client::{Connection, Request, fetch};
use crate::support::gateway::{Builder, Fifo, Gateway};
use crate::support::load::Load;
use crate::support::wait;

const APP: &str = "forking.py";

/// One worker thread, which is Python's main thread, and two, of which either may fork.
const THREADS: [&str; 2] = ["1", "2"];

/// The children that an application has made, each known by a file of its name. Dropping this kills them.
struct Children {
    folder: TempDir,
}

impl Children {
    fn new() -> Children {
        let folder = TempDir::with_prefix("wsgi-gateway-test-children-").unwrap();
        Children { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn request(&self, path: &str) -> Request {
        Request::get(&format!("{path}?folder={}", self.path().display()))
    }

    fn pids(&self) -> Vec<i32> {
        let files = fs::read_dir(self.path()).unwrap();
        files
            .filter_map(|file| file.unwrap().file_name().to_str()?.parse().ok())
            .collect()
    }

    /// The one child that there is, which has to be alive.
    #[track_caller]
    fn the_living(&self) -> i32 {
        let pids = self.pids();
        assert_eq!(pids.len(), 1, "{pids:?}");
        assert!(is_alive(pids[0]), "the child has ended");
        pids[0]
    }

    /// Waits until there is one at least, and all of them have ended.
    #[track_caller]
    fn wait_for_end(&self) {
        let has_ended = |pids: Vec<i32>| !pids.is_empty() && !pids.into_iter().any(is_alive);
        // They are not our children, so that nothing but their entries in /proc tells of their end.
        wait::until(|| has_ended(self.pids()), || "a child does not end".into());
    }
}

impl Children {
    fn kill(&self) {
        for pid in self.pids() {
            if is_alive(pid) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether the process runs: one that has ended and was not waited for does not.
fn is_alive(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.contains(") Z ") && !stat.contains(") X "))
}

fn start(threads: &str) -> Gateway {
    Gateway::start(APP, &["--threads", threads])
}

/// The gateway was not told anything, serves on, and ends as it should.
#[track_caller]
fn lives_on(mut gateway: Gateway) {
    assert!(gateway.is_unharmed(), "{}", gateway.log());
    let id = fetch(gateway.socket(), &Request::get("/id"));
    assert_eq!(id.expect(200).text(), gateway.worker().to_string());
    assert!(gateway.socket().exists(), "the socket is gone");
    let log = gateway.log();
    assert!(!log.contains("told to end"), "{log}");
    let socket = gateway.socket().to_owned();
    let exit = gateway.terminate();
    assert_eq!(exit.code, 0, "{}", exit.log);
    assert_eq!(exit.log.matches("told to end").count(), 1, "{}", exit.log);
    assert!(!socket.exists(), "the socket is left");
}

// ---- Signals to children

/// A child begins with our handlers, of which it is not to make use, not even in its first moment.
#[test]
fn a_signal_to_a_child_ends_the_child_and_is_no_word_to_the_gateway() {
    for threads in THREADS {
        for (signal, number) in [("SIGTERM", -15), ("SIGINT", -2)] {
            let gateway = start(threads);
            let children = Children::new();
            let query = format!(
                "/signalled?signal={signal}&folder={}",
                children.path().display()
            );
            let answer = fetch(gateway.socket(), &Request::get(&query));
            let how = answer.expect(200).text();
            assert_eq!(how, number.to_string(), "{signal}, {threads} threads");
            lives_on(gateway);
        }
    }
}

#[test]
fn multiprocessing_can_terminate_its_children() {
    for threads in THREADS {
        let gateway = start(threads);
        let children = Children::new();
        let answer = fetch(gateway.socket(), &children.request("/multiprocessed"));
        assert_eq!(answer.expect(200).text(), "-15 [7]", "{threads} threads");
        lives_on(gateway);
    }
}

/// The CGI door has no handlers, and none of it may be left to a child either.
#[test]
fn multiprocessing_can_terminate_its_children_behind_cgi() {
    let children = Children::new();
    let output = Cgi::new(APP, &children.request("/multiprocessed")).run();
    assert_eq!(output.code, 0, "{output:#?}");
    assert_eq!(output.response().body, b"-15 [7]", "{output:#?}");
}

// ---- What children write

#[test]
fn what_a_child_writes_to_errors_stays_off_the_connection() {
    for threads in THREADS {
        let gateway = start(threads);
        let children = Children::new();
        let mut connection = Connection::open(gateway.socket());
        for _ in 0..3 {
            let answer = connection.request(&children.request("/reporting").keep());
            let answer = answer.expect(200);
            assert_eq!(answer.text(), "by itself");
            // And what the parent had written before the fork leaves once.
            let errors = String::from_utf8_lossy(&answer.stderr);
            assert_eq!(errors, "parent, before\nparent, behind\n");
        }
        lives_on(gateway);
    }
}

/// Other threads are in the middle of the log when this one forks: the child finds it free all the same.
#[test]
fn a_child_may_write_to_errors_whatever_other_threads_do() {
    let gateway = start("4");
    let children = Children::new();
    let load = Load::on(&gateway, "/reports").clients(3);
    let ((), tally) = load.during(|_| {
        for _ in 0..150 {
            let answer = fetch(gateway.socket(), &children.request("/reporting"));
            assert_eq!(answer.expect(200).text(), "by itself");
        }
    });
    tally.expect_none_lost();
    lives_on(gateway);
}

#[test]
fn what_a_child_writes_to_errors_after_the_request_stays_off_the_connection() {
    let gateway = start("1");
    let children = Children::new();
    let fifo = Fifo::new(children.path(), "fifo");
    let mut connection = Connection::open(gateway.socket());
    let mut request = children.request("/reporting-later").keep();
    let query = format!("folder={0}&fifo={0}/fifo", children.path().display());
    request = request.param("QUERY_STRING", query);
    let answer = connection.request(&request).expect(200);
    assert_eq!(
        (answer.text().as_str(), &answer.stderr[..]),
        ("parent", &b""[..])
    );
    children.the_living();
    fifo.release(b"");
    children.wait_for_end();
    assert!(connection.is_quiet(), "{:?}", connection.read_record());
    let answer = connection.request(&Request::get("/id").keep()).expect(200);
    assert_eq!(answer.text(), gateway.worker().to_string());
    drop(connection);
    lives_on(gateway);
}

// ---- Children that leave the application

/// What each child's way is answered with: by the parent, once it has seen the child end.
const WAYS: [(&str, &str); 11] = [
    ("exits", ""),
    ("raises", ""),
    ("interrupts", ""),
    ("never-starts", ""),
    ("returns-a-list", ""),
    ("returns-a-large-list", ""),
    ("returns-a-generator", ""),
    ("returns-a-file", ""),
    ("returns-nothing", ""),
    ("writes", "before, "),
    ("in-the-body", "before, "),
];

#[test]
fn a_child_that_leaves_the_application_answers_nothing_and_serves_nobody() {
    for threads in THREADS {
        let gateway = start(threads);
        let children = Children::new();
        let mut connection = Connection::open(gateway.socket());
        for (way, before) in WAYS {
            let request = children.request(&format!("/leaving/{way}"));
            let expected = format!("{before}parent, child ended by itself");
            let told = format!("{way}, {threads} threads: {}", gateway.log());
            let answer = fetch(gateway.socket(), &request).expect(200);
            assert_eq!(answer.text(), expected, "{told}");
            // The same where the connection goes on and a second answer would be taken for the next one's.
            let answer = connection.request(&request.keep()).expect(200);
            assert_eq!(answer.text(), expected, "{told}");
            assert!(connection.is_quiet(), "{told}");
        }
        assert_eq!(children.pids().len(), 2 * WAYS.len());
        for _ in 0..20 {
            let answer = fetch(gateway.socket(), &Request::get("/id")).expect(200);
            assert_eq!(answer.text(), gateway.worker().to_string());
        }
        drop(connection);
        lives_on(gateway);
    }
}

#[test]
fn a_child_that_leaves_the_application_answers_nothing_behind_cgi() {
    for (way, before) in WAYS {
        let children = Children::new();
        let output = Cgi::new(APP, &children.request(&format!("/leaving/{way}"))).run();
        assert_eq!(output.code, 0, "{way}: {output:#?}");
        assert_eq!(
            output.text().matches("Status:").count(),
            1,
            "{way}: {output:#?}"
        );
        let response = output.response();
        assert_eq!(response.status, 200, "{way}: {output:#?}");
        let body = String::from_utf8_lossy(&response.body);
        assert_eq!(
            body,
            format!("{before}parent, child ended by itself"),
            "{way}"
        );
    }
}

// ---- Children that live on

/// The end of a FastCGI request without FCGI_KEEP_CONN is the close, which a child's copy must not put off.
#[test]
fn a_child_that_lives_on_does_not_hold_a_connection_open() {
    for path in ["/living", "/living-apart"] {
        let gateway = start("1");
        let children = Children::new();
        // To the end of the connection.
        let answer = fetch(gateway.socket(), &children.request(path)).expect(200);
        assert_eq!(answer.text(), "parent");
        assert!(answer.closed);
        children.the_living();
        // Connections made before the fork and after it.
        for _ in 0..3 {
            assert!(
                fetch(gateway.socket(), &Request::get("/id"))
                    .expect(200)
                    .closed
            );
        }
        children.the_living();
        // The end of the gateway's log is the end of all that have its standard error.
        children.kill();
        lives_on(gateway);
    }
}

#[test]
fn a_child_that_lives_on_does_not_hold_another_connection_open() {
    let gateway = start("1");
    let children = Children::new();
    let mut kept = Connection::open(gateway.socket());
    kept.request(&Request::get("/id").keep()).expect(200);
    fetch(gateway.socket(), &children.request("/living")).expect(200);
    // The child has a copy of this one, which was idle.
    assert!(kept.request(&Request::get("/id")).expect(200).closed);
    children.the_living();
    children.kill();
    lives_on(gateway);
}

/// The end of a CGI response is the end of standard output.
#[test]
fn a_child_that_lives_on_does_not_hold_a_cgi_response_open() {
    let children = Children::new();
    let running = Cgi::new(APP, &children.request("/living")).spawn();
    let output = running.wait_for_end_of_stdout();
    assert!(output.ends_with(b"\r\n\r\nparent"));
    let child = children.the_living();
    // Its standard error is the web server's, which is what it wanted by not redirecting it.
    kill(Pid::from_raw(child), Signal::SIGKILL).unwrap();
    assert_eq!(running.finish().code, 0);
}

#[test]
fn a_child_in_the_background_holds_nothing_of_a_cgi_process() {
    let children = Children::new();
    let output = Cgi::new(APP, &children.request("/living-apart")).run();
    assert_eq!(output.code, 0, "{output:#?}");
    assert_eq!(output.response().body, b"parent");
    children.the_living();
}

// ---- Forks at odd times

/// The child is not another worker in its parent's place, whichever way it leaves the import.
#[test]
fn a_child_that_is_forked_in_the_import_ends_there() {
    for options in [&["--workers", "1"][..], &["--workers", "1", "--preload"]] {
        for what in ["returns", "raises", "exits"] {
            let children = Children::new();
            let words = format!("{what} {}", children.path().display());
            let builder = Gateway::builder("forks_early.py").args(options);
            let gateway = builder.env("FORKS_EARLY", words).start();
            gateway.wait_until_ready(1);
            children.wait_for_end();
            assert_eq!(children.pids().len(), 1);
            for _ in 0..3 {
                let id = fetch(gateway.socket(), &Request::get("/"))
                    .expect(200)
                    .text();
                assert_eq!(id, gateway.worker().to_string());
            }
            assert_eq!(gateway.terminate().code, 0);
        }
    }
}

/// There is one answer.
#[test]
fn a_child_that_is_forked_in_the_import_answers_no_cgi_request() {
    for what in ["returns", "raises", "exits"] {
        let children = Children::new();
        let words = format!("{what} {}", children.path().display());
        let cgi = Cgi::new("forks_early.py", &Request::get("/"));
        let output = cgi.env("FORKS_EARLY", words).run();
        assert_eq!(output.code, 0, "{output:#?}");
        let body = output.response().body;
        assert!(String::from_utf8(body).unwrap().parse::<u32>().is_ok());
        children.wait_for_end();
    }
}

/// The C library runs what is to be done at a fork for several of them at a time.
#[test]
fn threads_may_fork_at_the_same_time() {
    let gateway = start("2");
    let answer = fetch(gateway.socket(), &Request::get("/in-c")).expect(200);
    assert_eq!(answer.text(), "forked");
    gateway.wait_for_log("all have forked");
    lives_on(gateway);
}

// ---- The next gateway

/// Where a gateway is started, and started again.
enum Place {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

impl Place {
    fn start(&self) -> Gateway {
        self.of(Gateway::builder(APP)).start()
    }

    fn of(&self, builder: Builder) -> Builder {
        match self {
            Place::Unix(path) => builder.socket(path),
            Place::Tcp(address) => builder.bind_address(*address),
        }
    }

    fn fetch(&self, request: &Request) -> String {
        let mut connection = match self {
            Place::Unix(path) => Connection::open(path),
            Place::Tcp(address) => Connection::tcp(*address),
        };
        connection.request(request).expect(200).text()
    }
}

/// A child has a copy of the listening socket, and an address is in use for as long as somebody listens on it.
#[test]
fn a_child_that_outlives_the_gateway_does_not_keep_the_next_one_out() {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let folder = TempDir::with_prefix("wsgi-gateway-test-").unwrap();
        let free = crate::support::gateway::free_port("127.0.0.1:0");
        for place in [
            Place::Tcp(free),
            Place::Unix(folder.path().join("restarted.sock")),
        ] {
            let children = Children::new();
            let first = place.start();
            assert_eq!(place.fetch(&children.request("/living-apart")), "parent");
            first.signal(signal);
            first.wait();
            children.the_living();
            // Panics with what it says where it cannot listen.
            let second = place.start();
            let id = place.fetch(&Request::get("/id"));
            assert_eq!(id, second.worker().to_string());
            children.the_living();
        }
    }
}
