//! Closing transport connections (section 3.5).

use super::*;

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
