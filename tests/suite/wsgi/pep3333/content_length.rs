//! "Handling the Content-Length Header".

use super::*;

#[test]
fn that_fits_is_kept() {
    let doors = Doors::open("lengths:application");
    for name in ["exact", "exact_generator"] {
        for answer in doors.get(&format!("/{name}")) {
            answer.is(200, "abcdefghi");
            assert_eq!(answer.header("Content-Length"), Some("9"));
        }
    }
    for answer in doors.get("/zero") {
        answer.is(200, "");
    }
}

/// "If the application does provide a Content-Length header, the server should not transmit more bytes to
/// the client than the header allows".
#[test]
fn shorter_than_the_body_cuts_the_body() {
    let doors = Doors::open("lengths:application");
    for name in ["longer_body", "longer_body_generator"] {
        for answer in doors.get(&format!("/{name}")) {
            answer.is(200, "abcde").logged("Content-Length");
        }
    }
    for answer in doors.get("/zero_with_body") {
        answer.is(200, "");
    }
    for name in ["many_blocks_cut", "one_large_block_cut"] {
        for answer in doors.get(&format!("/{name}")) {
            answer.is(200, "0123456789").logged("Content-Length");
        }
    }
}

/// "If the application does not provide enough data to meet its stated Content-Length, the server should
/// close the connection and log or otherwise report the error."
#[test]
fn longer_than_the_body_cuts_the_connection() {
    let doors = Doors::open("lengths:application");
    for answer in doors.get("/shorter_body_generator") {
        answer
            .is_cut_after(200, "abcdefghi")
            .logged("Content-Length");
    }
}

/// Nothing has left of a body that is all there.
#[test]
fn longer_than_a_complete_body_is_an_error_page() {
    let doors = Doors::open("lengths:application");
    for name in ["shorter_body", "no_body", "many_blocks_short"] {
        for answer in doors.get(&format!("/{name}")) {
            answer.is_error_page().logged("Content-Length");
        }
    }
}

#[test]
fn that_is_no_number_is_an_error() {
    for answer in Doors::open("lengths:application").get("/bad_length") {
        answer.is_error_page();
    }
}

/// RFC 9110 section 9.3.2: the length of the body that GET would have.
#[test]
fn stays_on_head_without_a_body() {
    let doors = Doors::open("lengths:application");
    for name in ["exact", "exact_generator"] {
        let request = Request::get(&format!("/{name}")).param("REQUEST_METHOD", "HEAD");
        for answer in doors.ask(&request) {
            answer.is(200, "");
            assert_eq!(answer.header("Content-Length"), Some("9"));
        }
    }
    // More than one system call would carry.
    let request = Request::get("/many_blocks").param("REQUEST_METHOD", "HEAD");
    for answer in doors.ask(&request) {
        answer.is(200, "");
        assert_eq!(answer.header("Content-Length"), Some("800000"));
    }
    let request = Request::get("/head_without_body").param("REQUEST_METHOD", "HEAD");
    for answer in doors.ask(&request) {
        answer.is(200, "");
        assert_eq!(answer.header("Content-Length"), Some("6"));
    }
}

/// RFC 9110 sections 15.3.5 and 15.4.5.
#[test]
fn no_body_is_sent_with_204_and_304() {
    let doors = Doors::open("lengths:application");
    for name in [
        "no_content",
        "no_content_generator",
        "many_blocks_no_content",
    ] {
        for answer in doors.get(&format!("/{name}")) {
            answer.is(204, "");
        }
    }
    for name in ["not_modified", "not_modified_generator"] {
        for answer in doors.get(&format!("/{name}")) {
            answer.is(304, "");
            assert_eq!(answer.header("Content-Length"), Some("6"));
            assert_eq!(answer.header("ETag"), Some("\"x\""));
        }
    }
}
