//! What a client puts into a body never becomes a request: after an error in the middle of a body the connection ends,
//! whatever the error was, however the body is read and wherever the bytes are cut.

use std::thread;

use super::{ANSWERS, READERS};
use crate::support::client::{
    BEGIN_REQUEST, Connection, PARAMS, RESPONDER, Request, STDIN, begin, fetch, record,
    wait_until_read,
};
use crate::support::gateway::Gateway;

/// Bytes of a body that are here before the application is called.
const BUFFER: usize = 1000;
const MAX_BODY: usize = 5000;

/// The application that reads in many ways, with these limits.
fn reading() -> Gateway {
    let (buffer, max_body) = (BUFFER.to_string(), MAX_BODY.to_string());
    let options = ["--buffer", &buffer, "--max-body", &max_body];
    Gateway::start("fcgi_readers", &options)
}

/// The request that a client would have run.
fn smuggled() -> Vec<u8> {
    Request::get("/smuggled")
        .param("REMOTE_USER", "admin")
        .keep()
        .bytes()
}

/// An upload in three writes, each when the one before has been read: its begin up to where the application is called, the
/// error with the header of a record behind it, and what is in that record.
struct Upload {
    what: &'static str,
    request: Request,
    error: Vec<u8>,
}

impl Upload {
    fn deliver(&self, gateway: &Gateway) -> Vec<u8> {
        let content = smuggled();
        let id = self.request.id;
        let mut front = self.request.head();
        front.extend(record(STDIN, id, &[b'a'; BUFFER + 1], 3));
        let mut middle = self.error.clone();
        middle.extend(&record(STDIN, id, &content, 0)[..8]);
        let mut connection = Connection::open(gateway.socket());
        for piece in [&front, &middle, &content, &content] {
            connection.write(piece);
            wait_until_read(&connection);
        }
        connection.read_to_eof()
    }
}

fn errors() -> Vec<(&'static str, Vec<u8>)> {
    let mut version = record(STDIN, 1, b"x", 0);
    version[0] = 2;
    vec![
        ("too large a body", record(STDIN, 1, &[b'b'; MAX_BODY], 0)),
        (
            "too large a body in small records",
            record(STDIN, 1, &[b'b'; 500], 4).repeat(10),
        ),
        ("a second begin", begin(1, RESPONDER, 1)),
        ("another version", version),
        ("no FastCGI", b"POST / HTTP/1.1\r\n\r\n".to_vec()),
        ("id 0", record(STDIN, 0, b"x", 0)),
        ("variables of id 0", record(PARAMS, 0, b"x", 0)),
        ("a short begin", record(BEGIN_REQUEST, 2, b"\0\x01", 0)),
    ]
}

/// The records of one response at most, whole or not: nothing of a second one.
#[track_caller]
fn is_one_response(sent: &[u8], what: &str) {
    let mut rest = sent;
    let mut ended = false;
    while rest.len() >= 8 {
        assert!(
            !ended,
            "{what}: more after the end: {:?}",
            String::from_utf8_lossy(rest)
        );
        if rest[0] == 0 {
            return;
        }
        let length = usize::from(rest[4]) * 256 + usize::from(rest[5]) + usize::from(rest[6]);
        ended = rest[1] == 3;
        rest = &rest[8 + length..];
    }
    let text = String::from_utf8_lossy(sent);
    assert!(!text.contains("/smuggled"), "{what}: {text}");
}

fn upload(path: &str, with_length: bool) -> Request {
    let request = Request::post(path, b"").keep();
    if with_length {
        request.param("CONTENT_LENGTH", "4500")
    } else {
        request.without("CONTENT_LENGTH")
    }
}

#[test]
fn an_error_in_the_middle_of_a_body_ends_the_connection() {
    let (buffer, max_body) = (BUFFER.to_string(), MAX_BODY.to_string());
    let options = [
        "--buffer",
        &buffer,
        "--max-body",
        &max_body,
        "--threads",
        "4",
    ];
    let gateway = Gateway::start("fcgi_readers", &options);
    let mut uploads = Vec::new();
    for (what, error) in errors() {
        for reader in READERS {
            for answer in ANSWERS {
                // A body of a known length that is read to its end is no error: what is behind it is not looked at.
                for with_length in [false, true] {
                    if with_length && what.starts_with("too large") {
                        continue;
                    }
                    uploads.push(Upload {
                        what,
                        request: upload(&format!("/{answer}/{reader}"), with_length),
                        error: error.clone(),
                    });
                }
            }
        }
    }
    let served = &gateway;
    thread::scope(|scope| {
        for group in uploads.chunks(uploads.len().div_ceil(4)) {
            scope.spawn(move || {
                for upload in group {
                    let path = &upload.request.params[5].1;
                    let what = format!("{} {}", upload.what, String::from_utf8_lossy(path));
                    is_one_response(&upload.deliver(served), &what);
                }
            });
        }
    });
    assert_eq!(
        fetch(gateway.socket(), &Request::get("/next"))
            .expect(200)
            .text(),
        "/next"
    );
    let log = gateway.terminate().log;
    assert!(!log.contains("/smuggled"), "{log}");
}

/// The same wherever the bytes are cut: the error and what follows it, in two pieces at every byte.
#[test]
fn it_does_so_at_every_cut() {
    let gateway = reading();
    for (what, error) in errors() {
        let request = upload("/caught/at_once", false);
        let mut front = request.head();
        front.extend(record(STDIN, 1, &[b'a'; BUFFER + 1], 0));
        // The body is too large with the first byte that comes now.
        if what.starts_with("too large") {
            front.extend(record(STDIN, 1, &[b'a'; MAX_BODY - BUFFER - 1], 0));
        }
        let error = if what.starts_with("too large") {
            record(STDIN, 1, b"b", 2)
        } else {
            error
        };
        let mut back = error;
        let after = back.len();
        back.extend(record(STDIN, 1, &smuggled(), 0));
        for cut in (0..after + 16).chain([back.len()]) {
            let mut connection = Connection::open(gateway.socket());
            connection.write(&front);
            wait_until_read(&connection);
            for piece in [&back[..cut], &back[cut..], &smuggled()] {
                connection.write(piece);
                wait_until_read(&connection);
            }
            // Where a web server has not sent all, the end of what it sends is not what ends the connection.
            is_one_response(&connection.read_to_eof(), &format!("{what}, cut at {cut}"));
        }
    }
    let log = gateway.terminate().log;
    assert!(!log.contains("/smuggled"), "{log}");
}

/// A body that is refused before the application is called.
#[test]
fn nothing_follows_a_body_that_is_refused_unread() {
    let max_body = MAX_BODY.to_string();
    let gateway = Gateway::start("fcgi_readers", &["--max-body", &max_body]);
    for length in [None, Some(MAX_BODY + 1)] {
        let mut request = Request::post("/caught/at_once", b"").keep();
        request = match length {
            Some(length) => request.param("CONTENT_LENGTH", length.to_string()),
            None => request.without("CONTENT_LENGTH"),
        };
        let mut connection = Connection::open(gateway.socket());
        connection.write(&request.head());
        let mut wire = record(STDIN, 1, &[b'a'; MAX_BODY + 1], 0);
        wire.extend(&record(STDIN, 1, &smuggled(), 0)[..8]);
        connection.write(&wire);
        wait_until_read(&connection);
        connection.write(&smuggled());
        let response = connection.response(1);
        assert_eq!(response.status, 413, "{response:?}");
        assert_eq!(connection.read_to_eof(), b"");
    }
    let log = gateway.terminate().log;
    assert!(!log.contains("/smuggled"), "{log}");
}

/// The client is told why, where nothing of a response has left.
#[test]
fn a_body_that_became_too_large_is_answered_with_413() {
    let gateway = reading();
    for reader in [
        "at_once",
        "in_pieces",
        "in_large_pieces",
        "read1",
        "in_lines",
        "readinto",
    ] {
        for (pieces, size) in [(1, 8000), (80, 100), (2, 4000)] {
            let path = format!("/raised/{reader}");
            let mut connection = Connection::open(gateway.socket());
            connection.write(&upload(&path, false).head());
            for _ in 0..pieces {
                connection.record(STDIN, 1, &vec![b'a'; size], 1);
            }
            let response = connection.response(1).expect(413);
            assert_eq!(connection.read_to_eof(), b"", "{reader}: {response:?}");
        }
    }
    // At the limit nothing is wrong, and the connection stays.
    let mut connection = Connection::open(gateway.socket());
    for _ in 0..2 {
        let mut request = Request::post("/caught/at_once", &[b'a'; MAX_BODY]).keep();
        request = request.without("CONTENT_LENGTH");
        let response = connection.request(&request).expect(200);
        assert_eq!(response.body.len(), MAX_BODY);
    }
}

/// What comes after an unread rest of a body is a request: the stream is whole.
#[test]
fn a_rest_that_nobody_read_is_skipped_as_a_body() {
    let gateway = Gateway::start("fcgi_readers", &["--buffer", "1000"]);
    let mut connection = Connection::open(gateway.socket());
    for size in [10, 1000, 5000, 60_000] {
        let mut body = smuggled();
        body.resize(size.max(body.len()), b'x');
        let mut wire = Request::post("/unread", &body).keep().bytes();
        wire.extend(Request::get("/next").keep().id(2).bytes());
        connection.write(&wire);
        assert_eq!(connection.response(1).expect(200).text(), "/unread");
        assert_eq!(connection.response(2).expect(200).text(), "/next");
    }
    drop(connection);
    let log = gateway.terminate().log;
    assert!(!log.contains("/smuggled"), "{log}");
}

// ---- PARAMS that never end

/// A web server sends the variables first. Another peer might send a body for as long as it likes.
#[test]
fn a_body_before_the_end_of_the_variables_is_refused() {
    let gateway = Gateway::start("fcgi_readers", &[]);
    let request = Request::post("/caught/at_once", b"");
    let mut connection = Connection::open(gateway.socket());
    let mut front = begin(1, RESPONDER, 1);
    front.extend(record(
        PARAMS,
        1,
        &crate::support::client::pairs(&request.params),
        0,
    ));
    connection.write(&front);
    let before = gateway.peak_rss_kib();
    let piece = record(STDIN, 1, &[b'x'; 65_000], 0);
    for _ in 0..1000 {
        connection.write(&piece);
    }
    let response = connection.response(1);
    assert_eq!(response.status, 400, "{response:?}");
    let grown = gateway.peak_rss_kib() - before;
    assert!(grown < 10_000, "{grown} KiB");
    assert!(connection.read_to_eof().is_empty());
    let fine = fetch(gateway.socket(), &Request::get("/next")).expect(200);
    assert_eq!(fine.text(), "/next");
}

/// A little of it may come early, and an abort or a limit of the variables counts as ever.
#[test]
fn variables_and_body_may_be_interleaved() {
    let gateway = Gateway::start("fcgi_readers", &["--max-params", "4000"]);
    let body = vec![b'y'; 30_000];
    let request = Request::post("/caught/at_once", &body).keep();
    let params = crate::support::client::pairs(&request.params);
    let mut connection = Connection::open(gateway.socket());
    for round in 0..2 {
        let mut wire = begin(1, RESPONDER, 1);
        for (params, body) in params.chunks(100).zip(body.chunks(1000)) {
            wire.extend(record(PARAMS, 1, params, 1));
            wire.extend(record(STDIN, 1, body, 2));
        }
        let sent = params.len().div_ceil(100) * 1000;
        if round == 0 {
            // The body ends before the variables do.
            wire.extend(record(STDIN, 1, &body[sent..], 0));
            wire.extend(record(STDIN, 1, b"", 0));
            wire.extend(record(PARAMS, 1, b"", 0));
        } else {
            wire.extend(record(PARAMS, 1, b"", 0));
            wire.extend(record(STDIN, 1, &body[sent..], 0));
            wire.extend(record(STDIN, 1, b"", 0));
        }
        connection.write(&wire);
        let response = connection.response(1).expect(200);
        assert!(response.body == body, "{} bytes", response.body.len());
    }
    // Variables that never end, without a body.
    let mut wire = begin(1, RESPONDER, 1);
    for _ in 0..10 {
        wire.extend(record(PARAMS, 1, &[1; 500], 0));
    }
    connection.write(&wire);
    assert_eq!(connection.response(1).status, 431);
}
