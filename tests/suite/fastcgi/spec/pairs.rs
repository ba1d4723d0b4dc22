//! Name-value pairs (section 3.4).

use super::*;

/// A page that says so, or a close: but never the application.
#[track_caller]
fn is_not_served(gateway: &Gateway, params: &[u8]) {
    let mut connection = Connection::open(gateway.socket());
    connection.write(&begin(1, RESPONDER, 0));
    connection.write(&stream(PARAMS, 1, params, 65_535));
    connection.write(&stream(STDIN, 1, b"", 1));
    connection.shutdown_write();
    let response = connection.response(1);
    assert!(
        response.status == 0 || response.status >= 400,
        "{} bytes: {response:?}",
        params.len()
    );
}

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
        is_not_served(&gateway, &params);
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
        is_not_served(&gateway, &params);
    }
    fetch(gateway.socket(), &Request::get("/")).expect(200);
}
