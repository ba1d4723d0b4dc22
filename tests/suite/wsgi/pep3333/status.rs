//! The status line.

use super::*;

#[test]
fn and_reason_leave_as_given() {
    let doors = Doors::open("heads:application");
    for (name, status, reason) in [
        ("custom_reason", 299, "As You Like It"),
        ("latin1_reason", 200, "Tr\u{e8}s bien"),
        ("three_digits_only", 799, "Odd"),
    ] {
        for answer in doors.get(&format!("/{name}")) {
            answer.is(status, "sent");
            assert_eq!(answer.reason, reason, "{answer:#?}");
        }
    }
}

/// "The status argument ... is a string of the form "999 Message here" ... and must not contain control
/// characters". RFC 9110 section 15: three digits, the first 1 to 9. CGI and FastCGI know one response a
/// request, so 1xx cannot be sent.
#[test]
fn that_is_malformed_is_an_error() {
    let doors = Doors::open("heads:application");
    for name in [
        "word",
        "empty",
        "two_digits",
        "four_digits",
        "below_100",
        "informational",
        "cr",
        "lf",
        "crlf",
        "nul",
        "ends_with_lf",
        "not_latin1",
        "bytes",
        "int",
        "none",
        "other_digits",
    ] {
        for answer in doors.get(&format!("/{name}")) {
            answer.is_error_page();
            assert_eq!(answer.header("X-Evil"), None);
        }
    }
}
