//! "The start_response() Callable", and a second call of it.

use super::*;

#[test]
fn returns_the_write_callable() {
    for answer in Doors::open("starts:application").get("/write_is_callable") {
        answer.is(200, "callable");
    }
}

#[test]
fn may_be_called_in_the_first_step_of_the_iteration() {
    for answer in Doors::open("starts:application").get("/in_the_first_step") {
        answer.is(200, "late");
    }
}

#[test]
fn must_be_called_before_the_first_block() {
    let doors = Doors::open("starts:application");
    for name in ["never", "never_and_empty", "after_the_first_block"] {
        for answer in doors.get(&format!("/{name}")) {
            answer.is_error_page().logged("start_response");
        }
    }
}

/// "It is a fatal error to call start_response without the exc_info argument if start_response has
/// already been called within the current invocation of the application."
#[test]
fn called_twice_without_exc_info_is_a_fatal_error() {
    let doors = Doors::open("starts:application");
    for name in ["twice", "none_the_second_time"] {
        for answer in doors.get(&format!("/{name}")) {
            answer.is_error_page().logged("AssertionError");
        }
    }
    for answer in doors.get("/twice_is_an_assertion_error") {
        answer.is(200, "AssertionError");
    }
}

#[test]
fn takes_at_least_status_and_headers() {
    for answer in Doors::open("starts:application").get("/too_few_arguments") {
        answer.is_error_page().logged("TypeError");
    }
}

/// "start_response ... must not actually transmit the response headers": with exc_info they can still be
/// replaced.
#[test]
fn with_exc_info_before_the_head_left_replaces_it() {
    let doors = Doors::open("starts:application");
    for name in [
        "replaced",
        "replaced_after_an_empty_block",
        "replaced_by_keyword",
        "first_with_exc_info",
    ] {
        for answer in doors.get(&format!("/{name}")) {
            answer.is(503, "replaced");
            assert_eq!(answer.reason, "Replaced");
            assert_eq!(answer.header("Content-Type"), Some("text/html"));
            assert_eq!(answer.headers.len(), 1, "{answer:#?}");
        }
    }
}

#[test]
fn takes_a_triple_as_exc_info_and_says_so() {
    let doors = Doors::open("starts:application");
    let sentence = "exc_info must be the tuple of three that sys.exc_info() gives, and is";
    for answer in doors.get("/no_triple") {
        answer.has_status(200);
        assert_eq!(
            answer
                .text()
                .lines()
                .filter(|line| line.starts_with(sentence))
                .count(),
            7,
            "{answer:?}"
        );
        assert!(answer.text().contains("True of type 'bool'"), "{answer:?}");
    }
    for answer in doors.get("/no_triple_too_late") {
        answer.has_status(200);
        let text = answer.text();
        assert!(
            text.starts_with(&format!(
                "half\nTypeError: {sentence} True of type 'bool'\n"
            )),
            "{text}"
        );
        let no_exception = "AssertionError: the head has left, and exc_info has no exception";
        assert_eq!(text.matches(no_exception).count(), 2, "{text}");
    }
}

#[test]
fn takes_none_as_exc_info() {
    for answer in Doors::open("starts:application").get("/none_as_exc_info") {
        answer.is(200, "none");
    }
}

/// "If exc_info is supplied, and headers have already been output, start_response must raise an error,
/// and should re-raise using the exc_info tuple."
#[test]
fn with_exc_info_after_the_head_left_raises_it_again() {
    let doors = Doors::open("starts:application");
    for answer in doors.get("/too_late_is_raised_again") {
        answer.is(200, "half,the same");
    }
    for answer in doors.get("/too_late") {
        answer.is_cut_after(200, "half").logged("noticed too late");
    }
}
