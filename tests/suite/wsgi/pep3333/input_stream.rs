//! "Input and Error Streams": `wsgi.input`.

use super::*;

const BODY: &str = "first line\nsecond\n\nlast without end";

/// The way of reading, and what Python shows of it: the semantics of io.BufferedIOBase.
const WAYS: &[(&str, &str)] = &[
    ("all_of_it", r"b'first line\nsecond\n\nlast without end'"),
    (
        "all_by_minus_one",
        r"b'first line\nsecond\n\nlast without end'",
    ),
    ("all_by_none", r"b'first line\nsecond\n\nlast without end'"),
    (
        "nothing_by_zero",
        r"(b'', b'first line\nsecond\n\nlast without end')",
    ),
    (
        "by_three",
        r"[b'fir', b'st ', b'lin', b'e\ns', b'eco', b'nd\n', b'\nla', b'st ', b'wit', b'hou', b't e', b'nd']",
    ),
    (
        "more_than_there_is",
        r"(b'first line\nsecond\n\nlast without end', b'', b'', b'')",
    ),
    (
        "at_the_end",
        r"(b'first line\nsecond\n\nlast without end', b'', b'', b'', [], [])",
    ),
    (
        "lines",
        r"[b'first line\n', b'second\n', b'\n', b'last without end']",
    ),
    (
        "lines_of_four",
        r"[b'firs', b't li', b'ne\n', b'seco', b'nd\n', b'\n', b'last', b' wit', b'hout', b' end']",
    ),
    ("line_by_none", r"(b'first line\n', b'second\n')"),
    ("line_by_zero", r"(b'', b'first line\n')"),
    (
        "all_lines",
        r"[b'first line\n', b'second\n', b'\n', b'last without end']",
    ),
    (
        "all_lines_by_none",
        r"[b'first line\n', b'second\n', b'\n', b'last without end']",
    ),
    (
        "lines_with_hint",
        r"([b'first line\n'], [b'second\n', b'\n', b'last without end'])",
    ),
    (
        "iterated",
        r"[b'first line\n', b'second\n', b'\n', b'last without end']",
    ),
    (
        "mixed",
        r"(b'fi', b'rst line\n', b'second\n', b'\n', [b'last without end'])",
    ),
    ("has_no_more_than_the_four", "[]"),
    ("echo", BODY),
    ("while_answering", "FIRST LINE\nSECOND\n\nLAST WITHOUT END"),
    ("attributes", "True"),
];

#[test]
fn reads_like_a_buffered_file_in_every_way() {
    let doors = Doors::open("reading:application");
    for (name, shown) in WAYS {
        let request = Request::post(&format!("/{name}"), BODY.as_bytes());
        for answer in doors.ask(&request) {
            answer.is(200, shown);
        }
    }
}

#[test]
fn of_a_request_without_a_body_is_empty() {
    let doors = Doors::open("reading:application");
    for length in ["", "0"] {
        let request = Request::get("/at_the_end").param("CONTENT_LENGTH", length);
        for answer in doors.ask(&request) {
            answer.is(200, "(b'', b'', b'', b'', [], [])");
        }
    }
}

/// "A server should not attempt to read past the client's specified Content-Length".
#[test]
fn ends_at_content_length_whatever_follows() {
    let doors = Doors::open("reading:application");
    for (name, shown) in [
        ("all_of_it", "b'first'"),
        ("more_than_there_is", "(b'first', b'', b'', b'')"),
        ("lines", "[b'first']"),
        ("iterated", "[b'first']"),
    ] {
        let request = Request::post(&format!("/{name}"), b"first line\nsecond\n")
            .param("CONTENT_LENGTH", "5");
        for answer in doors.ask(&request) {
            answer.is(200, shown);
        }
    }
}

#[test]
fn carries_large_bodies_unaltered() {
    let doors = Doors::open("reading:application");
    let body: Vec<u8> = (0..251).cycle().take(3_000_000).collect();
    let shown = format!("{} {}", body.len(), crate::support::digest::adler32(&body));
    for name in ["checksum", "checksum_at_once"] {
        for answer in doors.ask(&Request::post(&format!("/{name}"), &body)) {
            answer.is(200, &shown);
        }
    }
}

#[test]
fn need_not_be_read() {
    let doors = Doors::open("reading:application");
    let body = vec![b'x'; 1_000_000];
    for (name, shown) in [("unread", "unread"), ("partly", "xxx")] {
        for answer in doors.ask(&Request::post(&format!("/{name}"), &body)) {
            answer.is(200, shown);
        }
    }
    // What was not read must not be taken for the next request on the connection.
    let mut connection = Connection::open(doors.gateway().socket());
    for body in [&body[..], b"small"] {
        let request = Request::post("/unread", body).keep();
        assert_eq!(connection.request(&request).expect(200).text(), "unread");
    }
}

/// A body that stops early is a client that went away. b'' would make it look like a whole one.
#[test]
fn shorter_than_announced_is_an_os_error() {
    let doors = Doors::open("reading:application");
    for name in [
        "short_read",
        "short_pieces",
        "short_lines",
        "short_iteration",
        "short_readlines",
    ] {
        let request = Request::post(&format!("/{name}"), b"short").param("CONTENT_LENGTH", "50");
        for answer in doors.ask(&request) {
            answer.has_status(200);
            assert!(answer.text().starts_with("OSError: "), "{answer:#?}");
        }
    }
    let request = Request::post("/short_unhandled", b"short").param("CONTENT_LENGTH", "50");
    for answer in doors.ask(&request) {
        assert_ne!(answer.text(), "the body was whole", "{answer:#?}");
        assert_eq!(answer.status, 500, "{answer:#?}");
    }
}

/// More than `--buffer` holds: the error comes while reading on demand, not before the application.
#[test]
fn that_stops_in_the_middle_of_a_large_body_is_an_os_error() {
    let gateway = Gateway::start("reading:application", &[]);
    let mut connection = Connection::open(gateway.socket());
    let request = Request::post("/short_pieces", &[]).param("CONTENT_LENGTH", "300000");
    connection.write(&request.head());
    for _ in 0..4 {
        connection.write(&record(STDIN, 1, &[b'x'; 50_000], 0));
    }
    connection.write(&record(STDIN, 1, b"", 0));
    let response = connection.response(1).expect(200);
    assert!(response.text().starts_with("OSError: "), "{response:#?}");
}

#[test]
fn lasts_until_close_has_run() {
    let doors = Doors::open("reading:application");
    let folder = TempDir::new().unwrap();
    let mark = folder.path().join("mark");
    let request = Request::post("/in_close", b"read in close()")
        .param("QUERY_STRING", mark.to_str().unwrap());
    for answer in doors.ask(&request) {
        answer.is(200, "sent");
    }
    doors.close();
    let read = fs::read_to_string(&mark).unwrap();
    assert_eq!(read, "read in close()".repeat(Door::ALL.len()));
}

#[test]
fn is_dead_after_the_request() {
    let gateway = Gateway::start("reading:application", &[]);
    let mut connection = Connection::open(gateway.socket());
    let response = connection.request(&Request::post("/keep", b"of the first request").keep());
    assert_eq!(response.expect(200).text(), "of");
    let response = connection.request(&Request::post("/use_kept", b"of the second").keep());
    assert_eq!(
        response.expect(200).text(),
        ["ValueError"; 5].join(" "),
        "the next request's body must be out of reach"
    );

    let request = Request::post("/keep_until_exit", b"of the only request");
    let output = Cgi::new("reading:application", &request).run();
    assert_eq!(output.response().body, b"of");
    assert!(
        output.stderr.contains("after the request: ValueError"),
        "{output:#?}"
    );
}
