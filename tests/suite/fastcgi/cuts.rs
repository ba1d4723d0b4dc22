//! The way a request is delivered makes no difference: a list of exchanges, each sent whole, cut in
//! two at every byte, byte by byte and at random cuts, has the same answer every time.
//!
//! The pieces really arrive apart: the next one is written when the kernel says that the gateway has
//! read the one before. Several connections are under way at once, so that this costs no time.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::client::{
    ABORT_REQUEST, Connection, END_REQUEST, GET_VALUES, GET_VALUES_RESULT, PARAMS, Pair, RESPONDER,
    Record, Request, STDERR, STDIN, STDOUT, UNKNOWN_TYPE, begin, pairs, record, stream,
    wait_until_read,
};
use crate::support::gateway::Gateway;

/// How many connections are under way at once.
const TOGETHER: usize = 64;

/// Everything that came for one connection, with each stream in one piece: where a responder cuts its
/// own streams is its own business.
fn answer(connection: &mut Connection) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    while let Some(mut record) = connection.read_record() {
        record.padding = 0;
        let joins = matches!(record.kind, STDOUT | STDERR) && !record.content.is_empty();
        match records.last_mut() {
            Some(last)
                if joins
                    && (last.kind, last.id) == (record.kind, record.id)
                    && !last.content.is_empty() =>
            {
                last.content.extend(record.content);
            }
            _ => records.push(record),
        }
    }
    assert!(!connection.reset, "a reset after {records:#?}");
    records
}

/// Sends each list of pieces over a connection of its own and returns the answers in that order.
fn deliver(gateway: &Gateway, deliveries: &[Vec<&[u8]>]) -> Vec<Vec<Record>> {
    let mut answers = Vec::new();
    for group in deliveries.chunks(TOGETHER) {
        let mut connections: Vec<_> = group
            .iter()
            .map(|_| Connection::open(gateway.socket()))
            .collect();
        let pieces = group.iter().map(Vec::len).max().unwrap_or(0);
        for number in 0..pieces {
            for (connection, delivery) in connections.iter_mut().zip(group) {
                if let Some(piece) = delivery.get(number) {
                    wait_until_read(connection);
                    connection.write(piece);
                }
            }
        }
        answers.extend(connections.iter_mut().map(answer));
    }
    answers
}

fn check(app: &str, wire: &[u8], kinds: &[u8], contains: &[&str]) {
    let gateway = Gateway::start(app, &[]);
    let whole = deliver(&gateway, &[vec![wire]]).remove(0);
    // That the answer is the same each time proves nothing unless it is the right one.
    let found: Vec<u8> = whole.iter().map(|record| record.kind).collect();
    assert_eq!(found, kinds, "{whole:#?}");
    for needle in contains {
        let found = whole
            .iter()
            .any(|record| String::from_utf8_lossy(&record.content).contains(needle));
        assert!(found, "{needle:?} in {whole:#?}");
    }

    let cuts: Vec<Vec<&[u8]>> = (1..wire.len())
        .map(|cut| vec![&wire[..cut], &wire[cut..]])
        .collect();
    for (cut, answer) in deliver(&gateway, &cuts).iter().enumerate() {
        assert_eq!(answer, &whole, "cut after byte {}", cut + 1);
    }

    let bytes: Vec<&[u8]> = wire.chunks(1).collect();
    let answers = deliver(&gateway, &[bytes]);
    assert_eq!(answers, std::slice::from_ref(&whole), "byte by byte");

    let mut random = Random::seeded();
    for _ in 0..4 {
        let deliveries: Vec<Vec<&[u8]>> = (0..TOGETHER / 2).map(|_| random.pieces(wire)).collect();
        for (answer, delivery) in deliver(&gateway, &deliveries).iter().zip(&deliveries) {
            let lengths: Vec<usize> = delivery.iter().map(|piece| piece.len()).collect();
            assert_eq!(answer, &whole, "in pieces of {lengths:?}");
        }
    }
}

/// A small generator (xorshift), because all that is asked of it is a seed that can be given again.
struct Random(u64);

impl Random {
    /// From `CUTS_SEED`, or from the clock; a test that fails shows what it was.
    fn seeded() -> Random {
        let seed = match std::env::var("CUTS_SEED") {
            Ok(seed) => seed.parse().unwrap(),
            Err(_) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
                u64::from(now.subsec_nanos()) | 1
            }
        };
        eprintln!("CUTS_SEED={seed}");
        Random(seed)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit).unwrap()).unwrap()
    }

    /// Mostly small pieces, so that cuts fall close together.
    fn pieces<'a>(&mut self, mut wire: &'a [u8]) -> Vec<&'a [u8]> {
        let most = [4, 16, 64, 300][self.below(4)];
        let mut pieces = Vec::new();
        while !wire.is_empty() {
            let length = (1 + self.below(most)).min(wire.len());
            let (piece, rest) = wire.split_at(length);
            pieces.push(piece);
            wire = rest;
        }
        pieces
    }
}

/// The least that a request needs, because every byte of it is one connection.
fn small(mut request: Request) -> Request {
    let needed = [
        "REQUEST_METHOD",
        "CONTENT_LENGTH",
        "SCRIPT_NAME",
        "PATH_INFO",
        "QUERY_STRING",
        "SERVER_NAME",
        "SERVER_PORT",
        "SERVER_PROTOCOL",
    ];
    request
        .params
        .retain(|pair| needed.iter().any(|name| name.as_bytes() == pair.0));
    request
}

const SERVED: [u8; 3] = [STDOUT, STDOUT, END_REQUEST];

#[test]
fn a_get_with_every_variable() {
    let request = Request::get("/here?there").param("LONG", "v".repeat(200));
    check(
        "fcgi_environ",
        &request.bytes(),
        &SERVED,
        &["\r\n\r\n", "PATH_INFO=/here\n", "QUERY_STRING=there\n"],
    );
}

#[test]
fn a_get_in_tiny_padded_records() {
    let request = small(Request::get("/tiny"));
    let mut wire = begin(258, RESPONDER, 0);
    for part in pairs(&request.params).chunks(3) {
        wire.extend(record(PARAMS, 258, part, 2));
    }
    wire.extend(record(PARAMS, 258, b"", 1));
    wire.extend(record(STDIN, 258, b"", 5));
    check("fcgi_unread", &wire, &SERVED, &["\r\n\r\n/tiny"]);
}

#[test]
fn a_post() {
    let mut request = small(Request::post("/", b"the body of the request"));
    request.id = 7;
    let mut wire = request.head();
    wire.extend(stream(STDIN, 7, &request.stdin, 10));
    check(
        "fcgi_echo",
        &wire,
        &SERVED,
        &["\r\n\r\nthe body of the request"],
    );
}

#[test]
fn a_post_of_unknown_length() {
    let request = small(Request::post("/", b"as long as it is")).without("CONTENT_LENGTH");
    check(
        "fcgi_echo",
        &request.bytes(),
        &SERVED,
        &["\r\n\r\nas long as it is"],
    );
}

#[test]
fn two_kept_requests_in_one_write() {
    let mut wire = small(Request::post("/", b"first")).keep().id(1).bytes();
    wire.extend(small(Request::post("/", b"second")).id(2).bytes());
    check(
        "fcgi_echo",
        &wire,
        &[SERVED, SERVED].concat(),
        &["\r\n\r\nfirst", "\r\n\r\nsecond"],
    );
}

#[test]
fn a_body_that_nobody_reads_between_two_kept_requests() {
    let mut wire = small(Request::post("/first", &[b'x'; 100])).keep().bytes();
    wire.extend(small(Request::post("/second", &[b'y'; 100])).bytes());
    check(
        "fcgi_unread",
        &wire,
        &[SERVED, SERVED].concat(),
        &["\r\n\r\n/first", "\r\n\r\n/second"],
    );
}

#[test]
fn management_records_before_a_request() {
    let names: [Pair; 3] = ["FCGI_MAX_CONNS", "FCGI_MAX_REQS", "FCGI_MPXS_CONNS"]
        .map(|name| (name.into(), Vec::new()));
    let mut wire = record(GET_VALUES, 0, &pairs(&names), 7);
    wire.extend(record(77, 0, b"what is this", 0));
    wire.extend(small(Request::get("/after")).bytes());
    check(
        "fcgi_unread",
        &wire,
        &[&[GET_VALUES_RESULT, UNKNOWN_TYPE], &SERVED[..]].concat(),
        &["FCGI_MAX_CONNS", "FCGI_MPXS_CONNS", "\r\n\r\n/after"],
    );
}

#[test]
fn a_refusal_in_the_middle_of_a_request() {
    let request = small(Request::post("/", b"of the first"));
    let mut wire = request.head();
    wire.extend(begin(2, RESPONDER, 1));
    wire.extend(record(STDIN, 2, b"of the second", 1));
    wire.extend(stream(STDIN, 1, &request.stdin, 100));
    check(
        "fcgi_echo",
        &wire,
        &[&[END_REQUEST], &SERVED[..]].concat(),
        &["\r\n\r\nof the first"],
    );
}

#[test]
fn a_request_after_an_aborted_one() {
    let aborted = small(Request::post("/", b"never whole")).keep();
    let mut wire = aborted.head();
    wire.extend(record(STDIN, 1, b"never", 3));
    wire.extend(record(ABORT_REQUEST, 1, b"", 0));
    let aborted = wire.clone();
    wire.extend(small(Request::post("/", b"whole")).bytes());
    // Whether an aborted request still says something is the gateway's choice; that it is the same
    // for every cut is what is checked.
    let gateway = Gateway::start("fcgi_echo", &[]);
    let mut connection = Connection::open(gateway.socket());
    connection.write(&aborted);
    let mut kinds = Vec::new();
    while kinds.last() != Some(&END_REQUEST) {
        kinds.push(connection.read_record().unwrap().kind);
    }
    check(
        "fcgi_echo",
        &wire,
        &[&kinds[..], &SERVED[..]].concat(),
        &["\r\n\r\nwhole"],
    );
}
