//! Variables that no web server was seen to send yet: what is in `environ` then, and that the worker is none the worse
//! for it. What they do send is in `environ` and `tests/captures/`.

use crate::support::client::{Connection, Request, fetch};
use crate::support::doors::Doors;
use crate::support::gateway::Gateway;

/// The `ascii()` of a variable in the dump application's answer.
fn find<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .find(|(known, _)| *known == name)
        .map(|(_, value)| value)
}

/// Sends the request through both doors and compares single variables; `None` means absent.
#[track_caller]
fn becomes(doors: &Doors, request: &Request, expected: &[(&str, Option<&str>)]) {
    for answer in doors.ask(request) {
        let text = answer.has_status(200).text();
        for (name, ascii) in expected {
            assert_eq!(find(&text, name), *ascii, "{name} by {:?}", answer.door);
        }
    }
}

fn values() -> Doors {
    Doors::open("dump:values")
}

fn get() -> Request {
    Request::get("/")
}

#[test]
fn the_query_is_found_where_only_the_url_has_it() {
    let doors = values();
    let request = get()
        .without("QUERY_STRING")
        .param("REQUEST_URI", "/a?b=%20&c?d");
    becomes(&doors, &request, &[("QUERY_STRING", Some("'b=%20&c?d'"))]);
    // What was said to be empty is empty: a rewrite took the query away.
    let request = request.param("QUERY_STRING", "");
    becomes(&doors, &request, &[("QUERY_STRING", Some("''"))]);
}

#[test]
fn odd_hosts_make_no_empty_server_name() {
    let doors = values();
    for (name, host, expected) in [
        ("[2001:db8::1]:8443", "x", "'[2001:db8::1]'"),
        (":8080", "host.example:8080", "'host.example'"),
        (":8080", ":8080", "'10.0.0.1'"),
        ("_", "host.example", "'_'"),
        ("a b,c", "host.example", "'a b,c'"),
        ("caf\u{e9}", "x", "'caf\\xc3\\xa9'"),
    ] {
        let request = get()
            .param("SERVER_NAME", name)
            .param("HTTP_HOST", host)
            .param("SERVER_ADDR", "10.0.0.1");
        becomes(&doors, &request, &[("SERVER_NAME", Some(expected))]);
    }
}

#[test]
fn odd_schemes_are_http() {
    let doors = values();
    for (https, scheme, expected) in [
        ("yes", "http", "'https'"),
        ("On", "", "'https'"),
        ("off", "HTTPS", "'https'"),
        ("OFF", "http", "'http'"),
        ("0", "ftp", "'http'"),
        ("onn", "https ", "'http'"),
        ("no", "wss", "'http'"),
    ] {
        let request = get().param("HTTPS", https).param("REQUEST_SCHEME", scheme);
        becomes(&doors, &request, &[("wsgi.url_scheme", Some(expected))]);
    }
}

/// Apache puts REDIRECT_ before what it had set when a rule leads to another URL.
#[test]
fn redirected_and_other_variables_arrive_as_they_are() {
    let request = get()
        .param("REDIRECT_STATUS", "200")
        .param("REDIRECT_HTTPS", "on")
        .param("REDIRECT_REDIRECT_X", "y")
        .param("REMOTE_PORT", "")
        .param("REMOTE_USER", "a b")
        .param("SERVER_PROTOCOL", "HTTP/2.0")
        .param("X y.z-", "odd name");
    becomes(
        &values(),
        &request,
        &[
            ("REDIRECT_STATUS", Some("'200'")),
            ("REDIRECT_HTTPS", Some("'on'")),
            ("REDIRECT_REDIRECT_X", Some("'y'")),
            ("REMOTE_PORT", Some("''")),
            ("REMOTE_USER", Some("'a b'")),
            ("SERVER_PROTOCOL", Some("'HTTP/2.0'")),
            ("X y.z-", Some("'odd name'")),
            ("wsgi.url_scheme", Some("'http'")),
        ],
    );
}

/// A `.htaccess` in the site's folder leads to another folder, whose `.htaccess` leads to the script.
#[test]
fn authorization_is_found_behind_two_redirects() {
    let doors = values();
    let request = get().param("REDIRECT_REDIRECT_HTTP_AUTHORIZATION", "Basic two");
    becomes(
        &doors,
        &request,
        &[("HTTP_AUTHORIZATION", Some("'Basic two'"))],
    );
    let request = request
        .param("REDIRECT_HTTP_AUTHORIZATION", "Basic one")
        .param("HTTP_AUTHORIZATION", "");
    becomes(
        &doors,
        &request,
        &[("HTTP_AUTHORIZATION", Some("'Basic one'"))],
    );
}

/// nginx sends what its configuration says, twice where that says it twice.
#[test]
fn of_several_lengths_types_and_authorizations_the_last_holds() {
    let gateway = Gateway::start("dump:values", &[]);
    let request = Request::post("/", b"abc")
        .add_param("CONTENT_LENGTH", "5")
        .add_param("CONTENT_LENGTH", "3")
        .add_param("CONTENT_TYPE", "text/a")
        .add_param("CONTENT_TYPE", "text/b")
        .add_param("HTTP_AUTHORIZATION", "Basic a")
        .add_param("HTTP_AUTHORIZATION", "Basic b")
        .add_param("HTTP_X", "1")
        .add_param("HTTP_X", "")
        .add_param("HTTP_X", "2")
        .add_param("HTTP_COOKIE", "a=1")
        .add_param("HTTP_COOKIE", "b=2");
    let text = fetch(gateway.socket(), &request).expect(200).text();
    for (name, ascii) in [
        ("CONTENT_LENGTH", "'3'"),
        ("CONTENT_TYPE", "'text/b'"),
        ("HTTP_AUTHORIZATION", "'Basic b'"),
        ("HTTP_X", "'1, , 2'"),
        ("HTTP_COOKIE", "'a=1; b=2'"),
    ] {
        assert_eq!(find(&text, name), Some(ascii), "{text}");
    }
}

/// A list of lengths is none, even of equal ones; the body is what comes to the end of the stream.
#[test]
fn odd_lengths_are_unknown_and_the_body_is_whole() {
    let gateway = Gateway::start("reading:application", &[]);
    for length in [
        "+5",
        " 5",
        "5, 5",
        "0x5",
        "5.0",
        "99999999999999999999999999",
        "\u{665}",
    ] {
        let request = Request::post("/all_of_it", b"seven b").param("CONTENT_LENGTH", length);
        let response = fetch(gateway.socket(), &request).expect(200);
        assert_eq!(response.text(), "b'seven b'", "{length:?}");
    }
}

#[test]
fn odd_names_and_line_feeds_stay_in_their_variables() {
    let gateway = Gateway::start("dump:values", &[]);
    let request = get()
        .param("", "no name")
        .param("HTTP_", "a field without a name")
        .param("HTTP_X Y", "space")
        .param("HTTP_X\nWSGI", "line")
        .param("HTTP_X-Y", "hyphen")
        .param("wsgi.", "own")
        .param("wsgi.input\0", "own")
        .param("HTTP_LINES", "a\r\nwsgi.errors: b\n\0")
        .param("HTTP_LAST", "last");
    let text = fetch(gateway.socket(), &request).expect(200).text();
    for absent in ["no name", "space", "line'", "hyphen", "own"] {
        assert!(!text.contains(absent), "{absent}: {text}");
    }
    assert_eq!(
        find(&text, "HTTP_LINES"),
        Some(r"'a\r\nwsgi.errors: b\n\x00'"),
        "{text}"
    );
    assert_eq!(find(&text, "HTTP_LAST"), Some("'last'"), "{text}");
}

/// Whoever makes up a new name for each request must not fill the worker's memory with them.
#[test]
fn names_of_200_kilobytes_take_no_memory_that_lasts() {
    let gateway = Gateway::start("dump:values", &[]);
    let mut connection = Connection::open(gateway.socket());
    let mut ask = |count: usize| {
        for number in 0..count {
            let name = format!("HTTP_{}_{count}_{number}", "N".repeat(200_000));
            let value = "v".repeat(200_000);
            let request = get().param(&name, &value).keep();
            let text = connection.request(&request).expect(200).text();
            assert!(text.contains(&value), "{number}");
        }
    };
    ask(20);
    let before = gateway.rss_kib();
    ask(200);
    let grown = gateway.rss_kib().saturating_sub(before);
    assert!(grown < 40 * 1024, "{grown} KiB");
}
