//! Byte streams (section 5.3).

use super::*;

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
