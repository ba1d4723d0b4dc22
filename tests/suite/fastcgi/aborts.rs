//! ABORT_REQUEST (section 5.4) and management records (section 4) at any moment: the request ends, the connection is as
//! good as before, and no record comes into the middle of another.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{ANSWERS, READERS};
use crate::support::client::{
    ABORT_REQUEST, Connection, END_REQUEST, GET_VALUES, GET_VALUES_RESULT, PARAMS, RESPONDER,
    Request, STDERR, STDIN, STDOUT, UNKNOWN_TYPE, begin, fetch, pairs, record, wait_until_read,
};
use crate::support::gateway::Gateway;

fn abort(id: u16) -> Vec<u8> {
    record(ABORT_REQUEST, id, b"", 5)
}

/// A question for a value, and a record of a type that nobody knows.
fn questions() -> Vec<u8> {
    let names = [(b"FCGI_MPXS_CONNS".to_vec(), Vec::new())];
    let mut wire = record(GET_VALUES, 0, &pairs(&names), 3);
    wire.extend(record(99, 0, b"?", 0));
    wire
}

/// What came for a request up to its end: its STDOUT, and how many answers to questions. Other records than those are a
/// failure.
#[track_caller]
fn until_end(connection: &mut Connection, id: u16) -> (Vec<u8>, usize) {
    let (mut stdout, mut answers) = (Vec::new(), 0);
    loop {
        let record = connection.read_record().expect("the connection lives");
        match record.kind {
            STDOUT if record.id == id => stdout.extend(record.content),
            STDERR if record.id == id => {}
            GET_VALUES_RESULT | UNKNOWN_TYPE if record.id == 0 => answers += 1,
            END_REQUEST if record.id == id => return (stdout, answers),
            _ => panic!("{record:?}"),
        }
    }
}

#[track_caller]
fn answers_next(connection: &mut Connection, id: u16, what: &str) {
    let (stdout, _) = until_end(connection, id);
    let text = String::from_utf8_lossy(&stdout);
    assert!(text.ends_with("\r\n\r\n/next"), "{what}: {text}");
}

/// What has been sent of a request when it is aborted.
fn phases() -> Vec<(String, Vec<u8>)> {
    let request = Request::post("/x", &[b'b'; 50_000]).keep();
    let params = pairs(&request.params);
    let mut in_params = begin(1, RESPONDER, 1);
    in_params.extend(record(PARAMS, 1, &params[..77], 0));
    let mut in_body = request.head();
    in_body.extend(record(STDIN, 1, &[b'b'; 500], 4));
    let mut phases = vec![
        ("begun".to_owned(), begin(1, RESPONDER, 1)),
        ("in the variables".to_owned(), in_params),
        ("before the body".to_owned(), request.head()),
        ("in the body".to_owned(), in_body),
    ];
    for answer in ANSWERS {
        for reader in READERS {
            let request = Request::post(&format!("/{answer}/{reader}"), &[b'b'; 50_000]);
            for request in [
                request.clone().keep(),
                request.keep().without("CONTENT_LENGTH"),
            ] {
                let mut read = request.head();
                read.extend(record(STDIN, 1, &[b'b'; 20_000], 4));
                phases.push((format!("in {answer}/{reader}"), read));
            }
        }
    }
    phases
}

#[test]
fn the_request_behind_an_abort_is_answered() {
    let gateway = Gateway::start("fcgi_readers", &["--buffer", "1000"]);
    let next = Request::get("/next").keep();
    for (what, front) in phases() {
        for waits in [false, true] {
            for (id, asks) in [(1, false), (2, true)] {
                let mut connection = Connection::open(gateway.socket());
                let mut wire = front.clone();
                if waits {
                    connection.write(&wire);
                    wait_until_read(&connection);
                    wire.clear();
                }
                if asks {
                    wire.extend(questions());
                }
                wire.extend(abort(1));
                if asks {
                    wire.extend(questions());
                }
                wire.extend(next.clone().id(id).bytes());
                connection.write(&wire);
                let (_, before) = until_end(&mut connection, 1);
                let (stdout, after) = until_end(&mut connection, id);
                let text = String::from_utf8_lossy(&stdout);
                assert!(text.ends_with("\r\n\r\n/next"), "{what}: {text}");
                assert_eq!(before + after, if asks { 4 } else { 0 }, "{what}");
                connection.write(&next.clone().id(3).bytes());
                answers_next(&mut connection, 3, &what);
            }
        }
    }
}

/// The abort in two pieces at every byte, and what follows likewise.
#[test]
fn an_abort_may_be_cut_anywhere() {
    let gateway = Gateway::start("fcgi_readers", &["--buffer", "1000"]);
    let request = Request::post("/caught/at_once", &[b'b'; 50_000]).keep();
    let mut front = request.head();
    front.extend(record(STDIN, 1, &[b'b'; 2000], 4));
    let mut back = record(STDIN, 1, b"more", 4);
    back.extend(abort(1));
    let after = back.len();
    back.extend(Request::get("/next").keep().id(2).bytes());
    let mut connection = Connection::open(gateway.socket());
    for cut in 0..after + 20 {
        connection.write(&front);
        wait_until_read(&connection);
        connection.write(&back[..cut]);
        wait_until_read(&connection);
        connection.write(&back[cut..]);
        until_end(&mut connection, 1);
        answers_next(&mut connection, 2, &format!("cut at {cut}"));
    }
}

/// Without FCGI_KEEP_CONN the connection was for that request alone.
#[test]
fn nothing_follows_an_abort_without_keep_conn() {
    let gateway = Gateway::start("fcgi_readers", &["--buffer", "1000"]);
    for path in ["/caught/at_once", "/raised/in_pieces"] {
        let mut wire = Request::post(path, &[b'b'; 50_000]).head();
        wire.extend(record(STDIN, 1, &[b'b'; 2000], 4));
        wire.extend(abort(1));
        wire.extend(Request::get("/smuggled").bytes());
        let mut connection = Connection::open(gateway.socket());
        connection.write(&wire);
        until_end(&mut connection, 1);
        assert_eq!(connection.read_to_eof(), b"");
    }
    let log = gateway.terminate().log;
    assert!(!log.contains("/smuggled"), "{log}");
}

// ---- while the response is under way

fn closes(mark: &Path) -> usize {
    fs::read_to_string(mark).unwrap_or_default().lines().count()
}

#[test]
fn an_abort_stops_a_generator_and_closes_it_once() {
    let gateway = Gateway::start("fcgi_readers", &[]);
    for (number, path) in [
        "/endless/slow",
        "/endless/fast",
        "/endless/large",
        "/endless_write",
    ]
    .into_iter()
    .enumerate()
    {
        for (round, asks) in [false, true].into_iter().enumerate() {
            let mark = gateway.folder().join(format!("mark-{number}-{round}"));
            let query = format!("{path}?{}", mark.display());
            for with_body in [false, true] {
                let _ = fs::remove_file(&mark);
                let mut connection = Connection::open(gateway.socket());
                let request = if with_body {
                    Request::post(&query, &[b'u'; 3000]).keep()
                } else {
                    Request::get(&query).keep()
                };
                connection.write(&request.bytes());
                while connection.read_record().unwrap().kind != STDOUT {}
                assert_eq!(closes(&mark), 0);
                let mut wire = if asks { questions() } else { Vec::new() };
                wire.extend(abort(1));
                wire.extend(Request::get("/next").keep().id(2).bytes());
                connection.write(&wire);
                let (_, answers) = until_end(&mut connection, 1);
                assert_eq!(answers, if asks { 2 } else { 0 }, "{path}");
                answers_next(&mut connection, 2, path);
                assert_eq!(closes(&mark), 1, "{path}");
            }
        }
    }
}

/// A request that came ahead has to wait for its turn, and is not refused.
#[test]
fn a_request_sent_ahead_of_a_long_response_is_answered_after_it() {
    let gateway = Gateway::start("fcgi_readers", &[]);
    let mark = gateway.folder().join("mark");
    let query = format!("/endless/slow?{}", mark.display());
    let mut connection = Connection::open(gateway.socket());
    let mut wire = Request::get(&query).keep().bytes();
    wire.extend(Request::get("/next").keep().id(2).bytes());
    wire.extend(Request::get("/next").keep().id(3).bytes());
    connection.write(&wire);
    for _ in 0..30 {
        assert_eq!(connection.read_record().unwrap().id, 1);
    }
    // An abort behind the begin of another request is not this one's turn to be heard: the web server goes away instead.
    drop(connection);
    gateway.wait_for("close() is called", || (closes(&mark) == 1).then_some(()));
    fetch(gateway.socket(), &Request::get("/next")).expect(200);
}

#[test]
fn questions_do_not_come_into_the_middle_of_a_record() {
    let gateway = Gateway::start("fcgi_readers", &["--buffer", "1000"]);
    for round in 0..5 {
        let pieces = 20;
        let request = Request::post("/many_a_piece?400", &vec![b'p'; pieces * 1000]).keep();
        let mut connection = Connection::open(gateway.socket());
        let mut writer = connection.writer();
        let mut wire = request.head();
        wire.extend(record(STDIN, 1, &[b'p'; 1000], 0));
        connection.write(&wire);
        let sent = std::thread::spawn(move || {
            for _ in 1..pieces {
                let mut wire = questions();
                wire.extend(record(STDIN, 1, &[b'p'; 1000], 3));
                writer.write(&wire);
            }
            writer.write(&record(STDIN, 1, b"", 0));
        });
        let (stdout, answers) = until_end(&mut connection, 1);
        sent.join().unwrap();
        let body = stdout
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .unwrap()
            + 4;
        assert_eq!(stdout.len() - body, pieces * 400 * 100, "round {round}");
        assert_eq!(answers, 2 * (pieces - 1), "round {round}");
        connection.write(&Request::get("/next").keep().id(2).bytes());
        answers_next(&mut connection, 2, "next");
    }
}

/// While nobody reads the answer, and with the answer complete or not.
#[test]
fn questions_during_a_response_are_answered() {
    let gateway = Gateway::start("fcgi_readers", &[]);
    for blocks in [1, 100, 5000, 50_000] {
        let mut connection = Connection::open(gateway.socket());
        connection.write(&Request::get(&format!("/many?{blocks}")).keep().bytes());
        for _ in 0..50 {
            connection.write(&questions());
        }
        connection.write(&Request::get("/next").keep().id(2).bytes());
        let (stdout, before) = until_end(&mut connection, 1);
        assert_eq!(
            stdout.iter().filter(|byte| **byte == b'\n').count() - 3,
            blocks
        );
        let (_, after) = until_end(&mut connection, 2);
        assert_eq!(before + after, 100, "{blocks} blocks");
    }
}

/// The sender has sent a part of a record when nobody reads, and then a question comes.
#[test]
fn questions_wait_for_the_end_of_a_record_that_is_stuck() {
    let gateway = Gateway::start("fcgi_readers", &["--buffer", "1000"]);
    for blocks in (400..4000).step_by(200) {
        let request = Request::post(&format!("/many_a_piece?{blocks}"), &[b'p'; 2000]);
        let mut connection = Connection::open(gateway.socket());
        let mut wire = request.keep().head();
        wire.extend(record(STDIN, 1, &[b'p'; 1000], 0));
        wire.extend(questions());
        wire.extend(record(STDIN, 1, &[b'p'; 1000], 0));
        wire.extend(record(STDIN, 1, b"", 0));
        connection.write(&wire);
        // That the sender is stuck by now is likely, and all that it takes for this test to fail.
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(20) {
            std::thread::yield_now();
        }
        let (stdout, answers) = until_end(&mut connection, 1);
        let lines = stdout.iter().filter(|byte| **byte == b'\n').count() - 3;
        assert_eq!((lines, answers), (2 * blocks, 2), "{blocks} blocks");
    }
}

// ---- the end of the service

/// SIGTERM waits for what is under way, and not for the rest of a head.
#[test]
fn a_half_received_head_does_not_hold_up_the_end() {
    let whole = Request::get("/next").keep().bytes();
    let gateway = Gateway::start("fcgi_readers", &["--header-timeout", "300s"]);
    let mut connections: Vec<_> = [1, 7, 8, 16, 100, 300]
        .into_iter()
        .map(|sent| {
            let mut connection = Connection::open(gateway.socket());
            connection.write(&whole[..sent]);
            wait_until_read(&connection);
            connection
        })
        .collect();
    let begun = Instant::now();
    let exit = gateway.terminate();
    assert_eq!(exit.code, 0, "{}", exit.log);
    // The deadline of everything else in there is no less than 5 seconds.
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
    for connection in &mut connections[3..] {
        let response = connection.response(1);
        assert_eq!(response.status, 503, "{response:?}");
        assert_eq!(response.header("Retry-After"), Some("1"));
    }
    for connection in &mut connections[..3] {
        assert_eq!(connection.read_to_eof(), b"");
    }
}

// ---- the body is here

#[test]
fn the_application_is_called_when_content_length_bytes_are_here() {
    let gateway = Gateway::start("fcgi_readers", &[]);
    let mut connection = Connection::open(gateway.socket());
    for reader in ["at_once", "in_pieces", "read1", "in_lines", "readinto"] {
        for size in [0, 1, 100, 64_000, 200_000] {
            let body = vec![b'c'; size];
            let request = Request::post(&format!("/caught/{reader}"), &body).keep();
            let whole = request.bytes();
            // All but the record that ends the body.
            let (wire, end) = whole.split_at(whole.len() - 8);
            connection.write(wire);
            let response = connection.response(1).expect(200);
            assert_eq!(response.body.len(), size, "{reader}");
            connection.write(end);
        }
    }
    // Nobody keeps such a connection either, and its answer is whole.
    let request = Request::post("/caught/at_once", b"body");
    let whole = request.bytes();
    let mut connection = Connection::open(gateway.socket());
    connection.write(&whole[..whole.len() - 8]);
    assert_eq!(connection.response(1).expect(200).text(), "body");
    assert_eq!(connection.read_to_eof(), b"");
    // Byte by byte, as a slow client's comes.
    let mut connection = Connection::open(gateway.socket());
    for byte in whole[..whole.len() - 8].chunks(7) {
        connection.write(byte);
        wait_until_read(&connection);
    }
    assert_eq!(connection.response(1).expect(200).text(), "body");
}
