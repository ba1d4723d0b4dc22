//! Header fields.

use super::*;

#[test]
fn leave_as_given_in_order_and_with_their_case() {
    let doors = Doors::open("heads:application");
    let own = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        let text = ("Content-Type", "text/plain");
        std::iter::once(&text)
            .chain(pairs)
            .map(|(name, value)| (String::from(*name), String::from(*value)))
            .collect()
    };
    for (name, headers) in [
        (
            "in_order",
            own(&[
                ("X-Two", "2"),
                ("x-one", "1"),
                ("Set-Cookie", "a=1"),
                ("Set-Cookie", "b=2"),
                ("X-Empty", ""),
            ]),
        ),
        ("latin1_value", own(&[("X-Name", "Andr\u{e9}")])),
        ("token_name", own(&[("X!#$%&'*+-.^_`|~9", "token")])),
        (
            "own_date_and_server",
            own(&[
                ("Date", "Thu, 01 Jan 1970 00:00:00 GMT"),
                ("Server", "mine"),
            ]),
        ),
    ] {
        for answer in doors.get(&format!("/{name}")) {
            answer.is(200, "sent");
            assert_eq!(answer.headers, headers, "{answer:#?}");
        }
    }
    for answer in doors.get("/str_subclass") {
        answer.is(200, "sent");
        assert_eq!(answer.header("X-Text"), Some("yes"));
    }
}

/// "Each header_value must not include any control characters, including carriage returns or linefeeds";
/// a name is a token (RFC 9110 section 5.1) "without a trailing colon or other punctuation"; both are
/// native strings of latin-1 characters.
#[test]
fn that_are_malformed_are_an_error() {
    let doors = Doors::open("heads:application");
    for name in [
        "cr_in_value",
        "lf_in_value",
        "crlf_in_value",
        "folded_value",
        "nul_in_value",
        "value_ends_with_lf",
        "other_control_in_value",
        "value_not_latin1",
        "value_bytes",
        "value_none",
        "name_cr",
        "name_lf",
        "name_nul",
        "name_colon",
        "name_space",
        "name_empty",
        "name_not_ascii",
        "name_bytes",
        "name_none",
        "not_a_pair",
        "not_a_tuple",
        "headers_not_iterable",
    ] {
        for answer in doors.get(&format!("/{name}")) {
            answer.is_error_page();
            assert_eq!(answer.header("X-Evil"), None);
            assert_eq!(answer.header("X-Bad"), None);
        }
    }
}

/// "applications and middleware are forbidden from using HTTP/1.1 "hop-by-hop" features or headers".
#[test]
fn that_are_hop_by_hop_are_an_error() {
    let doors = Doors::open("heads:application");
    for (name, word) in [
        ("connection", "Connection"),
        ("keep_alive", "Keep-Alive"),
        ("proxy_authenticate", "Proxy-Authenticate"),
        ("proxy_authorization", "Proxy-Authorization"),
        ("te", "TE"),
        ("trailers", "Trailers"),
        ("transfer_encoding", "tRANSFER-eNCODING"),
        ("upgrade", "Upgrade"),
    ] {
        for answer in doors.get(&format!("/{name}")) {
            answer.is_error_page().logged(word);
        }
    }
}

/// A `Status` header is how both protocols carry the status, so the application's own must not
/// become it.
#[test]
fn cannot_forge_the_status() {
    for answer in Doors::open("heads:application").get("/own_status") {
        if answer.status == 500 {
            answer.is_error_page();
        } else {
            answer.is(200, "sent");
            assert_eq!(answer.header("Status"), None, "{answer:#?}");
        }
    }
}

/// Examples in the wild pass `len(body)`.
#[test]
fn with_an_int_are_written_as_digits_and_warned_about_once() {
    let doors = Doors::open("heads:application");
    for answer in doors.get("/int_length") {
        answer.is(200, "sent");
        assert_eq!(answer.header("Content-Length"), Some("4"));
        answer.logged("Content-Length");
    }
    doors.fastcgi(&Request::get("/int_length")).is(200, "sent");
    let log = doors.close();
    let warnings = log.matches("Content-Length").count();
    assert_eq!(warnings, 1, "{log}");
}
