//! Kept connections whose worker is killed.

use std::fs;

use nix::sys::signal::Signal;

use crate::client::{Connection, Request};
use crate::gateway::{Gateway, READY};
use crate::load::Load;
use crate::process_table::send;
use crate::release::{Held, Release};

/// What was being answered is lost, and nothing else: requests that nobody has read yet are answered by another worker,
/// by the replacement where there is only one.
#[test]
fn a_killed_worker_takes_no_request_with_it_that_it_has_not_begun() {
    for (workers, threads) in [(1, 1), (2, 1), (2, 3)] {
        let release = Release::new("serves text");
        let gateway = release.start(workers, &["--threads", &threads.to_string()]);
        let load = Load::on(&gateway, "/").on_kept_connections();
        let ((), tally) = load.during(|load| {
            send(gateway.workers()[0], Signal::SIGKILL);
            load.wait_for_more(50);
            gateway.wait_for_count(READY, workers + 1);
            load.wait_for_more(50);
        });
        eprintln!("{workers} workers of {threads} threads: {tally}");
        assert!(tally.lost() <= threads, "{tally}");
        assert_eq!(tally.refused, 0, "{tally}");
        // Those that go on do so on the connections that they have.
        assert_eq!(tally.closed, 0, "{tally}");
    }
}

#[test]
fn an_idle_connection_outlives_its_worker() {
    for options in [&[][..], &["--preload"]] {
        let release = Release::new("serves text");
        let gateway = release.start(1, options);
        let request = Request::get("/").keep();
        let mut connections: Vec<_> = (0..20).map(|_| begin(&gateway, &request)).collect();
        for round in 1..=3 {
            send(gateway.worker(), Signal::SIGKILL);
            gateway.wait_for_count(READY, round + 1);
            for connection in &mut connections {
                assert_eq!(connection.request(&request).expect(200).text(), "text");
            }
        }
    }
}

/// The web server learns at once that there will be no answer.
#[test]
fn a_connection_with_a_request_ends_with_its_worker() {
    let release = Release::new("serves text");
    let gateway = release.start(2, &[]);
    let connection = begin(&gateway, &Request::get("/").keep());
    let held = Held::on(connection, &gateway, "fifo");
    for worker in gateway.workers() {
        send(worker, Signal::SIGKILL);
    }
    assert_eq!(held.release().response(1).end, None);
}

#[test]
fn the_master_keeps_nothing_of_connections_that_are_closed() {
    let release = Release::new("serves text");
    let gateway = release.start(2, &[]);
    let request = Request::get("/").keep();
    let copies = || {
        fs::read_dir(format!("/proc/{}/fd", gateway.pid()))
            .unwrap()
            .count()
    };
    let before = copies();
    let connections: Vec<_> = (0..50).map(|_| begin(&gateway, &request)).collect();
    gateway.wait_for("the copies", || (copies() == before + 50).then_some(()));
    drop(connections);
    gateway.wait_for("their end", || (copies() == before).then_some(()));
}

/// A connection on which a request was answered.
fn begin(gateway: &Gateway, request: &Request) -> Connection {
    let mut connection = Connection::open(gateway.socket());
    connection.request(request).expect(200);
    connection
}
