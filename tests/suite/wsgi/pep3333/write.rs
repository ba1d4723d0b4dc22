//! "The write() Callable".

use super::*;

#[test]
fn sends_before_the_blocks_of_the_iterable() {
    let doors = Doors::open("writes:application");
    for name in [
        "only_write",
        "write_then_blocks",
        "write_in_the_iteration",
        "empty_write",
    ] {
        for answer in doors.get(&format!("/{name}")) {
            let mut words: Vec<&str> = ["one,", "two,", "three"].into();
            // The generator's write() comes between its blocks.
            words.retain(|word| answer.text().contains(word));
            assert_eq!(words.len(), 3, "{answer:#?}");
            answer.is(200, "one,two,three");
        }
    }
    let large = "0123456789".repeat(7000 * 20);
    for answer in doors.get("/large") {
        assert!(answer.has_status(200).text() == large);
    }
}

#[test]
fn takes_bytes_and_nothing_else() {
    let doors = Doors::open("writes:application");
    for answer in doors.get("/str_to_write") {
        answer.is_error_page();
    }
    for answer in doors.get("/str_to_write_is_a_type_error") {
        assert!(
            ["TypeError", "AssertionError"].contains(&&*answer.text()),
            "{answer:#?}"
        );
    }
}

#[test]
fn sends_no_body_for_head() {
    let doors = Doors::open("writes:application");
    let request = Request::get("/head_request").param("REQUEST_METHOD", "HEAD");
    for answer in doors.ask(&request) {
        answer.is(200, "");
        assert_eq!(answer.header("Content-Length"), Some("13"));
    }
}

#[test]
fn is_cut_at_content_length() {
    for answer in Doors::open("writes:application").get("/longer_than_promised") {
        answer.is(200, "one,").logged("Content-Length");
    }
}
