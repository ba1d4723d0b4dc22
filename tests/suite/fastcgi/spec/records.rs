//! Records (section 3.3).

use super::*;

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
