//! What goes with a worker that is killed, and what does not.

use std::fs;

use nix::sys::signal::Signal;

use crate::support::client::{Connection, Request, fetch};
use crate::support::gateway::{Gateway, READY};
use crate::support::load::Load;
use crate::support::process_table::send;
use crate::support::release::{Held, Release};

/// What waits to be let in is answered by the next one, however long that takes.
#[test]
fn requests_that_nobody_has_let_in_are_answered_by_the_next_worker() {
    for options in [&[][..], &["--preload"]] {
        let release = Release::new("serves text");
        let gateway = release.start(1, options);
        let held = Held::new(&gateway, "fifo");
        let waiting: Vec<_> = (0..10).map(|_| begin(&gateway, false)).collect();
        send(gateway.worker(), Signal::SIGKILL);
        for mut connection in waiting {
            assert_eq!(connection.response(1).expect(200).text(), "text");
        }
        // It had begun this one, and there is no end that would make a whole answer of it.
        assert_eq!(held.release().response(1).end, None);
    }
}

/// The web server learns at once that nobody will answer on it, and turns to another.
#[test]
fn connections_that_are_kept_to_a_worker_are_closed_with_it() {
    let release = Release::new("serves text");
    let gateway = release.start(1, &[]);
    let mut idle = kept(&gateway);
    let mut sent = kept(&gateway);
    // It does not come to read this.
    send(gateway.worker(), Signal::SIGSTOP);
    sent.write(&Request::get("/").keep().bytes());
    send(gateway.worker(), Signal::SIGKILL);
    assert_eq!(idle.read_to_eof(), b"");
    let response = sent.response(1);
    assert_eq!((response.end, response.stdout_ended), (None, false));
    assert!(response.raw_stdout.is_empty());
    let answer = fetch(gateway.socket(), &Request::get("/"));
    assert_eq!(answer.expect(200).text(), "text");
}

/// Also those that were made ahead of any request.
#[test]
fn connections_without_a_request_are_closed_with_their_worker() {
    let release = Release::new("serves text");
    let gateway = release.start(1, &[]);
    let mut connections: Vec<_> = (0..20)
        .map(|_| Connection::open(gateway.socket()))
        .collect();
    let worker = gateway.worker();
    // They are taken one after another, and this one is the last.
    fetch(gateway.socket(), &Request::get("/")).expect(200);
    send(worker, Signal::SIGKILL);
    for connection in &mut connections {
        assert_eq!(connection.read_to_eof(), b"");
    }
}

/// At most one request for each client, which was on its way on a connection of that worker: the next is answered by another
/// worker, or waits for the replacement.
#[test]
fn clients_lose_no_more_than_what_they_have_on_the_way() {
    const CLIENTS: usize = 8;
    for (workers, threads) in [(1, 1), (2, 3)] {
        let release = Release::new("serves text");
        let gateway = release.start(workers, &["--threads", &threads.to_string()]);
        let load = Load::on(&gateway, "/").clients(CLIENTS);
        for load in [
            load.clone().on_kept_connections(),
            load.on_new_connections(),
        ] {
            let killed = gateway.wait_for_workers(workers)[0];
            let ready = gateway.log().matches(READY).count();
            let ((), tally) = load.during(|load| {
                send(killed, Signal::SIGKILL);
                load.wait_for_more(50);
                gateway.wait_for_count(READY, ready + 1);
                load.wait_for_more(50);
            });
            eprintln!("{workers} workers of {threads} threads: {tally}");
            assert!(tally.lost() <= CLIENTS, "{tally}");
            assert_eq!(tally.refused, 0, "{tally}");
            let words = [
                &format!("(pid {killed})"),
                "ended: killed by signal SIGKILL after",
            ];
            gateway.wait_for_line(&words);
        }
    }
}

/// It would need a descriptor for each, of which it has no more than any process.
#[test]
fn the_master_has_none_of_the_workers_connections() {
    let release = Release::new("serves text");
    let gateway = release.start(2, &[]);
    let before = descriptors(&gateway);
    let connections: Vec<_> = (0..50).map(|_| kept(&gateway)).collect();
    assert_eq!(descriptors(&gateway), before);
    drop(connections);
}

/// A connection on which a request was answered.
fn kept(gateway: &Gateway) -> Connection {
    let mut connection = begin(gateway, true);
    connection.response(1).expect(200);
    connection
}

/// A connection on which a request was sent.
fn begin(gateway: &Gateway, keep: bool) -> Connection {
    let mut connection = Connection::open(gateway.socket());
    let mut request = Request::get("/");
    request.keep = keep;
    connection.write(&request.bytes());
    connection
}

/// How many descriptors the master has.
fn descriptors(gateway: &Gateway) -> usize {
    let folder = fs::read_dir(format!("/proc/{}/fd", gateway.pid()));
    folder.unwrap().count()
}
