//! A connection driven without a socket: what comes in at any cut, and what goes out.

use std::sync::Arc;
use std::time::Duration;

use super::super::content::SentFile;
use super::super::pairs::write_pair;
use super::super::record::{RecordType, write_record};
use super::super::unsent::{Headers, Next};
use super::super::{Limits, Rules};
use super::{Connection, Filled, Step, model};
use crate::gateway::Head;
use proptest::prelude::{ProptestConfig, any, prop, proptest};

fn connection() -> Connection {
    let time = Duration::from_secs(1);
    let limits = Limits {
        for_cgi: false,
        params: 1 << 20,
        body: None,
        buffer: 1 << 16,
        connections: 1,
        unsent: 1 << 20,
        header_timeout: time,
        idle_timeout: time,
        io_timeout: time,
    };
    Connection::new(Arc::new(Rules::new(limits, Arc::new(()))), false)
}

/// A request up to its body, which is to have this length.
fn opening(id: u16, length: usize) -> Vec<u8> {
    let mut params = Vec::new();
    write_pair(&mut params, b"REQUEST_METHOD", b"POST");
    let length = length.to_string();
    write_pair(&mut params, b"CONTENT_LENGTH", length.as_bytes());
    let mut out = Vec::new();
    write_record(
        &mut out,
        RecordType::BeginRequest,
        id,
        &[0, 1, 1, 0, 0, 0, 0, 0],
    );
    write_record(&mut out, RecordType::Params, id, &params);
    write_record(&mut out, RecordType::Params, id, &[]);
    out
}

fn request(id: u16, body: &[u8]) -> Vec<u8> {
    let mut out = opening(id, body.len());
    if !body.is_empty() {
        write_record(&mut out, RecordType::Stdin, id, body);
    }
    write_record(&mut out, RecordType::Stdin, id, &[]);
    out
}

/// Answers with a large body if the request is ready, and gives what its body was.
fn answer(connection: &mut Connection) -> Option<Vec<u8>> {
    let (_, turn) = connection.begin()?;
    let body = connection.request(turn).unwrap().body.here().to_vec();
    let head = Head::new(b"200 OK").unwrap();
    let progress = &mut connection.request(turn).unwrap().progress;
    progress.start(head, false).unwrap();
    let portion = connection
        .admit(turn, |progress| progress.admit(1000, true))
        .unwrap();
    let id = connection.put_head(portion.head.as_ref());
    connection
        .unsent()
        .push_kept(id, Box::new([b'x'; 1000]), 1000);
    connection.put_end();
    connection.finish(None, false);
    Some(body)
}

/// Lets so many bytes leave.
fn send(connection: &mut Connection, most: usize) -> Vec<u8> {
    let mut headers = Headers::new();
    let bytes = match connection.unsent().next(&mut headers) {
        Next::Bytes(slices) => slices.iter().flat_map(|slice| slice.to_vec()).collect(),
        Next::Nothing | Next::File(..) => Vec::new(),
    };
    let sent = bytes[..bytes.len().min(most)].to_vec();
    connection.unsent().advance(sent.len());
    if !connection.has_unsent() {
        connection.all_sent();
    }
    sent
}

/// Two requests with something of the first behind its answer, cut at each byte, while the answers leave in small pieces.
#[test]
fn each_request_is_answered_once_wherever_it_is_cut() {
    let mut wire = request(1, b"one");
    // Of no request that is open any more.
    write_record(&mut wire, RecordType::Stdin, 1, b"late");
    wire.extend(request(2, b"two"));
    // Miri is too slow for each of them.
    for cut in (0..=wire.len()).step_by(if cfg!(miri) { 23 } else { 1 }) {
        let (mut connection, mut bodies, mut out) = (connection(), Vec::new(), Vec::new());
        for piece in [&wire[..cut], &wire[cut..]] {
            connection.receive(piece);
            bodies.extend(answer(&mut connection));
            out.extend(send(&mut connection, 100));
        }
        while connection.has_unsent() || connection.step() == Step::Ready {
            bodies.extend(answer(&mut connection));
            out.extend(send(&mut connection, 300));
        }
        assert_eq!(
            bodies,
            [b"one", b"two"],
            "cut at {cut} of {}: {connection:?}",
            wire.len()
        );
        assert_eq!(out.iter().filter(|byte| **byte == b'x').count(), 2000);
        assert!(connection.may_travel(), "cut at {cut}");
    }
}

/// What came behind an error is not parsed, and the connection ends.
#[test]
fn nothing_is_parsed_behind_an_error() {
    let mut wire = request(1, b"one");
    let begun = wire.len() - 8;
    wire.splice(begun.., *b"\x07garbage");
    wire.extend(request(2, b"two"));
    let mut connection = connection();
    connection.receive(&wire);
    assert_eq!(answer(&mut connection).as_deref(), Some(&b"one"[..]));
    while connection.has_unsent() {
        send(&mut connection, 1000);
    }
    assert!(answer(&mut connection).is_none());
    assert!(matches!(connection.step(), Step::Close | Step::Linger));
}

/// What the fuzzer has found its way by (`scripts/fuzz`).
#[test]
#[cfg_attr(miri, ignore = "takes Miri too long")]
fn the_scripts_of_the_fuzzer_hold() {
    for script in model::scripts::SCRIPTS {
        model::drive(script);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    #[cfg_attr(miri, ignore = "takes Miri too long")]
    fn any_script_holds(script in prop::collection::vec(any::<u8>(), 0..300)) {
        model::drive(&script);
    }
}

/// A connection whose application has this request.
fn begun(wire: &[u8]) -> (Connection, u64) {
    let mut connection = connection();
    connection.receive(wire);
    let (_, turn) = connection.begin().expect("the request is whole");
    let head = Head::new(b"200 OK").unwrap();
    let progress = &mut connection.request(turn).unwrap().progress;
    progress.start(head, false).unwrap();
    (connection, turn)
}

fn put(connection: &mut Connection, turn: u64, block: &[u8], last: bool) {
    let length = block.len() as u64;
    let portion = connection.admit(turn, |progress| progress.admit(length, last));
    connection.put(&portion.unwrap(), &[block]);
}

/// A request that is whole by its CONTENT_LENGTH, without the empty record behind its body.
fn open_request(id: u16, body: &[u8]) -> Vec<u8> {
    let mut wire = request(id, body);
    wire.truncate(wire.len() - 8);
    wire
}

fn record(kind: RecordType, id: u16, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_record(&mut out, kind, id, content);
    out
}

fn all(connection: &mut Connection) -> Vec<u8> {
    let mut out = Vec::new();
    while connection.has_unsent() {
        out.extend(send(connection, usize::MAX));
    }
    out
}

/// END_REQUEST of request 1.
const END: [u8; 16] = [1, 3, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

#[test]
fn an_abort_behind_the_end_of_an_answer_does_not_end_it_twice() {
    let (mut connection, turn) = begun(&open_request(1, b"one"));
    put(&mut connection, turn, b"all", true);
    connection.push_ahead(&record(RecordType::AbortRequest, 1, &[]));
    connection.read_ahead();
    connection.finish(None, false);
    let out = all(&mut connection);
    assert_eq!(out.windows(16).filter(|end| **end == END).count(), 1);
    assert!(connection.may_travel(), "{connection:?}");
}

/// What would follow would be taken for the rest of the record that was cut in the middle.
#[test]
fn nothing_is_sent_on_a_connection_that_is_given_up() {
    for aborted in [false, true] {
        let (mut connection, turn) = begun(&open_request(1, b"one"));
        put(&mut connection, turn, &[b'x'; 1000], false);
        send(&mut connection, 20);
        if aborted {
            connection.push_ahead(&record(RecordType::AbortRequest, 1, &[]));
            connection.read_ahead();
        }
        connection.lose();
        connection.finish(None, false);
        assert!(!connection.has_unsent());
        assert_eq!(connection.step(), Step::Close);
    }
}

#[test]
fn a_body_that_has_come_is_read_though_the_web_server_has_closed_its_side() {
    let mut wire = opening(1, 220_000);
    for piece in [60_000, 60_000, 50_000, 50_000] {
        wire.extend(record(RecordType::Stdin, 1, &vec![b'x'; piece]));
    }
    wire.extend(record(RecordType::Stdin, 1, &[]));
    let (mut connection, turn) = begun(&wire);
    connection.end_of_input();
    let mut come = 0;
    while connection.fill(turn).unwrap() == Filled::Here {
        let body = &mut connection.request(turn).unwrap().body;
        let count = body.here().len();
        body.consume(count);
        come += count;
    }
    assert_eq!(come, 220_000);
    connection.finish(None, false);
    assert_eq!(connection.step(), Step::Close);
}

/// A web server that does not end the body before it sends its next request.
#[test]
fn a_request_that_has_begun_to_come_before_an_answer_has_left_is_served() {
    let first = open_request(1, b"one");
    let second = request(2, b"two");
    for cut in 1..24 {
        let (mut connection, turn) = begun(&first);
        connection.push_ahead(&second[..cut]);
        // The application reads on behind the body.
        connection.read_ahead();
        put(&mut connection, turn, b"all", true);
        connection.finish(None, false);
        connection.receive(&second[cut..]);
        let out = all(&mut connection);
        let refusal = [1, 3, 0, 2, 0, 8, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
        let is_refused = out.windows(16).any(|end| *end == refusal);
        let served = answer(&mut connection);
        assert_eq!(served.is_none(), is_refused, "cut at {cut}");
        assert!(served.is_none_or(|body| body == b"two"), "cut at {cut}");
    }
}

#[test]
fn nothing_stands_behind_a_break() {
    let (mut connection, turn) = begun(&open_request(1, b"one"));
    let portion = connection.admit(turn, |progress| progress.admit_file(9));
    let cut = connection.cut_of(turn, false).unwrap();
    let id = connection.put_head(portion.unwrap().head.as_ref());
    let file = SentFile {
        file: std::fs::File::open("/dev/null").unwrap().into(),
        subject: String::new(),
        cut: Some(cut.clone()),
    };
    connection.unsent().push_file(id, file, 0, 9);
    connection.put_end();
    assert!(connection.unsent().file_gave(b"").is_err());
    connection.file_ended();
    connection.push_ahead(&record(RecordType::Other(99), 0, &[]));
    connection.push_ahead(&record(RecordType::AbortRequest, 1, &[]));
    connection.read_ahead();
    connection.finish(None, false);
    assert!(all(&mut connection).ends_with(&cut));
    assert_eq!(connection.step(), Step::Linger);
}

/// The application takes the body in small pieces and never all that is here.
#[test]
fn what_was_read_of_a_body_is_not_held() {
    let mut wire = opening(1, 10_000_000);
    for _ in 0..2 {
        wire.extend(record(RecordType::Stdin, 1, &[b'x'; 40_000]));
    }
    let (mut connection, turn) = begun(&wire);
    connection.request(turn).unwrap().body.consume(40_000);
    for _ in 0..100 {
        connection.push_ahead(&record(RecordType::Stdin, 1, &[b'x'; 20_000]));
        connection.read_ahead();
        connection.request(turn).unwrap().body.consume(20_000);
    }
    assert!(connection.held().body < 200_000, "{:?}", connection.held());
}

#[test]
fn pages_in_place_of_a_request_have_the_status_lines_of_http() {
    let begun = &request(1, b"")[..16];
    let broken = record(RecordType::Params, 1, &[200]);
    let large = record(RecordType::Params, 1, &[b'x'; 60_000]).repeat(20);
    let none = Vec::new();
    let end = record(RecordType::Params, 1, &[]);
    for (params, status) in [
        ([broken, end], "400 Bad Request"),
        ([none.clone(), none.clone()], "408 Request Timeout"),
        ([large, none], "431 Request Header Fields Too Large"),
    ] {
        let mut connection = connection();
        connection.receive(&[begun, &params[0], &params[1]].concat());
        connection.expire(false);
        let out = all(&mut connection);
        assert!(
            String::from_utf8_lossy(&out).contains(&format!("Status: {status}\r\n")),
            "{status}"
        );
    }
}
