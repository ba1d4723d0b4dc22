//! Responder, Authorizer and Filter (section 6).

use super::*;

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
