//! Code in a worker that is not the gateway's: it has the worker's descriptors and memory, and writes whatever it likes there.
//! The master, processes that are none of its, and the other workers are not to notice.

use std::fs;
use std::process::{Child, Command};
use std::time::Instant;

use nix::sys::signal::Signal;

use crate::support::client::{Connection, Request, fetch};
use crate::support::gateway::{Builder, Fifo, Gateway, READY};
use crate::support::process_table::{is_alive, send};

const APP: &str = "hostile.py";

/// What the log says of a worker that broke the rules.
const EXPELLED: &str = "is killed and replaced: it wrote";

/// What the log says when such a worker has ended.
const KILLED: &str = " ended: killed by signal SIGKILL";

/// A process that is none of the gateway's.
struct Bystander(Child);

impl Bystander {
    fn new() -> Bystander {
        Bystander(Command::new("sleep").arg("600").spawn().unwrap())
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn is_alive(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn builder(workers: usize) -> Builder {
    Gateway::builder(APP).args(["--workers", &workers.to_string()])
}

fn start(workers: usize) -> Gateway {
    let gateway = builder(workers).start();
    gateway.wait_until_ready(workers);
    gateway
}

fn hex(kind: u8, text: &[u8]) -> String {
    let bytes = [&[kind], text].concat();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Has some worker write this, whether or not it lives to answer.
fn say(gateway: &Gateway, raw: &str, fds: usize) {
    let mut connection = Connection::open(gateway.socket());
    connection.write(&Request::get(&format!("/say?hex={raw}&fds={fds}")).bytes());
    connection.read_to_eof();
}

#[track_caller]
fn serves(gateway: &Gateway) {
    let answer = fetch(gateway.socket(), &Request::get("/"));
    assert!(answer.expect(200).text().parse::<u32>().is_ok());
}

/// What only the master says, what has been said, what is no message: each ends the worker that said it, and nobody else.
#[test]
fn a_worker_that_breaks_the_rules_is_killed_and_nobody_else() {
    let mut bystander = Bystander::new();
    let pid = bystander.pid().to_string();
    let attacks = [
        (hex(8, pid.as_bytes()), 0),
        (hex(8, b"0"), 0),
        (hex(8, b"-1"), 0),
        (hex(1, b""), 0),
        (hex(5, b"\x00text"), 0),
        (hex(7, b"/etc/passwd"), 0),
        (hex(14, b"1"), 0),
        (hex(11, b"abort"), 0),
        (hex(3, b"two\nlines"), 0),
        (hex(99, b""), 0),
        (String::new(), 0),
        (hex(2, b""), 1),
        (hex(15, b"1 1"), 64),
    ];
    let mut gateway = start(attacks.len() + 1);
    let first = gateway.workers();
    let descriptors = || {
        fs::read_dir(format!("/proc/{}/fd", gateway.pid()))
            .unwrap()
            .count()
    };
    let before = descriptors();
    for (number, (raw, fds)) in attacks.iter().enumerate() {
        say(&gateway, raw, *fds);
        gateway.wait_for_count(EXPELLED, number + 1);
        // Until it has ended it may take a connection with it.
        gateway.wait_for_count(KILLED, number + 1);
        serves(&gateway);
    }
    // In the place of the first one, at once; the others follow when they may.
    gateway.wait_for_count(READY, attacks.len() + 2);
    assert_eq!(gateway.log().matches(EXPELLED).count(), attacks.len());
    // There was one more of them than attacks, some of which have met those that followed.
    assert!(first.iter().any(|pid| is_alive(*pid)));
    assert!(descriptors() <= before, "the master has kept something");
    assert!(bystander.is_alive());
    assert!(gateway.is_running());
    assert_eq!(gateway.terminate().code, 0);
    assert!(bystander.is_alive());
}

/// What a worker may say, also where it is not true.
#[test]
fn lies_harm_nobody_but_the_liar() {
    let mut gateway = start(2);
    let raw = [
        hex(2, b""),
        hex(5, b"\x03\x1b[31mred"),
        hex(6, &[b'x'; 300]),
        hex(3, b"--max-requests"),
    ];
    say(&gateway, &raw.join("&hex="), 0);
    gateway.wait_for_line(&["has reached --max-requests"]);
    gateway.wait_for_count(READY, 3);
    gateway.wait_for_line(&["[31mred"]);
    assert!(!gateway.log().contains('\u{1b}'));
    serves(&gateway);
    say(&gateway, &hex(4, b"no reason"), 0);
    serves(&gateway);
    assert!(gateway.is_running());
    assert!(!gateway.log().contains(EXPELLED), "{}", gateway.log());
    assert_eq!(gateway.terminate().code, 0);
}

/// A worker that starts cannot have the new code served, and one that leaves is still held to the rules.
#[test]
fn the_rules_hold_before_a_worker_is_ready_and_when_it_leaves() {
    let mut bystander = Bystander::new();
    let forged = hex(8, bystander.pid().to_string().as_bytes());
    let folder = tempfile::TempDir::with_prefix("wsgi-gateway-test-").unwrap();
    let file = folder.path().join("hostile");
    let gateway = builder(1).env("TEST_HOSTILE", &file).start();
    gateway.wait_until_ready(1);
    let serving = gateway.worker();
    for (count, raw) in [&forged, &hex(9, b""), &String::new()]
        .into_iter()
        .enumerate()
    {
        fs::write(&file, raw.to_owned() + "\n").unwrap();
        gateway.signal(Signal::SIGHUP);
        gateway.wait_for_count(EXPELLED, count + 1);
        gateway.wait_for_count("reload: failed", count + 1);
        assert_eq!(gateway.worker(), serving);
        serves(&gateway);
    }
    fs::remove_file(&file).unwrap();
    let fifo = Fifo::new(gateway.folder(), "fifo");
    let mut late = Connection::open(gateway.socket());
    late.write(&Request::get(&format!("/late?fifo={}&hex={forged}", fifo.path())).bytes());
    let word = fifo.entered();
    assert!(gateway.reload());
    drop(word);
    gateway.wait_for_count(EXPELLED, 4);
    late.read_to_eof();
    serves(&gateway);
    assert_eq!(gateway.terminate().code, 0);
    assert!(bystander.is_alive());
}

/// It imports the application, and so is no better than a worker.
#[test]
fn a_template_is_believed_no_more_than_a_worker() {
    let mut bystander = Bystander::new();
    let folder = tempfile::TempDir::with_prefix("wsgi-gateway-test-").unwrap();
    let file = folder.path().join("hostile");
    let gateway = builder(2)
        .arg("--preload")
        .env("TEST_HOSTILE", &file)
        .start();
    gateway.wait_until_ready(2);
    let workers = gateway.workers();
    let raw = hex(8, bystander.pid().to_string().as_bytes());
    fs::write(&file, raw + "\n").unwrap();
    gateway.signal(Signal::SIGHUP);
    gateway.wait_for_line(&["the template", EXPELLED]);
    gateway.wait_for_log("reload: failed");
    assert_eq!(gateway.workers(), workers);
    serves(&gateway);
    assert_eq!(gateway.terminate().code, 0);
    assert!(bystander.is_alive());
}

/// The flood waits, and the master has time for everybody.
#[test]
fn a_flood_of_messages_keeps_nobody_waiting() {
    /// A fifth of a second's.
    const BUDGET: usize = 1000;
    let gateway = start(2);
    let begun = Instant::now();
    fetch(gateway.socket(), &Request::get("/flood")).expect(200);
    gateway.wait_for_count("flood", 2 * BUDGET);
    serves(&gateway);
    let flood = gateway.log().matches("flood").count();
    let windows = begun.elapsed().as_millis() / 200 + 2;
    assert!(
        flood as u128 <= windows * BUDGET as u128,
        "{flood} lines in {windows} windows"
    );
    // Those of the flood are ended by it, whoever they are.
    assert!(gateway.reload());
    serves(&gateway);
}

/// Whatever a worker writes to its descriptors and to the memory that it shares.
#[test]
fn a_worker_shares_nothing_with_the_master_that_others_depend_on() {
    let mut gateway = builder(2)
        .args(["--request-timeout", "60s", "--idle-timeout", "1h"])
        .start();
    gateway.wait_until_ready(2);
    for byte in ["255", "127", "1", "0"] {
        let answer = fetch(
            gateway.socket(),
            &Request::get(&format!("/scribble?byte={byte}")),
        );
        assert_eq!(answer.expect(200).text(), "1");
        serves(&gateway);
    }
    let ready = gateway.log().matches(READY).count();
    fetch(gateway.socket(), &Request::get("/handoff")).expect(200);
    serves(&gateway);
    // Its own pipe is among them, which ends it.
    let mut connection = Connection::open(gateway.socket());
    connection.write(&Request::get("/pipes").bytes());
    connection.read_to_eof();
    gateway.wait_for_count(READY, ready + 1);
    serves(&gateway);
    assert!(gateway.is_running());
    let log = gateway.log();
    for word in ["told to end", "reload: begun", "panicked"] {
        assert!(!log.contains(word), "{word}: {log}");
    }
    assert_eq!(gateway.terminate().code, 0);
}

#[test]
fn children_of_the_application_have_no_socket_of_the_gateway() {
    for options in [&[][..], &["--preload"]] {
        let gateway = builder(1).args(options).start();
        gateway.wait_until_ready(1);
        for path in ["/forked", "/executed"] {
            let answer = fetch(gateway.socket(), &Request::get(path));
            assert_eq!(answer.expect(200).text(), "0", "{path}");
        }
        serves(&gateway);
    }
}

/// One that is stopped cannot see that its master has died: the kernel has it go on.
#[test]
fn a_stopped_worker_does_not_outlive_its_master() {
    for options in [&[][..], &["--preload"]] {
        let gateway = builder(1).args(options).start();
        gateway.wait_until_ready(1);
        let worker = gateway.worker();
        send(worker, Signal::SIGSTOP);
        send(gateway.pid(), Signal::SIGKILL);
        gateway.wait_for("its end", || (!is_alive(worker)).then_some(()));
    }
}

/// It takes no request from its kept connections, and gives none away.
#[test]
fn a_stopped_worker_ends_by_the_deadline_of_requests() {
    let options = ["--request-timeout", "200ms", "--kill-after", "0s"];
    let gateway = builder(1).args(options).start();
    gateway.wait_until_ready(1);
    let mut kept = Connection::open(gateway.socket());
    kept.request(&Request::get("/").keep()).expect(200);
    send(gateway.worker(), Signal::SIGSTOP);
    kept.write(&Request::get("/").keep().bytes());
    assert_eq!(kept.response(1).end, None);
    gateway.wait_for_count(READY, 2);
    serves(&gateway);
}
