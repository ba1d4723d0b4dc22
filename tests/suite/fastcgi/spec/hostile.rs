//! What no clause allows, but a peer may do: the process and the other connections live on.

use super::*;

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
