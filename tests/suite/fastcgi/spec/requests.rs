//! FCGI_BEGIN_REQUEST, FCGI_PARAMS, FCGI_ABORT_REQUEST, FCGI_END_REQUEST (sections 5.1, 5.2, 5.4, 5.5).

use super::*;

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
