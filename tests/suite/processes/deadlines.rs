//! Requests that take too long: the log says where they are, the worker is replaced, and nobody else is disturbed.

use std::fs;
use std::thread;
use std::time::Duration;

use crate::support::client::{Connection, Request, fetch};
use crate::support::gateway::{Fifo, Gateway, READY, apps};
use crate::support::load::Load;
use crate::support::release::Held;

/// `file", line 12 in function`, as faulthandler writes it.
fn place(function: &str) -> String {
    let source = fs::read_to_string(apps().join("stuck.py")).unwrap();
    let mark = format!("# stuck: {function}");
    let line = source.lines().position(|line| line.ends_with(&mark));
    format!("stuck.py\", line {} in {function}", line.unwrap() + 1)
}

/// The first figure of seconds in a line, such as `1.2s`.
fn seconds(line: &str) -> Option<f64> {
    line.split_whitespace().find_map(|word| {
        let word = word.trim_matches(|sign: char| !sign.is_ascii_alphanumeric());
        let (number, millis) = match word.strip_suffix("ms") {
            Some(number) => (number, 1000.0),
            None => (word.strip_suffix('s')?, 1.0),
        };
        Some(number.parse::<f64>().ok()? / millis)
    })
}

/// The line that says which request it was and what is done about it.
#[track_caller]
fn told(gateway: &Gateway, path: &str, worker: u32) {
    let line = gateway.wait_for_line(&["GET", path, "--request-timeout"]);
    assert!(
        line.contains("worker 1") || line.contains("worker 2"),
        "which worker? {line}"
    );
    let age = seconds(&line).unwrap_or_else(|| panic!("how old? {line}"));
    assert!((0.9..30.0).contains(&age), "{line}");
    gateway.wait_for_line(&[&format!("(pid {worker})"), "ended"]);
}

/// A worker of two threads that is replaced when a request takes a second.
const TWO_THREADS: [&str; 6] = [
    "--threads",
    "2",
    "--request-timeout",
    "1s",
    "--kill-after",
    "0s",
];

fn is_stuck(function: &str) {
    let options = [
        "--workers",
        "2",
        "--request-timeout",
        "1s",
        "--kill-after",
        "0s",
    ];
    let gateway = Gateway::start("stuck.py", &options);
    let workers = gateway.wait_until_ready(2);
    let path = format!("/{function}?id=7");
    let (answer, tally) = Load::on(&gateway, "/").clients(2).during(|load| {
        let mut stuck = Connection::open(gateway.socket());
        stuck.write(&Request::get(&path).bytes());
        let answer = stuck.response(1);
        load.wait_for_more(20);
        answer
    });
    let page = answer.expect(504).text();
    assert!(page.contains("did not answer in time"), "{page}");
    eprintln!("{function}: {tally}");
    tally.expect_none_lost();
    gateway.wait_for_log(&place(function));
    gateway.wait_for_count(READY, 3);
    let now = gateway.wait_for_workers(2);
    let gone: Vec<u32> = workers
        .into_iter()
        .filter(|worker| !now.contains(worker))
        .collect();
    assert_eq!(gone.len(), 1, "{gone:?}");
    told(&gateway, &path, gone[0]);
}

/// A worker that is stopped sees to no deadline: its master does.
#[test]
fn a_stopped_worker_is_replaced() {
    let options = [
        "--workers",
        "2",
        "--request-timeout",
        "200ms",
        "--kill-after",
        "0s",
    ];
    let gateway = Gateway::start("stuck.py", &options);
    let workers = gateway.wait_until_ready(2);
    let mut stuck = Connection::open(gateway.socket());
    let pid = stuck.request(&Request::get("/").keep()).expect(200).text();
    let pid: u32 = pid.parse().unwrap();
    assert!(workers.contains(&pid));
    stuck.write(&Request::get("/stops").bytes());
    assert_eq!(stuck.response(1).end, None);
    let line = gateway.wait_for_line(&["does not see to --request-timeout"]);
    assert!(line.contains("GET /stops"), "{line}");
    gateway.wait_for_line(&[&format!("(pid {pid})"), "ended: killed by signal SIGKILL"]);
    gateway.wait_for_count(READY, 3);
    gateway.wait_for_workers(2);
}

#[test]
fn a_request_that_waits_for_itself_is_ended() {
    is_stuck("deadlocks");
}

/// No Python code runs in that process any more, whoever asks for it.
#[test]
fn a_request_that_keeps_pythons_lock_in_c_is_ended() {
    is_stuck("keeps_the_lock_of_python");
}

#[test]
fn a_request_that_sleeps_in_c_with_pythons_lock_is_ended() {
    is_stuck("sleeps_in_c");
}

/// What has begun cannot be begun again: the client is to see that it has not got everything.
#[test]
fn a_response_that_has_begun_is_cut() {
    for (path, is_cut) in [
        ("/stops_after_its_head", true),
        // What was reported on STDERR is no part of the response.
        ("/stops_after_an_error_report", false),
    ] {
        let gateway = Gateway::start("stuck.py", &["--request-timeout", "500ms"]);
        let mut stuck = Connection::open(gateway.socket());
        stuck.write(&Request::get(path).bytes());
        let answer = stuck.response(1);
        let line = gateway.wait_for_line(&[path, "--request-timeout"]);
        if is_cut {
            assert_eq!(answer.end, None, "{answer:?}");
            assert!(line.contains("its response has begun and is cut"), "{line}");
        } else {
            answer.expect(504);
            assert!(line.contains("answered with 504"), "{line}");
        }
    }
}

/// The application comes back when the client has its page: nobody is there to answer, and that is no news.
#[test]
fn an_answer_that_comes_after_its_deadline_goes_nowhere() {
    let gateway = Gateway::start("stuck.py", &TWO_THREADS);
    gateway.wait_until_ready(1);
    for path in ["/waits", "/waits_and_streams", "/waits_and_reports"] {
        let ready = gateway.log().matches(READY).count();
        let late = Fifo::new(gateway.folder(), "late");
        let mut connection = Connection::open(gateway.socket());
        let request = Request::get(&format!("{path}?{}", late.path())).keep();
        connection.write(&request.bytes());
        let word = late.entered();
        // It keeps the worker from its end for as long as it takes.
        thread::sleep(Duration::from_millis(600));
        let mut other = Connection::open(gateway.socket());
        other.write(&Request::get("/naps").bytes());
        connection.response(1).expect(504);
        drop(word);
        assert_eq!(connection.read_to_eof(), b"", "{path}");
        other.response(1).expect(200);
        gateway.wait_for_count(READY, ready + 1);
        gateway.wait_for_workers(1);
        fs::remove_file(gateway.folder().join("late")).unwrap();
    }
    let log = gateway.log();
    for word in ["Error", "Exception", "Traceback", "panicked"] {
        assert!(!log.contains(word), "{word}: {log}");
    }
}

/// Other requests of the same worker finish before it goes.
#[test]
fn a_stuck_request_takes_no_other_with_it() {
    let gateway = Gateway::start("stuck.py", &TWO_THREADS);
    let worker = gateway.wait_until_ready(1)[0];
    let mut stuck = Connection::open(gateway.socket());
    stuck.write(&Request::get("/sleeps?id=8").bytes());
    // Begun when most of the first one's time is up, and over before its own is.
    thread::sleep(Duration::from_millis(600));
    let other = fetch(gateway.socket(), &Request::get("/naps"));
    let text = other.expect(200).text();
    eprintln!("by {text}, after {worker} was stuck");
    stuck.response(1).expect(504);
    gateway.wait_for_count(READY, 2);
    let log = gateway.log();
    assert!(!log.contains("/naps"), "{log}");
}

#[test]
fn a_slow_request_is_shown_and_not_disturbed() {
    let gateway = Gateway::start("stuck.py", &["--slow-log", "300ms"]);
    let worker = gateway.wait_until_ready(1)[0];
    let answer = fetch(gateway.socket(), &Request::get("/is_slow?id=9"));
    assert_eq!(answer.expect(200).text(), worker.to_string());
    gateway.wait_for_log(&place("is_slow"));
    let line = gateway.wait_for_line(&["GET", "/is_slow?id=9", "--slow-log"]);
    assert!(seconds(&line).is_some_and(|age| age >= 0.29), "{line}");
    // Once for each request, and not for one that is fast.
    let answer = fetch(gateway.socket(), &Request::get("/fast"));
    assert_eq!(answer.expect(200).text(), worker.to_string());
    let log = gateway.terminate().log;
    assert_eq!(log.matches(&place("is_slow")).count(), 1, "{log}");
    assert!(!log.contains("/fast"), "{log}");
}

/// A request that is slow and then stuck: both are told.
#[test]
fn slow_first_and_too_slow_then() {
    let options = ["--slow-log", "300ms", "--request-timeout", "1s"];
    let gateway = Gateway::start("stuck.py", &options);
    gateway.wait_until_ready(1);
    let answer = fetch(gateway.socket(), &Request::get("/deadlocks?id=10"));
    answer.expect(504);
    gateway.wait_for_line(&["/deadlocks?id=10", "--slow-log"]);
    gateway.wait_for_line(&["/deadlocks?id=10", "--request-timeout"]);
    gateway.wait_for_count(&place("deadlocks"), 2);
}

/// The same goes for the end of the gateway: who is waited for, and where they are.
#[test]
fn what_does_not_end_in_time_is_shown() {
    let gateway = Gateway::start("stuck.py", &["--graceful-timeout", "300ms"]);
    gateway.wait_until_ready(1);
    let mut stuck = Connection::open(gateway.socket());
    stuck.write(&Request::get("/sleeps?id=11").bytes());
    let held = Connection::open(gateway.socket());
    gateway.wait_for("it is in the application", || {
        let worker = gateway.worker();
        let wait = fs::read_to_string(format!("/proc/{worker}/syscall")).unwrap_or_default();
        // clock_nanosleep(2): what time.sleep() waits in.
        wait.starts_with("230 ").then_some(())
    });
    let exit = gateway.terminate();
    drop(held);
    assert_eq!(exit.code, 1, "{}", exit.log);
    assert_eq!(stuck.response(1).end, None);
    for word in ["--graceful-timeout", &place("sleeps"), "/sleeps?id=11"] {
        assert!(exit.log.contains(word), "{word}: {}", exit.log);
    }
}

/// Time in which a request is still on its way in is not the application's.
#[test]
fn a_slow_upload_is_not_a_slow_request() {
    let options = [
        "--workers",
        "1",
        "--request-timeout",
        "300ms",
        "--slow-log",
        "200ms",
    ];
    let gateway = Gateway::start("stuck.py", &options);
    gateway.wait_until_ready(1);
    let mut connection = Connection::open(gateway.socket());
    let request = Request::post("/", b"body");
    let wire = request.bytes();
    connection.write(&wire[..wire.len() - 20]);
    // The time passes: a request that has begun later, at another one, is too slow.
    let other = Gateway::start("stuck.py", &options);
    fetch(other.socket(), &Request::get("/sleeps")).expect(504);
    connection.write(&wire[wire.len() - 20..]);
    connection.response(1).expect(200);
    let log = gateway.log();
    assert!(
        !log.contains("--slow-log") && !log.contains("--request-timeout"),
        "{log}"
    );
}

/// A request that was held back by nobody but the test is ended as well; with more threads the others go on serving.
#[test]
fn one_thread_of_several_is_stuck() {
    let options = [
        "--workers",
        "2",
        "--threads",
        "2",
        "--request-timeout",
        "1s",
        "--kill-after",
        "0s",
    ];
    let gateway = Gateway::start("stuck.py", &options);
    gateway.wait_until_ready(2);
    let held = Held::new(&gateway, "fifo");
    let (_, tally) = Load::on(&gateway, "/")
        .clients(4)
        .during(|_| gateway.wait_for_count(READY, 3));
    tally.expect_none_lost();
    gateway.wait_for_log("in waits");
    held.release().response(1).expect(504);
}

/// It asks for the stack by a signal, which the application may have given back its first meaning: to end the process.
#[test]
fn the_slow_log_ends_nobody_whose_signals_are_reset() {
    let gateway = Gateway::start("signals_reset.py", &["--slow-log", "100ms"]);
    gateway.wait_until_ready(1);
    let worker = gateway.worker();
    for _ in 0..2 {
        let answer = fetch(gateway.socket(), &Request::get("/slow"));
        assert_eq!(answer.expect(200).text(), "alive");
    }
    let line = gateway.wait_for_line(&["slow: GET /slow"]);
    assert!(line.contains("--slow-log"), "{line}");
    gateway.wait_for_log("signals_reset.py\", line 12 in application");
    assert_eq!(gateway.worker(), worker);
}
