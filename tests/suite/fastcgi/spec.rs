//! FastCGI 1.0, clause by clause: what a web server sees when it talks to the gateway. A test's name
//! begins with the section of the specification that it holds the gateway to. Where the specification
//! leaves a choice, the name says what the gateway does and a comment says for whom.

use std::os::fd::AsRawFd;
use std::thread;
use std::time::Instant;

use crate::support::client::{
    ABORT_REQUEST, AUTHORIZER, BEGIN_REQUEST, CANT_MPX_CONN, Connection, DATA, END_REQUEST,
    EndRequest, FILTER, GET_VALUES, GET_VALUES_RESULT, PARAMS, Pair, REQUEST_COMPLETE, RESPONDER,
    Request, Response, STDIN, STDOUT, UNKNOWN_ROLE, UNKNOWN_TYPE, begin, fetch, long_length, pairs,
    parse_pairs, record, stream,
};
use crate::support::gateway::{DEADLINE, Fifo, Gateway};

const FINE: EndRequest = EndRequest {
    app_status: 0,
    protocol_status: REQUEST_COMPLETE,
};

/// A variable as `fcgi_environ` shows it.
fn variable<'a>(response: &'a Response, name: &str) -> Option<&'a [u8]> {
    let mut lines = response.body.split(|byte| *byte == b'\n');
    lines.find_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

fn pair(name: &str, value: &str) -> Pair {
    (name.into(), value.into())
}

/// A GET whose PARAMS records are the test's own.
fn with_params(socket: &std::path::Path, params: &[u8]) -> Response {
    let mut connection = Connection::open(socket);
    connection.write(&begin(1, RESPONDER, 0));
    connection.write(params);
    connection.write(&stream(STDIN, 1, b"", 1));
    connection.response(1).expect(200)
}

// ---- 3.3 Records

#[test]
fn section_3_3_record_padding_is_ignored() {
    let gateway = Gateway::start("fcgi_echo", &[]);
    let mut connection = Connection::open(gateway.socket());
    let request = Request::post("/", b"0123456789").keep();
    let params = pairs(&request.params);
    for padding in 0..=255 {
        let mut wire = record(BEGIN_REQUEST, 1, &[0, 1, 1, 0, 0, 0, 0, 0], padding);
        wire.extend(record(PARAMS, 1, &params, padding));
        wire.extend(record(PARAMS, 1, b"", padding));
        wire.extend(record(STDIN, 1, b"01234", padding));
        wire.extend(record(STDIN, 1, b"56789", 255 - padding));
        wire.extend(record(STDIN, 1, b"", padding));
        connection.write(&wire);
        let response = connection.response(1).expect(200);
        assert_eq!(response.text(), "0123456789", "padding {padding}");
    }
}

#[test]
fn section_3_3_the_reserved_byte_is_ignored() {
    let gateway = Gateway::start("fcgi_unread", &[]);
    let mut wire = Request::get("/reserved").bytes();
    let mut at = 0;
    while at < wire.len() {
        let length = usize::from(u16::from_be_bytes([wire[at + 4], wire[at + 5]]));
        let whole = 8 + length + usize::from(wire[at + 6]);
        wire[at + 7] = 0xEE;
        at += whole;
    }
    let mut connection = Connection::open(gateway.socket());
    connection.write(&wire);
    assert_eq!(connection.response(1).expect(200).text(), "/reserved");
}

#[test]
fn section_3_3_any_request_id_is_served() {
    let gateway = Gateway::start("fcgi_unread", &[]);
    let mut connection = Connection::open(gateway.socket());
    // HAProxy counts 1, 3, 5 … on one connection; the others always say 1.
    for id in [1, 2, 3, 5, 255, 256, 257, 32_768, 65_535, 1, 1] {
        let request = Request::get("/some").keep().id(id);
        // The client refuses records of any other id.
        assert_eq!(connection.request(&request).expect(200).text(), "/some");
    }
}

#[test]
fn section_3_3_records_of_an_inactive_id_are_ignored() {
    let gateway = Gateway::start("fcgi_echo", &[]);
    let mut connection = Connection::open(gateway.socket());
    let request = Request::post("/", b"mine").keep().id(2);
    // Before any request, in the middle of one and after it.
    connection.record(PARAMS, 9, b"\x01\x01ab", 0);
    connection.record(STDIN, 2, b"too early", 0);
    connection.record(ABORT_REQUEST, 9, b"", 0);
    connection.write(&begin(2, RESPONDER, 1));
    connection.record(STDIN, 9, b"", 0);
    connection.record(PARAMS, 9, b"\x0e\x01CONTENT_LENGTH9", 0);
    connection.write(&stream(PARAMS, 2, &pairs(&request.params), 100));
    connection.record(STDIN, 9, b"not yours", 0);
    connection.record(ABORT_REQUEST, 1, b"", 0);
    connection.write(&stream(STDIN, 2, &request.stdin, 100));
    assert_eq!(connection.response(2).expect(200).text(), "mine");
    connection.record(STDIN, 2, b"too late", 0);
    connection.record(ABORT_REQUEST, 2, b"", 0);
    connection.record(DATA, 2, b"", 0);
    let again = Request::post("/", b"again").id(2);
    assert_eq!(connection.request(&again).expect(200).text(), "again");
}

#[test]
fn section_3_3_another_version_closes_the_connection_with_one_line_in_the_log() {
    let gateway = Gateway::start("fcgi_unread", &[]);
    gateway.wait_for_log("ready");
    // The last that it says of its start.
    gateway.wait_for_log("ready on ");
    for wire in [
        // What a browser sends that was pointed at the wrong port.
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1_000),
        // Version 2, well formed otherwise.
        [2, 1, 0, 1, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0].to_vec(),
        vec![0; 16],
        vec![255; 100_000],
    ] {
        let before = gateway.log().lines().count();
        let mut connection = Connection::open(gateway.socket());
        connection.write(&wire);
        assert_eq!(connection.read_to_eof(), b"");
        let deadline = Instant::now() + DEADLINE;
        while gateway.log().lines().count() == before {
            assert!(Instant::now() < deadline, "nothing in the log");
            thread::yield_now();
        }
        // Whatever else it had to say would be there once the next request has been answered.
        fetch(gateway.socket(), &Request::get("/")).expect(200);
        let log = gateway.log();
        assert_eq!(log.lines().count(), before + 1, "{log}");
    }
}

#[test]
fn section_3_3_another_version_in_the_middle_of_a_request_closes_too() {
    let gateway = Gateway::start("fcgi_unread", &[]);
    let mut connection = Connection::open(gateway.socket());
    let mut wire = Request::get("/").head();
    wire.extend([3, STDIN, 0, 1, 0, 0, 0, 0]);
    connection.write(&wire);
    let mut answer = Connection::open(gateway.socket());
    assert!(connection.response(1).closed);
    assert_eq!(
        answer.request(&Request::get("/on")).expect(200).text(),
        "/on"
    );
}

// ---- 3.4 Name-value pairs

#[test]
fn section_3_4_pairs_are_split_anywhere() {
    let gateway = Gateway::start("fcgi_environ", &[]);
    let long = "x".repeat(300);
    let request = Request::get("/split").param("LONG", &long);
    let params = pairs(&request.params);
    for size in [1, 2, 3, 5, 7, 8, 64, 127, 128, 300] {
        let wire = stream(PARAMS, 1, &params, size);
        let response = with_params(gateway.socket(), &wire);
        assert_eq!(variable(&response, "LONG"), Some(long.as_bytes()));
        assert_eq!(variable(&response, "PATH_INFO"), Some(&b"/split"[..]));
        assert_eq!(variable(&response, "HTTP_ACCEPT"), Some(&b"*/*"[..]));
    }
}

#[test]
fn section_3_4_pairs_are_split_at_every_place() {
    let gateway = Gateway::start("fcgi_environ", &[]);
    let request = Request::get("/split").param("LONG", "x".repeat(300));
    let params = pairs(&request.params);
    let mut connection = Connection::open(gateway.socket());
    let mut answers = Vec::new();
    for cut in 1..params.len() {
        let mut wire = begin(1, RESPONDER, 1);
        wire.extend(record(PARAMS, 1, &params[..cut], 0));
        wire.extend(stream(PARAMS, 1, &params[cut..], params.len()));
        wire.extend(record(STDIN, 1, b"", 0));
        connection.write(&wire);
        answers.push(connection.response(1).expect(200).body);
    }
    assert!(answers.iter().all(|body| *body == answers[0]));
    assert!(
        answers[0]
            .windows(301)
            .any(|window| window[0] == b'=' && window[1..] == [b'x'; 300])
    );
}

#[test]
fn section_3_4_short_lengths_in_the_long_form() {
    let gateway = Gateway::start("fcgi_environ", &[]);
    let mut params = pairs(&Request::get("/").params);
    // h2o writes 127 with four bytes; nothing forbids it for any other.
    for (name, value) in [("A", "1"), ("EMPTY", ""), ("B", &*"b".repeat(127))] {
        params.extend(long_length(name.len()));
        params.extend(long_length(value.len()));
        params.extend(name.as_bytes());
        params.extend(value.as_bytes());
        // And one of each form in a pair.
        params.push(u8::try_from(name.len() + 1).unwrap());
        params.extend(long_length(value.len()));
        params.extend(format!("{name}2{value}").as_bytes());
    }
    let response = with_params(gateway.socket(), &stream(PARAMS, 1, &params, 65_535));
    for name in ["A", "A2"] {
        assert_eq!(variable(&response, name), Some(&b"1"[..]), "{name}");
    }
    for name in ["EMPTY", "EMPTY2"] {
        assert_eq!(variable(&response, name), Some(&b""[..]), "{name}");
    }
    for name in ["B", "B2"] {
        assert_eq!(variable(&response, name), Some(&[b'b'; 127][..]), "{name}");
    }
}

#[test]
fn section_3_4_values_of_every_length_around_the_forms() {
    let gateway = Gateway::start("fcgi_environ", &[]);
    let mut request = Request::get("/");
    let lengths = [0, 1, 126, 127, 128, 129, 255, 256, 65_535, 65_536, 100_000];
    for length in lengths {
        request = request.param(format!("V{length}"), "v".repeat(length));
    }
    let response = fetch(gateway.socket(), &request).expect(200);
    for length in lengths {
        let value = variable(&response, &format!("V{length}")).unwrap();
        assert!(value.len() == length && value.iter().all(|byte| *byte == b'v'));
    }
}

#[test]
fn section_3_4_names_and_values_are_bytes() {
    let gateway = Gateway::start("fcgi_environ", &[]);
    let bytes: Vec<u8> = (1..=255).filter(|byte| *byte != b'\n').collect();
    let request = Request::get("/caf%E9").param("RAW", &bytes);
    let response = fetch(gateway.socket(), &request).expect(200);
    assert_eq!(variable(&response, "PATH_INFO"), Some(&b"/caf\xE9"[..]));
    assert_eq!(variable(&response, "RAW"), Some(&*bytes));
    // What comes after such a value must still be there.
    assert_eq!(variable(&response, "HTTP_ACCEPT"), Some(&b"*/*"[..]));
}

/// CVE-2025-23016 and its relatives: the sum of the two lengths of a pair.
#[test]
fn section_3_4_huge_lengths_neither_crash_nor_allocate() {
    let mut gateway = Gateway::start("fcgi_unread", &[]);
    fetch(gateway.socket(), &Request::get("/")).expect(200);
    let before = gateway.peak_rss_kib();
    let most = [0xFF, 0xFF, 0xFF, 0xFF];
    let half = [0xC0, 0x00, 0x00, 0x00];
    for (name, value) in [
        (&most[..], &most[..]),
        (&most[..], &[0][..]),
        (&[0][..], &most[..]),
        (&[4][..], &most[..]),
        (&half[..], &half[..]),
        (&most[..], &[0x80, 0, 0, 1][..]),
        // Just over what a record may bring.
        (&[0x80, 1, 0, 0][..], &[0x80, 1, 0, 0][..]),
    ] {
        let mut params = [name, value].concat();
        params.extend(b"NAME and some value");
        let mut connection = Connection::open(gateway.socket());
        connection.write(&begin(1, RESPONDER, 0));
        connection.write(&stream(PARAMS, 1, &params, 65_535));
        connection.write(&stream(STDIN, 1, b"", 1));
        connection.shutdown_write();
        let response = connection.response(1);
        // A page that says so, or a close: but never the application.
        assert!(
            response.status == 0 || response.status >= 400,
            "{response:?}"
        );
    }
    assert!(gateway.is_unharmed());
    assert_eq!(
        fetch(gateway.socket(), &Request::get("/a"))
            .expect(200)
            .text(),
        "/a"
    );
    let growth = gateway.peak_rss_kib() - before;
    assert!(
        growth < 16 * 1024,
        "{growth} KiB for lengths that were only claimed"
    );
}

#[test]
fn section_3_4_a_stream_that_ends_inside_a_pair_is_not_served() {
    let gateway = Gateway::start("fcgi_unread", &[]);
    let whole = pairs(&Request::get("/").params);
    let end = pairs(&[pair("LAST", "value")]);
    for cut in 1..end.len() {
        let mut params = whole.clone();
        params.extend(&end[..cut]);
        let mut connection = Connection::open(gateway.socket());
        connection.write(&begin(1, RESPONDER, 0));
        connection.write(&stream(PARAMS, 1, &params, 65_535));
        connection.write(&stream(STDIN, 1, b"", 1));
        connection.shutdown_write();
        let response = connection.response(1);
        assert!(
            response.status == 0 || response.status >= 400,
            "{cut}: {response:?}"
        );
    }
    fetch(gateway.socket(), &Request::get("/")).expect(200);
}

// ---- 3.5 Closing transport connections

#[test]
fn section_3_5_without_keep_conn_the_responder_closes_after_the_end() {
    let gateway = Gateway::start("fcgi_unread", &[]);
    let mut connection = Connection::open(gateway.socket());
    connection.write(&Request::get("/x").bytes());
    let response = connection.response(1).expect(200);
    assert!(!response.closed, "closed before FCGI_END_REQUEST");
    // nginx waits for this close; our side has closed nothing.
    assert_eq!(connection.read_to_eof(), b"");
    assert!(!connection.reset);
}

#[test]
fn section_3_5_with_keep_conn_the_responder_stays() {
    let gateway = Gateway::start("fcgi_unread", &[]);
    let mut connection = Connection::open(gateway.socket());
    for number in 0..50 {
        let path = format!("/{number}");
        let response = connection.request(&Request::get(&path).keep());
        assert_eq!(response.expect(200).text(), path);
        assert!(connection.is_quiet());
    }
    let last = connection.request(&Request::get("/last"));
    assert_eq!(last.expect(200).text(), "/last");
}

#[test]
fn section_3_5_requests_in_one_write_are_answered_in_order() {
    let gateway = Gateway::start("fcgi_echo", &[]);
    let mut connection = Connection::open(gateway.socket());
    let mut wire = Vec::new();
    for number in 1..=20u16 {
        let body = format!("body {number}");
        let request = Request::post("/", body.as_bytes()).id(number);
        wire.extend(if number < 20 { request.keep() } else { request }.bytes());
    }
    connection.write(&wire);
    for number in 1..=20 {
        let response = connection.response(number).expect(200);
        assert_eq!(response.text(), format!("body {number}"));
    }
    assert_eq!(connection.read_to_eof(), b"");
    assert!(!connection.reset);
}

#[test]
fn section_3_5_a_body_that_nobody_read_is_drained_on_a_kept_connection() {
    let gateway = Gateway::start("fcgi_unread", &[]);
    let mut connection = Connection::open(gateway.socket());
    let body = vec![b'x'; 1_000_000];
    for path in ["/one", "/two", "/three"] {
        let response = connection.request(&Request::post(path, &body).keep());
        assert_eq!(response.expect(200).text(), path);
    }
    let last = connection.request(&Request::get("/last"));
    assert_eq!(last.expect(200).text(), "/last");
}

#[test]
fn section_3_5_the_rest_of_a_body_may_come_after_the_end_of_its_request() {
    let gateway = Gateway::start("fcgi_unread", &[]);
    let mut connection = Connection::open(gateway.socket());
    let body = vec![b'x'; 200_000];
    let (early, late) = body.split_at(100_000);
    let request = Request::post("/early", &body).keep();
    connection.write(&request.head());
    let mut first = stream(STDIN, 1, early, 32_768);
    first.truncate(first.len() - 8);
    connection.write(&first);
    assert_eq!(connection.response(1).expect(200).text(), "/early");
    assert!(connection.is_quiet());
    connection.write(&stream(STDIN, 1, late, 32_768));
    let next = connection.request(&Request::post("/next", b"abc"));
    assert_eq!(next.expect(200).text(), "/next");
}

#[test]
fn section_3_5_a_body_that_nobody_read_gives_no_reset_on_a_closing_connection() {
    let gateway = Gateway::start("fcgi_unread", &[]);
    for _ in 0..20 {
        let body = vec![b'x'; 2_000_000];
        let response = fetch(gateway.socket(), &Request::post("/", &body)).expect(200);
        assert!(response.closed && !response.reset);
    }
}

#[test]
fn section_3_5_the_web_server_may_shut_its_side_down_after_the_request() {
    let gateway = Gateway::start("fcgi_echo", &[]);
    let mut connection = Connection::open(gateway.socket());
    connection.write(&Request::post("/", b"whole").keep().bytes());
    connection.shutdown_write();
    assert_eq!(connection.response(1).expect(200).text(), "whole");
    assert_eq!(connection.read_to_eof(), b"");
}

// ---- 4.1 FCGI_GET_VALUES

fn get_values(connection: &mut Connection, names: &[&str]) -> Vec<Pair> {
    let asked: Vec<Pair> = names.iter().map(|name| pair(name, "")).collect();
    connection.record(GET_VALUES, 0, &pairs(&asked), 3);
    values(connection)
}

fn values(connection: &mut Connection) -> Vec<Pair> {
    let result = connection.read_record().expect("FCGI_GET_VALUES_RESULT");
    assert_eq!((result.kind, result.id), (GET_VALUES_RESULT, 0));
    let mut found = parse_pairs(&result.content);
    found.sort();
    found
}

#[test]
fn section_4_1_get_values_is_answered_for_what_was_asked() {
    let gateway = Gateway::start("fcgi_unread", &["--max-connections", "77"]);
    let mut connection = Connection::open(gateway.socket());
    assert_eq!(
        get_values(&mut connection, &["FCGI_MAX_CONNS"]),
        [pair("FCGI_MAX_CONNS", "77")]
    );
    assert_eq!(
        get_values(&mut connection, &["FCGI_MPXS_CONNS"]),
        [pair("FCGI_MPXS_CONNS", "0")]
    );
    let all = ["FCGI_MAX_CONNS", "FCGI_MAX_REQS", "FCGI_MPXS_CONNS"];
    let found = get_values(&mut connection, &all);
    assert_eq!(found.len(), 3);
    assert_eq!(found[0], pair("FCGI_MAX_CONNS", "77"));
    assert_eq!(found[1].0, b"FCGI_MAX_REQS");
    let requests: u32 = String::from_utf8_lossy(&found[1].1).parse().unwrap();
    // One request a connection, so it cannot be more than the connections.
    assert!((1..=77).contains(&requests), "{requests}");
    assert_eq!(found[2], pair("FCGI_MPXS_CONNS", "0"));
    assert_eq!(
        get_values(&mut connection, &["FCGI_NO_SUCH", "FCGI_MPXS_CONNS", ""]),
        [pair("FCGI_MPXS_CONNS", "0")]
    );
    assert_eq!(get_values(&mut connection, &["NOTHING_KNOWN"]), []);
    assert_eq!(get_values(&mut connection, &[]), []);
    // The connection is as good as new.
    let response = connection.request(&Request::get("/served"));
    assert_eq!(response.expect(200).text(), "/served");
}

#[test]
fn section_4_1_get_values_and_a_request_in_one_write() {
    // HAProxy's `option get-values` does this.
    let gateway = Gateway::start("fcgi_unread", &[]);
    let mut connection = Connection::open(gateway.socket());
    let asked = pairs(&[pair("FCGI_MAX_REQS", ""), pair("FCGI_MPXS_CONNS", "")]);
    let mut wire = record(GET_VALUES, 0, &asked, 0);
    wire.extend(Request::get("/after").bytes());
    connection.write(&wire);
    assert_eq!(values(&mut connection).len(), 2);
    assert_eq!(connection.response(1).expect(200).text(), "/after");
}

#[test]
fn section_4_1_get_values_is_answered_while_a_request_is_arriving() {
    let gateway = Gateway::start("fcgi_echo", &[]);
    let mut connection = Connection::open(gateway.socket());
    let request = Request::post("/", b"two parts");
    let params = pairs(&request.params);
    connection.write(&begin(1, RESPONDER, 0));
    connection.record(PARAMS, 1, &params[..50], 0);
    assert_eq!(get_values(&mut connection, &["FCGI_MPXS_CONNS"]).len(), 1);
    connection.write(&stream(PARAMS, 1, &params[50..], 65_535));
    assert_eq!(get_values(&mut connection, &["FCGI_MAX_CONNS"]).len(), 1);
    connection.record(STDIN, 1, b"two ", 0);
    assert_eq!(get_values(&mut connection, &["FCGI_MAX_REQS"]).len(), 1);
    connection.record(STDIN, 1, b"parts", 0);
    connection.record(STDIN, 1, b"", 0);
    assert_eq!(connection.response(1).expect(200).text(), "two parts");
}

// ---- 4.2 FCGI_UNKNOWN_TYPE

#[test]
fn section_4_2_an_unknown_management_type_is_answered() {
    let gateway = Gateway::start("fcgi_unread", &[]);
    let mut connection = Connection::open(gateway.socket());
    for kind in [12, 13, 99, 200, 255] {
        connection.record(kind, 0, b"some content", 4);
        let answer = connection.read_record().unwrap();
        assert_eq!((answer.kind, answer.id), (UNKNOWN_TYPE, 0));
        assert_eq!(answer.content, [kind, 0, 0, 0, 0, 0, 0, 0]);
    }
    // In the middle of a request as well.
    let request = Request::get("/still");
    connection.write(&request.head());
    connection.record(42, 0, b"", 0);
    assert_eq!(connection.read_record().unwrap().content[0], 42);
    connection.record(STDIN, 1, b"", 0);
    assert_eq!(connection.response(1).expect(200).text(), "/still");
}

// ---- 5.1 FCGI_BEGIN_REQUEST

#[test]
fn section_5_1_only_the_first_flag_is_keep_conn() {
    let gateway = Gateway::start("fcgi_unread", &[]);
    for (flags, kept) in [(0, false), (1, true), (0xFE, false), (0xFF, true)] {
        let mut connection = Connection::open(gateway.socket());
        let request = Request::get("/flags");
        let mut wire = record(BEGIN_REQUEST, 1, &[0, 1, flags, 9, 9, 9, 9, 9], 0);
        wire.extend(stream(PARAMS, 1, &pairs(&request.params), 65_535));
        wire.extend(record(STDIN, 1, b"", 0));
        connection.write(&wire);
        assert_eq!(connection.response(1).expect(200).text(), "/flags");
        if kept {
            let again = connection.request(&Request::get("/again"));
            assert_eq!(again.expect(200).text(), "/again", "flags {flags:#x}");
        } else {
            assert_eq!(connection.read_to_eof(), b"", "flags {flags:#x}");
        }
    }
}

#[test]
fn section_5_1_unknown_roles_are_refused() {
    let gateway = Gateway::start("fcgi_unread", &[]);
    for role in [0, FILTER, 4, 255, 256, 257, 65_535] {
        let mut connection = Connection::open(gateway.socket());
        connection.write(&Request::get("/").role(role).id(5).keep().bytes());
        let answer = connection.read_record().unwrap();
        assert_eq!((answer.kind, answer.id), (END_REQUEST, 5), "role {role}");
        let end = answer.end_request();
        assert_eq!(end.protocol_status, UNKNOWN_ROLE, "role {role}");
        // What was on the way for the refused request is no harm to the next.
        let next = connection.request(&Request::get("/next").id(5));
        assert_eq!(next.expect(200).text(), "/next");
    }
}

#[test]
fn section_5_1_an_unknown_role_without_keep_conn_closes() {
    let gateway = Gateway::start("fcgi_unread", &[]);
    let mut connection = Connection::open(gateway.socket());
    connection.write(&Request::get("/").role(FILTER).bytes());
    let end = connection.read_record().unwrap().end_request();
    assert_eq!(end.protocol_status, UNKNOWN_ROLE);
    assert_eq!(connection.read_to_eof(), b"");
}

#[test]
fn section_5_1_a_second_request_at_the_same_time_is_refused_and_the_first_is_served() {
    let gateway = Gateway::start("fcgi_echo", &[]);
    let mut connection = Connection::open(gateway.socket());
    let first = Request::post("/", b"of the first").keep().id(3);
    let second = Request::post("/", b"of the second").keep().id(4);
    let params = pairs(&first.params);
    let wire = second.bytes();
    connection.write(&begin(3, RESPONDER, 1));
    connection.record(PARAMS, 3, &params[..100], 0);
    // In the middle of the params, with all the rest of the second request behind it.
    connection.write(&wire);
    let refusal = connection.read_record().unwrap();
    assert_eq!((refusal.kind, refusal.id), (END_REQUEST, 4));
    assert_eq!(refusal.end_request().protocol_status, CANT_MPX_CONN);
    connection.write(&stream(PARAMS, 3, &params[100..], 65_535));
    connection.record(STDIN, 3, b"of the ", 0);
    // And in the middle of the body.
    connection.write(&begin(9, RESPONDER, 0));
    let refusal = connection.read_record().unwrap();
    assert_eq!((refusal.kind, refusal.id), (END_REQUEST, 9));
    assert_eq!(refusal.end_request().protocol_status, CANT_MPX_CONN);
    connection.record(STDIN, 3, b"first", 0);
    connection.record(STDIN, 3, b"", 0);
    assert_eq!(connection.response(3).expect(200).text(), "of the first");
    // The id that was refused is free.
    assert_eq!(
        connection.request(&second).expect(200).text(),
        "of the second"
    );
}

// ---- 5.2 FCGI_PARAMS

#[test]
fn section_5_2_pairs_in_any_order_and_none_at_all() {
    let gateway = Gateway::start("fcgi_environ", &[]);
    let forward = Request::get("/order");
    let mut backward = forward.clone();
    backward.params.reverse();
    let forward = fetch(gateway.socket(), &forward).expect(200);
    let backward = fetch(gateway.socket(), &backward).expect(200);
    assert_eq!(forward.body, backward.body);
    // No variables at all: a request that no web server sends, but not a reason to be silent.
    let mut bare = Request::get("/");
    bare.params.clear();
    let response = fetch(gateway.socket(), &bare);
    assert!(response.status >= 200, "{response:?}");
    assert!(response.end.is_some());
}

#[test]
fn section_5_2_a_thousand_variables() {
    let gateway = Gateway::start("fcgi_environ", &[]);
    let mut request = Request::get("/");
    for number in 0..1_000 {
        request = request.add_param(format!("N{number}"), format!("value {number}"));
    }
    let response = fetch(gateway.socket(), &request).expect(200);
    for number in 0..1_000 {
        let value = format!("value {number}");
        assert_eq!(
            variable(&response, &format!("N{number}")),
            Some(value.as_bytes())
        );
    }
}

// ---- 5.3 Byte streams

#[test]
fn section_5_3_stdin_in_records_of_any_size() {
    let gateway = Gateway::start("fcgi_echo", &[]);
    let body: Vec<u8> = (0..5_000u16).flat_map(u16::to_be_bytes).collect();
    for size in [1, 2, 7, 8, 100, 4_096, 65_535] {
        let mut connection = Connection::open(gateway.socket());
        let request = Request::post("/", &body);
        connection.write(&request.head());
        connection.write(&stream(STDIN, 1, &body, size));
        assert!(
            connection.response(1).expect(200).body == body,
            "size {size}"
        );
    }
}

#[test]
fn section_5_3_the_empty_record_ends_a_body_of_unknown_length() {
    // Apache's mod_proxy_fcgi streams a chunked upload like this.
    let gateway = Gateway::start("fcgi_echo", &[]);
    for length in [0, 1, 1_000, 65_536, 300_000] {
        let body = vec![b'u'; length];
        let request = Request::post("/", &body).without("CONTENT_LENGTH");
        let response = fetch(gateway.socket(), &request).expect(200);
        assert!(response.body == body, "length {length}");
    }
}

#[test]
fn section_5_3_an_empty_stdout_record_ends_the_stream() {
    let gateway = Gateway::start("fcgi_environ", &[]);
    // The client panics on a record after the empty one.
    let response = fetch(gateway.socket(), &Request::get("/")).expect(200);
    assert!(response.stdout_ended);
    for (app, request) in [
        ("fcgi_errors", Request::get("/?20000")),
        ("fcgi_silent", Request::get("/empty-list")),
        ("fcgi_silent", Request::get("/raises")),
        ("fcgi_large", Request::get("/?1000000")),
    ] {
        let gateway = Gateway::start(app, &[]);
        let response = fetch(gateway.socket(), &request);
        assert!(response.stdout_ended && response.end.is_some(), "{app}");
    }
}

#[test]
fn section_5_3_errors_travel_in_records_of_at_most_8_kib() {
    // HAProxy 2.6 dies of larger ones.
    let gateway = Gateway::start("fcgi_errors", &[]);
    for size in [1, 8_191, 8_192, 8_193, 100_000] {
        let request = Request::get(&format!("/?{size}"));
        let response = fetch(gateway.socket(), &request).expect(200);
        assert_eq!(response.stderr, vec![b'e'; size]);
        assert!(
            response
                .stderr_records
                .iter()
                .all(|length| *length <= 8_192)
        );
        assert_eq!(response.text(), "done");
        // Section 5.3: a stream that carried something is ended by its empty record.
        assert!(response.stderr_ended, "{size}");
    }
}

#[test]
fn section_5_3_errors_of_one_request_are_not_the_next_ones() {
    let gateway = Gateway::start("fcgi_errors", &[]);
    let mut connection = Connection::open(gateway.socket());
    let first = connection.request(&Request::get("/?5").keep()).expect(200);
    assert_eq!(first.stderr, b"eeeee");
    let second = connection.request(&Request::get("/?0")).expect(200);
    assert_eq!(second.stderr, b"");
}

#[test]
fn section_5_3_a_large_body_comes_back_whole() {
    let gateway = Gateway::start("fcgi_large", &[]);
    for size in [65_527, 65_528, 65_529, 65_535, 65_536, 10_000_000] {
        let response = fetch(gateway.socket(), &Request::get(&format!("/?{size}"))).expect(200);
        let expected: Vec<u8> = (0..=255).cycle().take(size).collect();
        assert!(response.body == expected, "{size}");
    }
}

#[test]
fn section_5_3_a_block_leaves_when_it_is_yielded() {
    let gateway = Gateway::start("fcgi_steps", &[]);
    let fifo = Fifo::new(gateway.folder(), "fifo");
    let mut connection = Connection::open(gateway.socket());
    let request = Request::get(&format!("/?{}", fifo.path()));
    connection.write(&request.bytes());
    let first = connection.read_record().unwrap();
    assert_eq!(first.kind, STDOUT);
    // The head and the block in one record.
    assert!(first.content.ends_with(b"\r\n\r\nfirst "), "{first:?}");
    fifo.release(b"second");
    let second = connection.read_record().unwrap();
    assert_eq!((second.kind, &*second.content), (STDOUT, &b"second"[..]));
}

#[test]
fn section_5_3_data_records_are_no_business_of_a_responder() {
    let gateway = Gateway::start("fcgi_echo", &[]);
    let mut connection = Connection::open(gateway.socket());
    let request = Request::post("/", b"body");
    connection.write(&request.head());
    connection.record(DATA, 1, b"file data", 0);
    connection.record(STDIN, 1, b"body", 0);
    connection.record(DATA, 1, b"", 0);
    connection.record(STDIN, 1, b"", 0);
    assert_eq!(connection.response(1).expect(200).text(), "body");
}

// ---- 5.4 FCGI_ABORT_REQUEST

#[test]
fn section_5_4_an_aborted_request_ends_and_the_connection_lives() {
    let gateway = Gateway::start("fcgi_echo", &[]);
    let mut connection = Connection::open(gateway.socket());
    let body = vec![b'a'; 200_000];
    let request = Request::post("/", &body).keep();
    let params = pairs(&request.params);
    let mut in_params = begin(1, RESPONDER, 1);
    in_params.extend(record(PARAMS, 1, &params[..77], 0));
    let mut in_body = request.head();
    in_body.extend(record(STDIN, 1, &body[..100], 0));
    // More than the buffer: the application is already reading.
    let mut in_application = request.head();
    in_application.extend(record(STDIN, 1, &body[..65_535], 0));
    in_application.extend(record(STDIN, 1, &body[..40_000], 0));
    for begun in [begin(1, RESPONDER, 1), in_params, in_body, in_application] {
        connection.write(&begun);
        connection.record(ABORT_REQUEST, 1, b"", 0);
        let response = connection.response(1);
        assert!(response.end.is_some(), "{response:?}");
        assert!(response.body != body, "served as if it were whole");
        let next = connection.request(&Request::post("/", b"next").keep());
        assert_eq!(next.expect(200).text(), "next");
    }
}

#[test]
fn section_5_4_an_abort_without_keep_conn_ends_and_closes() {
    let gateway = Gateway::start("fcgi_echo", &[]);
    let mut connection = Connection::open(gateway.socket());
    connection.write(&Request::post("/", b"never sent").head());
    connection.record(ABORT_REQUEST, 1, b"", 0);
    assert!(connection.response(1).end.is_some());
    assert_eq!(connection.read_to_eof(), b"");
}

#[test]
fn section_5_4_a_web_server_that_just_goes_away_is_an_abort_too() {
    let mut gateway = Gateway::start("fcgi_echo", &[]);
    let wire = Request::post("/", &[b'x'; 150_000]).bytes();
    // In the header, in the params, in the body before and after the application has been called.
    for sent in [1, 8, 20, 300, 5_000, 100_000, wire.len() - 1] {
        let mut connection = Connection::open(gateway.socket());
        connection.write(&wire[..sent]);
        drop(connection);
        let after = fetch(gateway.socket(), &Request::post("/", b"next"));
        assert_eq!(after.expect(200).text(), "next");
    }
    // And in the middle of a large answer, with a reset.
    let large = Gateway::start("fcgi_large", &[]);
    for _ in 0..5 {
        let mut connection = Connection::open(large.socket());
        connection.write(&Request::get("/?10000000").bytes());
        assert_eq!(connection.read_record().unwrap().kind, STDOUT);
        drop(connection);
        fetch(large.socket(), &Request::get("/?1000")).expect(200);
    }
    assert!(gateway.is_unharmed());
}

// ---- 5.5 FCGI_END_REQUEST

#[test]
fn section_5_5_a_request_that_went_well_ends_with_zero_and_complete() {
    let gateway = Gateway::start("fcgi_unread", &[]);
    let mut connection = Connection::open(gateway.socket());
    let response = connection.request(&Request::get("/").keep().id(513));
    // The client looks at the length of the body of the record and at its reserved bytes.
    assert_eq!(response.end, Some(FINE));
}

#[test]
fn section_5_5_a_response_that_broke_off_is_not_ended() {
    // Every web server passes a clean end on as a complete page, and nginx a mere close.
    let gateway = Gateway::start("fcgi_cut", &[]);
    for request in [Request::get("/"), Request::get("/").keep()] {
        let response = fetch(gateway.socket(), &request);
        assert_eq!(response.status, 200);
        assert_eq!(response.text(), "the first half, ");
        assert_eq!(response.end, None);
        assert!(response.closed && response.broken);
    }
}

/// nginx compares the length that was announced with what it got when it sees END_REQUEST, and not when it sees a close. Others make a
/// client wait that sees an END_REQUEST.
#[test]
fn section_5_5_a_response_whose_length_is_known_ends_early_for_nginx_alone() {
    let gateway = Gateway::start("failing:application", &[]);
    let failed = EndRequest {
        app_status: 1,
        protocol_status: REQUEST_COMPLETE,
    };
    let request = Request::get("/in_the_middle_with_length");
    for (request, is_nginx) in [
        (request.clone(), true),
        (request.clone().keep(), true),
        (
            request.clone().param("SERVER_SOFTWARE", "lighttpd/1.4.69"),
            false,
        ),
        (request.without("SERVER_SOFTWARE").keep(), false),
    ] {
        let mut connection = Connection::open(gateway.socket());
        let response = connection.request(&request);
        assert_eq!(response.status, 200);
        assert_eq!(response.end, is_nginx.then_some(failed));
        assert!(!response.stdout_ended);
        assert_eq!(response.broken, !is_nginx, "{response:#?}");
        assert!(connection.read_to_eof().is_empty());
    }
    // Of which nothing is missing.
    let head = Request::get("/after_write").param("REQUEST_METHOD", "HEAD");
    for request in [head, Request::get("/after_the_last_block")] {
        let mut connection = Connection::open(gateway.socket());
        for _ in 0..2 {
            let request = request.clone().without("SERVER_SOFTWARE").keep();
            let response = connection.request(&request).expect(200);
            assert_eq!(response.end, Some(failed), "{response:#?}");
        }
    }
}

// ---- 6.2 Responder

#[test]
fn section_6_2_the_whole_head_is_in_one_record_with_status_last() {
    // HAProxy 2.6 dies of a head in parts, and makes a 302 of a Status before Location.
    let gateway = Gateway::start("fcgi_head", &[]);
    for count in [0, 1, 10, 200] {
        let mut connection = Connection::open(gateway.socket());
        connection.write(&Request::get(&format!("/?{count}")).bytes());
        let first = connection.read_record().unwrap();
        let text = String::from_utf8_lossy(&first.content);
        let (head, _) = text.split_once("\r\n\r\n").expect("the whole head");
        let lines: Vec<_> = head.split("\r\n").collect();
        assert_eq!(lines.len(), count + 2);
        assert_eq!(*lines.last().unwrap(), "Status: 201 Made");
    }
}

#[test]
fn section_6_2_a_small_response_is_one_record() {
    let gateway = Gateway::start("fcgi_unread", &[]);
    let response = fetch(gateway.socket(), &Request::get("/small")).expect(200);
    assert_eq!(response.stdout_records, [response.raw_stdout.len()]);
    assert_eq!(response.text(), "/small");
}

#[test]
fn section_6_2_a_small_response_is_one_write() {
    let gateway = Gateway::builder("fcgi_unread")
        .bind_tcp()
        .args(["--allow", "127.0.0.1"])
        .start();
    let mut connection = Connection::tcp(gateway.address());
    for answered in 0..3 {
        // On the loopback a write without delay is a segment of its own, and the kernel counts them.
        assert_eq!(data_segments_received(&connection), answered);
        connection.request(&Request::get("/one").keep()).expect(200);
    }
    assert_eq!(data_segments_received(&connection), 3);
}

/// `tcpi_data_segs_in` of `TCP_INFO`.
fn data_segments_received(connection: &Connection) -> u32 {
    const TCPI_DATA_SEGS_IN: usize = 152;
    use std::os::fd::AsFd;
    let mut info = [0u8; 256];
    let mut length = nix::libc::socklen_t::try_from(info.len()).unwrap();
    // SAFETY: the descriptor is open while `connection` is borrowed, and the kernel writes at most
    // `length` bytes, which is the size of `info`.
    let result = unsafe {
        nix::libc::getsockopt(
            connection.as_fd().as_raw_fd(),
            nix::libc::IPPROTO_TCP,
            nix::libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    assert_eq!(result, 0);
    let field = TCPI_DATA_SEGS_IN..TCPI_DATA_SEGS_IN + 4;
    assert!(usize::try_from(length).unwrap() >= field.end);
    u32::from_ne_bytes(info[field].try_into().unwrap())
}

#[test]
fn section_6_2_the_answer_does_not_wait_for_the_body() {
    let gateway = Gateway::start("fcgi_unread", &[]);
    let mut connection = Connection::open(gateway.socket());
    // More than is buffered before the application runs; the rest never comes.
    let request = Request::post("/first", &[b'x'; 1_000_000]);
    connection.write(&request.head());
    connection.record(STDIN, 1, &[b'x'; 65_535], 0);
    connection.record(STDIN, 1, &[b'x'; 65_535], 0);
    assert_eq!(connection.response(1).expect(200).text(), "/first");
}

#[test]
fn section_6_2_no_request_ends_without_output() {
    // Apache's mod_proxy_fcgi makes an empty 200 of that, HAProxy waits for ever.
    let gateway = Gateway::start("fcgi_silent", &[]);
    for (path, status) in [
        ("/empty-list", 200),
        ("/empty-blocks", 200),
        ("/raises", 500),
        ("/exits", 500),
        ("/never-starts", 500),
        ("/not-iterable", 500),
        ("/raises-in-first-block", 500),
        ("/speaks", 200),
    ] {
        let response = fetch(gateway.socket(), &Request::get(path)).expect(status);
        assert!(!response.raw_stdout.is_empty());
        assert!(response.header("Content-Type").is_some(), "{path}");
        assert!(!response.text().contains("Traceback"), "{path}");
        if status == 500 {
            assert!(!response.body.is_empty(), "{path}");
        }
    }
}

#[test]
fn section_6_2_a_request_that_failed_leaves_a_kept_connection_usable() {
    let gateway = Gateway::start("fcgi_silent", &[]);
    let mut connection = Connection::open(gateway.socket());
    for _ in 0..3 {
        connection
            .request(&Request::post("/raises", &[b'x'; 100_000]).keep())
            .expect(500);
        let next = connection.request(&Request::get("/speaks").keep());
        assert_eq!(next.expect(200).text(), "something");
    }
}

// ---- 6.3 Authorizer, 6.4 Filter

#[test]
fn section_6_3_an_authorizer_is_told_so_and_has_no_body() {
    let gateway = Gateway::start("fcgi_environ", &[]);
    let mut connection = Connection::open(gateway.socket());
    // Section 6.3: these four are not sent, and neither is FCGI_STDIN.
    let request = Request::get("/")
        .role(AUTHORIZER)
        .without("CONTENT_LENGTH")
        .without("PATH_INFO")
        .without("SCRIPT_NAME")
        .keep();
    connection.write(&request.head());
    let response = connection.response(1).expect(200);
    assert_eq!(variable(&response, "FCGI_ROLE"), Some(&b"AUTHORIZER"[..]));
    assert_eq!(variable(&response, "REQUEST_METHOD"), Some(&b"GET"[..]));
    // A server that sends an empty FCGI_STDIN all the same does no harm with it.
    connection.record(STDIN, 1, b"", 0);
    let next = connection.request(&request);
    assert_eq!(
        variable(&next.expect(200), "FCGI_ROLE"),
        Some(&b"AUTHORIZER"[..])
    );
    let responder = connection.request(&Request::get("/")).expect(200);
    assert_ne!(variable(&responder, "FCGI_ROLE"), Some(&b"AUTHORIZER"[..]));
}

#[test]
fn section_6_3_an_authorizer_that_reads_finds_nothing() {
    let gateway = Gateway::start("fcgi_echo", &[]);
    let mut connection = Connection::open(gateway.socket());
    let request = Request::get("/").role(AUTHORIZER).without("CONTENT_LENGTH");
    connection.write(&request.head());
    assert_eq!(connection.response(1).expect(200).body, b"");
}

// ---- What no clause allows, but a peer may do: the process and the other connections live on.

#[test]
fn hostile_records_harm_nobody_else() {
    let mut gateway = Gateway::start("fcgi_echo", &[]);
    let request = Request::post("/", b"body");
    let params = pairs(&request.params);
    let head = request.head();
    let wires: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("a short begin", record(BEGIN_REQUEST, 1, &[0, 1, 0], 0)),
        ("an empty begin", record(BEGIN_REQUEST, 1, b"", 0)),
        ("a long begin", record(BEGIN_REQUEST, 1, &[0; 300], 0)),
        ("begin with id 0", begin(0, RESPONDER, 0)),
        (
            "begin twice",
            [begin(1, RESPONDER, 1), begin(1, RESPONDER, 1)].concat(),
        ),
        (
            "end from the web server",
            record(END_REQUEST, 1, &[0; 8], 0),
        ),
        ("output from the web server", record(STDOUT, 1, b"x", 0)),
        ("type 0", record(0, 1, b"x", 0)),
        ("type 255 of a request", record(255, 1, b"x", 0)),
        ("params of id 0", record(PARAMS, 0, &params, 0)),
        (
            "body before the params",
            [begin(1, RESPONDER, 0), record(STDIN, 1, b"body", 0)].concat(),
        ),
        (
            "params after their end",
            [head.clone(), record(PARAMS, 1, &params, 0)].concat(),
        ),
        (
            "begin of the same id in the body",
            [head.clone(), begin(1, RESPONDER, 0)].concat(),
        ),
        (
            "more body than announced",
            [head.clone(), stream(STDIN, 1, &[b'x'; 100_000], 65_535)].concat(),
        ),
        (
            "less body than announced",
            [head.clone(), stream(STDIN, 1, b"b", 1)].concat(),
        ),
        ("half a pair asked for", record(GET_VALUES, 0, &[200], 0)),
        (
            "a huge name asked for",
            record(GET_VALUES, 0, &[255, 255, 255, 255, 0, b'x'], 0),
        ),
        (
            "a result from the web server",
            record(GET_VALUES_RESULT, 0, b"", 0),
        ),
        (
            "unknown type from the web server",
            record(UNKNOWN_TYPE, 0, &[9; 8], 0),
        ),
    ];
    for (what, wire) in &wires {
        let mut connection = Connection::open(gateway.socket());
        connection.write(wire);
        connection.shutdown_write();
        // Whatever it answers, it comes to an end.
        connection.read_to_eof();
        let other = fetch(gateway.socket(), &request);
        assert_eq!(other.expect(200).text(), "body", "after {what}");
        assert!(gateway.is_unharmed(), "{what}");
    }
}

#[test]
fn more_body_than_announced_is_ignored() {
    let gateway = Gateway::start("fcgi_echo", &[]);
    let mut connection = Connection::open(gateway.socket());
    let mut request = Request::post("/", b"four").keep();
    request.stdin = b"four and more".to_vec();
    assert_eq!(connection.request(&request).expect(200).text(), "four");
    let next = connection.request(&Request::post("/", b"next"));
    assert_eq!(next.expect(200).text(), "next");
}

#[test]
fn a_slow_reader_gets_everything_and_others_are_served_meanwhile() {
    let gateway = Gateway::start("fcgi_large", &["--threads", "2"]);
    let mut slow = Connection::open(gateway.socket());
    slow.write(&Request::get("/?10000000").bytes());
    // Its answer has begun and cannot be finished: it is much larger than the socket's buffer.
    let first = slow.read_record().unwrap();
    for _ in 0..20 {
        let response = fetch(gateway.socket(), &Request::get("/?1000"));
        assert_eq!(response.expect(200).body.len(), 1_000);
    }
    let rest = slow.response(1);
    assert_eq!(rest.end, Some(FINE));
    let head = first
        .content
        .windows(4)
        .position(|four| four == b"\r\n\r\n");
    let body = first.content.len() - head.unwrap() - 4 + rest.raw_stdout.len();
    assert_eq!(body, 10_000_000);
}
