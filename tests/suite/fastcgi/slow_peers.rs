//! Peers that are slow to take their answers: no application thread waits for them once the application is done, memory
//! for them is bounded, and all get their bytes.

use std::time::Instant;

use crate::support::client::{
    ABORT_REQUEST, Connection, END_REQUEST, GET_VALUES, GET_VALUES_RESULT, Request, STDIN, STDOUT,
    UNKNOWN_TYPE, fetch, record, wait_until_read,
};
use crate::support::gateway::{DEADLINE, Gateway};

const MIB: usize = 1 << 20;

fn gateway(options: &[&str]) -> Gateway {
    Gateway::start("slow_peers:application", options)
}

/// The bytes that the application makes.
fn pattern(size: usize) -> Vec<u8> {
    let block: Vec<u8> = (0..251).collect();
    let mut whole = block.repeat(size / block.len() + 1);
    whole.truncate(size);
    whole
}

/// A peer that has asked and does not read.
fn asked(gateway: &Gateway, path: &str) -> Connection {
    asked_by(gateway, &Request::get(path))
}

fn asked_by(gateway: &Gateway, request: &Request) -> Connection {
    let mut connection = Connection::open(gateway.socket());
    connection.write(&request.bytes());
    connection
}

/// The one application thread is free.
#[track_caller]
fn plain_is_answered(gateway: &Gateway) {
    let response = fetch(gateway.socket(), &Request::get("/plain")).expect(200);
    assert_eq!(response.text(), "plain");
}

#[track_caller]
fn is_whole(mut connection: Connection, size: usize) {
    let response = connection.response(1).expect(200);
    assert_eq!(response.body.len(), size);
    assert!(response.body == pattern(size), "other bytes");
}

/// Writes as long as there is somebody who reads; how much that was, at the most `most` bytes.
fn write_while_read(connection: &Connection, bytes: &[u8], most: usize) -> usize {
    use nix::errno::Errno;
    use nix::poll::{PollFd, PollFlags, poll};
    use nix::sys::socket::{MsgFlags, send};
    use std::os::fd::{AsFd, AsRawFd};
    /// Milliseconds in which somebody who reads has read.
    const PATIENCE: u16 = 500;
    let mut written = 0;
    while written < most {
        let mut polled = [PollFd::new(connection.as_fd(), PollFlags::POLLOUT)];
        if poll(&mut polled, PATIENCE).unwrap() == 0 {
            break;
        }
        let from = &bytes[written % bytes.len()..];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        match send(connection.as_fd().as_raw_fd(), from, flags) {
            Ok(count) => written += count,
            Err(Errno::EAGAIN) => {}
            Err(error) => panic!("{error}"),
        }
    }
    written
}

/// Questions behind a response that is not taken: each would be answered into memory.
#[test]
fn questions_of_a_peer_that_does_not_read_wait() {
    let questions = [
        ("/list?4000000", record(GET_VALUES, 0, b"", 0)),
        ("/list?4000000", record(99, 0, b"", 0)),
        ("/endless", record(99, 0, b"", 0)),
    ];
    for (path, question) in questions {
        let gateway = gateway(&[]);
        let mut connection = asked_by(&gateway, &Request::get(path).keep());
        let block = question.repeat(10_000);
        let most = 8 * MIB;
        let written = write_while_read(&connection, &block, most);
        assert!(written < most, "{path}: it reads all, and answers");
        if path == "/endless" {
            drop(connection);
            gateway.wait_for_log("mark: closed endless");
            continue;
        }
        // And goes on once it has been read.
        let mut writer = connection.writer();
        let rest = block[written % block.len()..].to_vec();
        let asked = (written + rest.len()) / question.len();
        std::thread::spawn(move || writer.write(&rest));
        let (mut stdout, mut answers, mut ended) = (0, 0, false);
        while answers < asked || !ended {
            let record = connection.read_record().expect("the connection lives");
            match record.kind {
                STDOUT => stdout += record.content.len(),
                END_REQUEST => ended = true,
                GET_VALUES_RESULT | UNKNOWN_TYPE => answers += 1,
                kind => panic!("a record of type {kind}"),
            }
        }
        assert!(stdout > 4_000_000);
    }
}

/// The same, of a peer that is to send a body, which the application waits for.
#[test]
fn questions_in_the_place_of_a_body_wait() {
    let gateway = Gateway::start("fcgi_echo:application", &[]);
    let request = Request::post("/", &[b'b'; 100_000]).keep();
    let mut connection = Connection::open(gateway.socket());
    connection.write(&request.head());
    // So much that the application is called (--buffer), which then waits for the rest.
    for _ in 0..2 {
        connection.record(STDIN, 1, &[b'b'; 40_000], 0);
    }
    let question = record(99, 0, b"", 0).repeat(10_000);
    let most = 8 * MIB;
    assert!(write_while_read(&connection, &question, most) < most);
}

/// What an application reports goes to the log; a peer that takes none of it does not make it pile up here.
#[test]
fn reports_to_a_peer_that_does_not_read_are_dropped() {
    let gateway = gateway(&["--threads", "1"]);
    plain_is_answered(&gateway);
    let before = gateway.rss_kib();
    let mut connection = asked(&gateway, "/chatty?8000000");
    plain_is_answered(&gateway);
    let grown = gateway.rss_kib().saturating_sub(before);
    assert!(grown < 5 * 1024, "{grown} KiB");
    let response = connection.response(1).expect(200);
    assert_eq!(response.text(), "chatty");
}

#[test]
fn the_last_block_of_an_iterable_holds_no_thread() {
    let gateway = gateway(&["--threads", "1"]);
    for kind in ["list", "tuple", "last", "write", "small"] {
        let size = 8_000_000;
        let mut connection = asked(&gateway, &format!("/{kind}?{size}"));
        plain_is_answered(&gateway);
        if !matches!(kind, "list" | "tuple") {
            // "Upon completion of the current request": the application's part of it.
            gateway.wait_for_log(&format!("mark: closed {kind}"));
        }
        let body = connection.response(1).expect(200).body;
        assert!(body[..size] == pattern(size), "{kind}: other bytes");
        let rest = if kind == "small" { 700 } else { 0 };
        assert_eq!(body.len(), size + rest, "{kind}");
    }
}

#[test]
fn two_large_blocks_arrive_whole() {
    let gateway = gateway(&["--threads", "1"]);
    is_whole(asked(&gateway, "/two?8000000"), 8_000_000);
    plain_is_answered(&gateway);
}

/// An abort is heard while the rest of a response is being sent, whether or not the connection is kept.
#[test]
fn an_abort_ends_what_is_left_of_a_response() {
    for (keep, cut) in [(true, 8), (true, 3), (false, 8), (false, 3)] {
        let gateway = gateway(&["--threads", "1"]);
        let size = 8_000_000;
        let mut request = Request::get(&format!("/list?{size}"));
        request.keep = keep;
        let mut connection = asked_by(&gateway, &request);
        plain_is_answered(&gateway);
        let abort = record(ABORT_REQUEST, 1, b"", 0);
        for piece in [&abort[..cut], &abort[cut..]] {
            connection.write(piece);
            wait_until_read(&connection);
        }
        let response = connection.response(1);
        assert!(response.end.is_some(), "keep {keep}, cut at {cut}");
        assert!(response.body.len() < size, "keep {keep}, cut at {cut}");
        if keep {
            let next = connection.request(&Request::get("/plain").keep());
            assert_eq!(next.expect(200).text(), "plain");
        } else {
            assert!(connection.read_to_eof().is_empty());
        }
    }
}

/// An iterable that goes on is stopped within a second.
#[test]
fn an_abort_and_a_vanished_peer_end_an_iterable_that_goes_on() {
    let gateway = gateway(&["--threads", "1"]);
    for (count, aborts) in [(1, true), (2, false)] {
        let mut connection = asked(&gateway, "/endless");
        assert_eq!(connection.read_record().unwrap().kind, STDOUT);
        let asked = Instant::now();
        if aborts {
            connection.write(&record(ABORT_REQUEST, 1, b"", 0));
        } else {
            drop(connection);
        }
        gateway.wait_for_count("mark: closed endless", count);
        // "Within a second"; what is asserted is only that it did not wait for --io-timeout.
        assert!(asked.elapsed() < DEADLINE / 2);
    }
    plain_is_answered(&gateway);
}

/// How much the worker's memory has grown, once what can be moved to files is there: asked between plain requests.
#[track_caller]
fn grows_by_less_than(gateway: &Gateway, before: u64, most: u64) {
    gateway.wait_for(&format!("memory has grown by less than {most} KiB"), || {
        plain_is_answered(gateway);
        (gateway.rss_kib() < before + most).then_some(())
    });
}

/// Beyond `--max-unsent` the rest of responses is in files: of many that are not taken, and of one that is larger by itself.
#[test]
fn what_is_more_than_max_unsent_is_in_a_file() {
    let gateway = gateway(&["--threads", "1", "--max-unsent", "2M"]);
    plain_is_answered(&gateway);
    let before = gateway.rss_kib();
    let size = 4_000_000;
    let kinds = ["list", "tuple", "shared", "last"];
    let peers: Vec<Connection> = (0..20)
        .map(|peer| asked(&gateway, &format!("/{}?{size}", kinds[peer % kinds.len()])))
        .collect();
    grows_by_less_than(&gateway, before, 24 * 1024);
    for peer in peers {
        is_whole(peer, size);
    }
    plain_is_answered(&gateway);
}

/// And so is that of a response that has failed; where there is no place it is cut sooner.
#[test]
fn the_rest_of_a_failed_response_counts() {
    let gateway = gateway(&["--threads", "1", "--max-unsent", "2M"]);
    plain_is_answered(&gateway);
    let before = gateway.rss_kib();
    let peers: Vec<Connection> = (0..20)
        .map(|_| asked(&gateway, "/failing?4000000"))
        .collect();
    grows_by_less_than(&gateway, before, 24 * 1024);
    for mut peer in peers {
        let taken = peer.read_to_eof();
        assert!(taken.len() < 4_100_000);
        assert!(
            !taken
                .windows(8)
                .any(|head| head[..5] == [1, END_REQUEST, 0, 1, 0]),
            "a clean end"
        );
    }
    plain_is_answered(&gateway);
}

/// A disk that is full: one response waits in memory for a place, the next one's thread for its peer. Said once.
#[test]
fn a_full_disk_makes_threads_wait() {
    // Blocks of 512 bytes; the signal that goes with it is ignored by Python.
    let gateway = Gateway::builder("slow_peers:application")
        .args(["--threads", "1", "--max-unsent", "1M"])
        .shell("ulimit -f 1000; exec \"$@\"")
        .start();
    let first = asked(&gateway, "/list?40000000");
    plain_is_answered(&gateway);
    gateway.wait_for_log("cannot be put into a temporary file");
    let second = asked(&gateway, "/list?3000000");
    let third = asked(&gateway, "/list?3000000");
    let mut plain = asked(&gateway, "/plain");
    is_whole(second, 3_000_000);
    is_whole(third, 3_000_000);
    assert_eq!(plain.response(1).expect(200).text(), "plain");
    is_whole(first, 40_000_000);
    let told = gateway
        .log()
        .matches("cannot be put into a temporary file")
        .count();
    assert_eq!(told, 1);
}

#[test]
fn a_tmpdir_that_cannot_be_used_is_named_once() {
    let gateway = Gateway::builder("slow_peers:application")
        .args(["--threads", "1", "--max-unsent", "1M"])
        .env("TMPDIR", "/nonexistent/folder")
        .start();
    for _ in 0..3 {
        let peer = asked(&gateway, "/list?3000000");
        plain_is_answered(&gateway);
        gateway.wait_for_log("TMPDIR=/nonexistent/folder");
        is_whole(peer, 3_000_000);
    }
    assert_eq!(gateway.log().matches("/nonexistent/folder").count(), 1);
}

/// Peers of every kind at once, more of them than there is memory for: the figures of a busy site, in a smaller shape.
#[test]
fn many_slow_peers_share_one_thread() {
    let options = ["--threads", "1", "--max-unsent", "8M"];
    let gateway = gateway(&options);
    plain_is_answered(&gateway);
    let before = gateway.rss_kib();
    let file = gateway.folder().join("file");
    std::fs::write(&file, pattern(2 * MIB)).unwrap();
    let file = format!("/file?{}", file.display());
    let kinds = [
        (60, format!("/list?{MIB}"), MIB),
        (4, format!("/list?{}", 20 * MIB), 20 * MIB),
        (4, format!("/shared?{}", 20 * MIB), 20 * MIB),
        (60, file, 2 * MIB),
    ];
    let mut peers = Vec::new();
    for (count, path, size) in &kinds {
        peers.extend((0..*count).map(|_| (asked(&gateway, path), *size)));
        plain_is_answered(&gateway);
    }
    // Of 220 MiB that were made; 20 are the application's own, and not all that is free goes back to the system.
    grows_by_less_than(&gateway, before, 100 * 1024);
    for (peer, size) in peers {
        is_whole(peer, size);
    }
    plain_is_answered(&gateway);
}

/// What is answered is sent whole by a worker that is to end, whatever the reason.
#[test]
fn slow_peers_outlive_the_reason_for_a_workers_end() {
    let size = 6_000_000;
    let start = |options: &[&str]| {
        let gateway = Gateway::start("slow_peers:application", options);
        let peer = asked(&gateway, &format!("/list?{size}"));
        (gateway, peer)
    };
    let options = ["--threads", "1", "--max-unsent", "1M"];
    let (gateway, peer) = start(&options);
    plain_is_answered(&gateway);
    assert!(gateway.reload());
    is_whole(peer, size);
    let peer = asked(&gateway, &format!("/last?{size}"));
    plain_is_answered(&gateway);
    gateway.begin_to_terminate();
    gateway.wait_for_log("told to end");
    is_whole(peer, size);
    assert_eq!(gateway.wait().code, 0);

    let limit = ["--max-requests", "2"];
    let (gateway, peer) = start(&[&options[..], &limit].concat());
    let worker = gateway.worker();
    // The second is the worker's last, and the third another's.
    plain_is_answered(&gateway);
    plain_is_answered(&gateway);
    is_whole(peer, size);
    gateway.wait_for("the worker has ended", || {
        (!gateway.workers().contains(&worker)).then_some(())
    });
}

/// Nobody waits for ever: after `--graceful-timeout` the rest is not sent.
#[test]
fn the_graceful_timeout_ends_slow_peers() {
    let gateway = gateway(&["--threads", "1", "--graceful-timeout", "300ms"]);
    let mut peer = asked(&gateway, "/list?6000000");
    plain_is_answered(&gateway);
    let exit = gateway.terminate();
    let taken = peer.read_to_eof().len();
    assert!(taken < 6_000_000);
    assert!(exit.log.contains("--graceful-timeout"), "{}", exit.log);
}

/// Lengths are what they are for a peer in a hurry.
#[test]
fn lengths_of_slow_responses() {
    let gateway = gateway(&["--threads", "1", "--max-unsent", "1M"]);
    let size = 6_000_000;
    let cut = asked(&gateway, &format!("/cut?{size}"));
    let file = gateway.folder().join("file");
    std::fs::write(&file, pattern(size)).unwrap();
    let mut shrinks = asked(&gateway, &format!("/sized?{}", file.display()));
    plain_is_answered(&gateway);
    is_whole(cut, size / 2);
    gateway.wait_for_log("longer than its Content-Length");
    let head = Request::get(&format!("/list?{size}")).param("REQUEST_METHOD", "HEAD");
    let response = fetch(gateway.socket(), &head).expect(200);
    assert_eq!(response.body.len(), 0);
    assert_eq!(response.header("Content-Length"), Some("6000000"));

    std::fs::File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_len(4_000_000)
        .unwrap();
    let taken = shrinks.read_to_eof();
    assert!((4_000_000..4_100_000).contains(&taken.len()));
    gateway.wait_for_log("has become shorter");
    plain_is_answered(&gateway);
}

/// The next request of a kept connection has its turn when the response before it has left.
#[test]
fn a_request_behind_a_slow_response_is_answered_after_it() {
    let gateway = gateway(&["--threads", "1", "--max-unsent", "1M"]);
    let mut wire = Request::get("/list?6000000").keep().bytes();
    wire.extend(Request::get("/plain").keep().id(2).bytes());
    let mut connection = Connection::open(gateway.socket());
    connection.write(&wire);
    plain_is_answered(&gateway);
    let first = connection.response(1).expect(200);
    assert!(first.body == pattern(6_000_000));
    assert_eq!(connection.response(2).expect(200).text(), "plain");
}

/// A peer that takes nothing is not waited for longer because it says something now and then.
#[test]
fn a_peer_that_only_talks_is_given_up() {
    for keep in [true, false] {
        let gateway = gateway(&["--threads", "1", "--io-timeout", "300ms"]);
        let mut request = Request::get("/list?6000000");
        request.keep = keep;
        let mut connection = asked_by(&gateway, &request);
        plain_is_answered(&gateway);
        let deadline = Instant::now() + DEADLINE;
        while !connection.reset {
            assert!(
                Instant::now() < deadline,
                "keep {keep}: it is still waited for"
            );
            connection.write(&record(STDIN, 7, b"?", 0));
            // As often as it takes to never be silent for long.
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}
