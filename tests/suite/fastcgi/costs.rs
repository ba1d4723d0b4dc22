//! Requests at the edge of `--max-params` that make the most work of their bytes. None may cost more than its bytes do: where
//! the cost were their square, the answer would take minutes, and the client's deadline passes long before.

use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::client::{Connection, Request, fetch};
use crate::support::gateway::Gateway;

/// Bytes of variables.
const MOST: usize = 900_000;

fn get() -> Request {
    Request::get("/")
}

/// A request of so many more pairs.
fn with_pairs(request: Request, count: usize, pair: impl Fn(usize) -> (String, String)) -> Request {
    (0..count).fold(request, |request, at| {
        let (name, value) = pair(at);
        request.add_param(name, value)
    })
}

/// What makes the most work, and the name of it.
fn worst() -> Vec<(&'static str, Request)> {
    let apache = |part: &str| {
        let long = format!("/{}", part.repeat(MOST / 2 / part.len()));
        get()
            .param("SERVER_SOFTWARE", "Apache/2.4")
            .param("PATH_INFO", &long)
            .param("REQUEST_URI", long)
    };
    let long = "a".repeat(MOST / 3);
    vec![
        ("escaped slashes", apache("%2f")),
        ("escaped slashes, once more", apache("%2F%2f")),
        ("escapes", apache("%2520")),
        ("folders", apache("/a/..")),
        (
            "a header many times",
            with_pairs(get(), MOST / 9, |_| ("HTTP_X".into(), "a".into())),
        ),
        (
            "many headers",
            with_pairs(get(), MOST / 15, |at| {
                (format!("HTTP_X{at:06}"), "a".into())
            }),
        ),
        (
            "many headers twice",
            with_pairs(get(), MOST / 15, |at| {
                (format!("HTTP_X{:06}", at / 2), "a".into())
            }),
        ),
        (
            "many variables twice",
            with_pairs(get(), MOST / 10, |at| {
                (format!("X{:06}", at % (MOST / 20)), "a".into())
            }),
        ),
        (
            "many names of no header",
            with_pairs(get(), MOST / 15, |at| {
                (format!("HTTP_x{at:06}"), "a".into())
            }),
        ),
        (
            "no names",
            with_pairs(get(), MOST / 2, |_| (String::new(), String::new())),
        ),
        (
            "a folder in a file's name",
            get()
                .param("SERVER_SOFTWARE", "Apache/2.4")
                .param("SCRIPT_FILENAME", format!("proxy:fcgi://h/{long}{long}"))
                .param("DOCUMENT_ROOT", format!("{long}b")),
        ),
    ]
}

#[test]
fn no_request_costs_the_square_of_its_bytes() {
    let gateway = Gateway::start("costs.py", &[]);
    let usual = room(&fetch(gateway.socket(), &get()).expect(200).text());
    for (what, request) in worst() {
        fetch(gateway.socket(), &request).expect(200);
        // Nor do those that follow pay for it.
        fetch(gateway.socket(), &get()).expect(200);
        let now = room(&fetch(gateway.socket(), &get()).expect(200).text());
        assert!(
            now <= 4 * usual.max(4096),
            "{what}: {now} bytes, and {usual} before"
        );
    }
    let request = with_pairs(get(), MOST / 9, |_| ("HTTP_X".into(), "a".into()));
    let text = fetch(gateway.socket(), &request).expect(200).text();
    let joined = text.split(' ').nth(1).unwrap();
    assert_eq!(joined, (3 * (MOST / 9) - 2).to_string());
    let request = get().add_param("HEADERS", "100000");
    fetch(gateway.socket(), &request).expect(200);
}

fn room(text: &str) -> usize {
    text.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn nor_does_its_explanation() {
    let gateway = Gateway::start("costs.py", &["--explain"]);
    let formats = ["html", "json", "text"].into_iter().cycle();
    let is_of_names = |what: &str| what.starts_with("many ") || what.starts_with("a folder");
    let worst = worst().into_iter().filter(|(what, _)| is_of_names(what));
    for ((_, request), format) in worst.zip(formats) {
        let request = request.param("QUERY_STRING", format!("format={format}"));
        fetch(gateway.socket(), &request).expect(200);
    }
}

/// What the system does for a request on a kept connection is all that it has to do: nothing is armed anew, no clock is asked of
/// the kernel, and nobody else is woken.
#[test]
fn a_request_on_a_kept_connection_is_three_system_calls() {
    const TIMES: usize = 50;
    let builder = Gateway::builder("hello:app");
    let listener = UnixListener::bind(builder.socket_path()).unwrap();
    // As a web server starts it: no other process, and no thread that looks after this one.
    let gateway = builder.auto_door().stdin(OwnedFd::from(listener)).start();
    let mut connection = Connection::open(gateway.socket());
    let request = get().keep();
    for _ in 0..3 {
        connection.request(&request).expect(200);
    }
    let calls = gateway.folder().join("calls");
    let mut strace = Command::new("strace")
        .args(["-p", &gateway.pid().to_string(), "-o"])
        .arg(&calls)
        .stderr(Stdio::piped())
        .spawn()
        .expect("strace is needed: run scripts/test, which installs it");
    let mut told = BufReader::new(strace.stderr.take().unwrap());
    let mut line = String::new();
    told.read_line(&mut line).unwrap();
    assert!(line.contains("attached"), "{line}");
    for _ in 0..TIMES {
        connection.request(&request).expect(200);
    }
    kill(
        Pid::from_raw(strace.id().try_into().unwrap()),
        Signal::SIGINT,
    )
    .unwrap();
    strace.wait().unwrap();
    let text = std::fs::read_to_string(calls).unwrap();
    let names: Vec<&str> = text
        .lines()
        .filter_map(|line| Some(line.split_once('(')?.0))
        .skip_while(|name| *name != "recvfrom")
        .collect();
    let expected = ["recvfrom", "sendto", "epoll_wait"];
    let counted = &names[..3 * TIMES - 1];
    assert!(
        counted
            .iter()
            .zip(expected.iter().cycle())
            .all(|(name, expected)| name == expected),
        "{names:?}"
    );
}
