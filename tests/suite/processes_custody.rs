//! Connections whose worker is killed.

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
        let load = Load::on(&gateway, "/");
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
            assert!(tally.lost() <= threads, "{tally}");
            assert_eq!(tally.refused, 0, "{tally}");
            // Those that go on do so on the connections that they have.
            assert_eq!(tally.closed, 0, "{tally}");
            let words = [
                &format!("(pid {killed})"),
                "ended: killed by signal SIGKILL after",
            ];
            gateway.wait_for_line(&words);
        }
    }
}

/// As of a web server that connects ahead.
#[test]
fn a_connection_without_a_request_outlives_its_worker() {
    let release = Release::new("serves text");
    let gateway = release.start(1, &[]);
    let before = copies(&gateway);
    let mut connections: Vec<_> = (0..20)
        .map(|_| Connection::open(gateway.socket()))
        .collect();
    gateway.wait_for("the copies", || {
        (copies(&gateway) == before + 20).then_some(())
    });
    send(gateway.worker(), Signal::SIGKILL);
    for connection in &mut connections {
        let answer = connection.request(&Request::get("/"));
        assert_eq!(answer.expect(200).text(), "text");
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
    let before = copies(&gateway);
    let connections: Vec<_> = (0..50).map(|_| begin(&gateway, &request)).collect();
    gateway.wait_for("the copies", || {
        (copies(&gateway) == before + 50).then_some(())
    });
    drop(connections);
    gateway.wait_for("their end", || (copies(&gateway) == before).then_some(()));
}

/// A connection on which a request was answered.
fn begin(gateway: &Gateway, request: &Request) -> Connection {
    let mut connection = Connection::open(gateway.socket());
    connection.request(request).expect(200);
    connection
}

/// How many descriptors the master has: a copy of each connection is among them.
fn copies(gateway: &Gateway) -> usize {
    let folder = fs::read_dir(format!("/proc/{}/fd", gateway.pid()));
    folder.unwrap().count()
}
