//! A connection driven without a socket: what comes in at any cut, and what goes out.

use std::sync::Arc;
use std::time::Duration;

use super::super::pairs::write_pair;
use super::super::record::{RecordType, write_record};
use super::super::unsent::{Headers, Next};
use super::super::{Limits, Rules};
use super::{Connection, Step};
use crate::gateway::Head;

fn connection() -> Connection {
    let time = Duration::from_secs(1);
    let limits = Limits {
        params: 1 << 20,
        body: None,
        buffer: 1 << 16,
        connections: 1,
        unsent: 1 << 20,
        header_timeout: time,
        idle_timeout: time,
        io_timeout: time,
    };
    Connection::new(Arc::new(Rules::new(limits)), false)
}

fn request(id: u16, body: &[u8]) -> Vec<u8> {
    let mut params = Vec::new();
    write_pair(&mut params, b"REQUEST_METHOD", b"POST");
    write_pair(
        &mut params,
        b"CONTENT_LENGTH",
        body.len().to_string().as_bytes(),
    );
    let mut out = Vec::new();
    write_record(
        &mut out,
        RecordType::BeginRequest,
        id,
        &[0, 1, 1, 0, 0, 0, 0, 0],
    );
    write_record(&mut out, RecordType::Params, id, &params);
    write_record(&mut out, RecordType::Params, id, &[]);
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
    for cut in 0..=wire.len() {
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
