//! A response that is longer or shorter than its Content-Length, in every way to send one; and a response while a thread of the
//! application waits for the body.

use crate::support::client::{Connection, Request, STDIN, record};
use crate::support::doors::Doors;
use crate::support::gateway::Gateway;

#[test]
fn what_write_sends_beyond_content_length_is_cut_and_told_once() {
    for (name, body) in [
        ("write_longer", "abcd"),
        ("write_longer_at_once", "abcd"),
        ("write_behind_the_end", "abc"),
        ("write_of_none", ""),
        ("write_and_list_longer", "abcd"),
        ("write_and_list_behind", "abc"),
        ("write_in_generator", "abcd"),
    ] {
        let doors = Doors::open("lengths_odd:application");
        let path = format!("/{name}");
        let request = Request::get(&path);
        doors.fastcgi(&request).is(200, body);
        let answer = doors.cgi(&request);
        answer.is(200, body);
        let told = |log: &str| {
            let lines = log
                .lines()
                .filter(|line| line.contains("longer than its Content-Length"));
            lines.filter(|line| line.contains(&path)).count()
        };
        assert_eq!(told(&answer.errors()), 1, "{name}: {}", answer.errors());
        let log = doors.close();
        assert_eq!(told(&log), 1, "{name}: {log}");
    }
    let doors = Doors::open("lengths_odd:application");
    for answer in doors.get("/write_exact") {
        answer.is(200, "abcdef");
    }
    assert!(!doors.close().contains("Content-Length"));
}

#[test]
fn a_complete_body_that_is_too_short_is_an_error_page() {
    let doors = Doors::open("lengths_odd:application");
    for name in [
        "list_short",
        "list_empty",
        "list_of_empty",
        "tuple_short",
        "tuple_empty",
        "list_one_less",
        "list_large_short",
        "list_one_large_short",
        "tuple_large_short",
        "iterable_empty",
        "iterable_of_empty",
        "generator_empty",
        "file_empty",
    ] {
        for answer in doors.get(&format!("/{name}")) {
            answer.is_error_page().logged("Content-Length");
            let length = answer.header("Content-Length").map(str::to_owned);
            assert_eq!(length, Some(answer.body.len().to_string()), "{answer:#?}");
        }
    }
    // The connection is as good as before.
    let mut connection = Connection::open(doors.gateway().socket());
    for _ in 0..2 {
        let page = connection.request(&Request::get("/list_short").keep());
        let page = page.expect(500);
        let length = page.header("Content-Length").map(str::to_owned);
        assert_eq!(length, Some(page.body.len().to_string()));
        let next = connection.request(&Request::get("/exact").keep());
        assert_eq!(next.expect(200).text(), "abc");
    }
}

#[test]
fn one_of_which_a_part_has_left_is_cut() {
    let doors = Doors::open("lengths_odd:application");
    for (name, body) in [
        ("write_shorter", "abcdef"),
        ("write_and_list_shorter", "abcdef"),
        ("iterable_short", "abc"),
    ] {
        for answer in doors.get(&format!("/{name}")) {
            answer.is_cut_after(200, body).logged("Content-Length");
        }
    }
    // Where there is no body none is missing.
    for name in ["list_short", "list_large_short", "generator_empty"] {
        let request = Request::get(&format!("/{name}")).param("REQUEST_METHOD", "HEAD");
        for answer in doors.ask(&request) {
            answer.is(200, "");
        }
    }
    for answer in doors.get("/no_content") {
        answer.is(304, "");
    }
}

/// Neither does it hold up the response of another request, or its own next one.
#[test]
fn a_thread_that_waits_for_the_body_does_not_hold_up_the_response() {
    let gateway = Gateway::start("lengths_odd", &["--buffer", "10", "--io-timeout", "600s"]);
    for name in [
        "waits_with_list",
        "waits_with_generator",
        "waits_with_write",
        "waits_with_errors",
        "waits_with_file",
    ] {
        for length in [Some("1000"), None] {
            let request = Request::post(&format!("/{name}"), b"").keep();
            let request = match length {
                Some(length) => request.param("CONTENT_LENGTH", length),
                None => request.without("CONTENT_LENGTH"),
            };
            let mut connection = Connection::open(gateway.socket());
            connection.write(&request.head());
            connection.record(STDIN, 1, &[b'x'; 100], 0);
            let response = connection.response(1).expect(200);
            assert!(!response.body.is_empty(), "{name}");
            // What is left of the body is no one's, and the next request is not the thread's.
            let mut wire = record(STDIN, 1, &[b'x'; 900], 0);
            wire.extend(record(STDIN, 1, b"", 0));
            wire.extend(
                Request::post("/exact", b"a body of the next")
                    .keep()
                    .id(2)
                    .bytes(),
            );
            connection.write(&wire);
            assert_eq!(connection.response(2).expect(200).text(), "abc", "{name}");
        }
    }
}
