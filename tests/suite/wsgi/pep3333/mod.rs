//! PEP 3333, the server's side: one test a clause, each through both doors. Where the PEP leaves a choice,
//! the test holds the project's answer to it. The applications are in `tests/apps`, a family a file.

mod application_object;
mod close;
mod content_length;
mod environ;
mod error_handling;
mod error_stream;
mod file_wrapper;
mod headers;
mod input_stream;
mod return_value;
mod start_response;
mod status;
mod write;

use std::fs;
use std::io::Read;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::support::cgi::{Cgi, Fifo};
use crate::support::client::{Connection, END_REQUEST, Request, STDIN, STDOUT, fetch, record};
use crate::support::doors::{Answer, Door, Doors};
use crate::support::gateway::Gateway;
use crate::support::wait;

/// A GET whose query is a path in the file system, as the applications that leave marks want it.
fn get_with(path: &str, file: &std::path::Path) -> Request {
    Request::get(path).param("QUERY_STRING", file.to_str().unwrap())
}

/// How many lines the application has left in its mark.
fn marks(path: &std::path::Path) -> usize {
    fs::read_to_string(path).unwrap_or_default().lines().count()
}

/// Waits for a mark that is left after the answer.
#[track_caller]
fn wait_for_mark(path: &std::path::Path) {
    wait::until(|| marks(path) > 0, || "close() has not been called".into());
}

mod middleware {
    use super::*;

    #[test]
    fn around_middleware_works() {
        for answer in Doors::open("middleware:application").get("/") {
            answer.is(200, "OUTER INNER  END");
            let headers: Vec<_> = answer.headers.iter().map(|(n, v)| (&**n, &**v)).collect();
            assert_eq!(
                headers,
                [
                    ("Content-Type", "text/plain"),
                    ("X-Inner", "yes"),
                    ("X-Passed", "inner"),
                    ("X-Passed", "outer"),
                ]
            );
        }
    }
}

mod threads {
    use super::*;

    /// "Thread Support": an application that waits must not stop the others of its process.
    #[test]
    fn serve_while_another_request_waits() {
        let gateway = Gateway::start("streaming:application", &["--threads", "2"]);
        let folder = TempDir::new().unwrap();
        let slow = Fifo::new(folder.path().join("slow"));
        let quick = Fifo::new(folder.path().join("quick"));
        let mut waiting = Connection::open(gateway.socket());
        waiting.write(&get_with("/blocks", slow.path()).bytes());
        assert_eq!(waiting.read_record().unwrap().kind, STDOUT);
        quick.go();
        quick.go();
        let response = fetch(gateway.socket(), &get_with("/blocks", quick.path()));
        assert_eq!(response.expect(200).text(), "first,second,third");
        slow.go();
        slow.go();
        let rest = std::iter::from_fn(|| waiting.read_record());
        assert_eq!(rest.last().unwrap().kind, END_REQUEST);
    }
}

/// Importing `signal` is enough for CPython to take SIGINT for itself, and it would wait for the main thread's next
/// bytecode to act on it: the operator's Ctrl-C must end the gateway all the same.
#[test]
fn sigint_ends_a_gateway_whose_application_imported_signal() {
    let gateway = Gateway::start("ending:application", &[]);
    fetch(gateway.socket(), &Request::get("/handlers")).expect(200);
    gateway.signal(Signal::SIGINT);
    let log = gateway.wait().log;
    assert!(!log.contains("KeyboardInterrupt"), "{log}");
}

/// A signal that the operator sends to a gateway which serves must not become a KeyboardInterrupt in the
/// application: Python's own handlers are not installed.
#[test]
fn sigterm_lets_the_request_in_flight_finish() {
    let folder = TempDir::new().unwrap();
    let fifo = Fifo::new(folder.path().join("go"));
    let gateway = Gateway::start("streaming:application", &[]);
    let mut connection = Connection::open(gateway.socket());
    connection.write(&get_with("/blocks", fifo.path()).bytes());
    let first = connection.read_record().unwrap();
    assert!(first.content.ends_with(b"first,"), "{first:?}");
    gateway.signal(Signal::SIGTERM);
    fifo.go();
    fifo.go();
    let mut rest = Vec::new();
    let mut last = 0;
    while let Some(record) = connection.read_record() {
        last = record.kind;
        let mut content = &record.content[..];
        if record.kind == STDOUT {
            content.read_to_end(&mut rest).unwrap();
        }
    }
    assert_eq!(String::from_utf8_lossy(&rest), "second,third");
    assert_eq!(last, END_REQUEST);
    assert_eq!(gateway.wait().code, 0);
}
