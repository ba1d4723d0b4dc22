//! What becomes of the web server's variables in `environ` (RFC 3875 section 4.1, PEP 3333 "environ
//! Variables", and what real servers were seen to send), through both doors.

use crate::support::cgi::Cgi;
use crate::support::client::{Connection, Request, fetch};
use crate::support::doors::{Answer, Door, Doors};
use crate::support::gateway::Gateway;

/// The `ascii()` of a variable as the application saw it.
fn value(answer: &Answer, name: &str) -> Option<String> {
    find(&answer.text(), name)
}

fn find(text: &str, name: &str) -> Option<String> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .find(|(known, _)| *known == name)
        .map(|(_, value)| value.to_owned())
}

/// Sends the request through both doors and compares single variables; `None` means absent.
#[track_caller]
fn becomes(doors: &Doors, request: &Request, expected: &[(&str, Option<&str>)]) {
    for answer in doors.ask(request) {
        answer.has_status(200);
        for (name, ascii) in expected {
            assert_eq!(
                value(&answer, name).as_deref(),
                *ascii,
                "{name} by {:?}: {answer:#?}",
                answer.door
            );
        }
    }
}

fn values() -> Doors {
    Doors::open("dump:application")
}

fn get() -> Request {
    Request::get("/values")
}

#[test]
fn variables_of_the_request_arrive() {
    let request = Request::get("/values/a/b?x=1&y=2")
        .param("SCRIPT_NAME", "/mount")
        .param("REQUEST_URI", "/mount/values/a/b?x=1&y=2")
        .param("HTTP_X_HEADER", "one");
    becomes(
        &values(),
        &request,
        &[
            ("REQUEST_METHOD", Some("'GET'")),
            ("SCRIPT_NAME", Some("'/mount'")),
            ("PATH_INFO", Some("'/values/a/b'")),
            ("QUERY_STRING", Some("'x=1&y=2'")),
            ("SERVER_NAME", Some("'localhost'")),
            ("SERVER_PORT", Some("'80'")),
            ("SERVER_PROTOCOL", Some("'HTTP/1.1'")),
            ("REMOTE_ADDR", Some("'127.0.0.1'")),
            ("GATEWAY_INTERFACE", Some("'CGI/1.1'")),
            ("HTTP_HOST", Some("'localhost'")),
            ("HTTP_X_HEADER", Some("'one'")),
            ("wsgi.version", Some("(1, 0)")),
            ("wsgi.url_scheme", Some("'http'")),
        ],
    );
}

#[test]
fn required_variables_are_there_when_the_server_sends_next_to_nothing() {
    let mut request = get();
    request.params.clear();
    let request = request
        .param("REQUEST_METHOD", "GET")
        .param("PATH_INFO", "/values");
    becomes(
        &values(),
        &request,
        &[
            ("REQUEST_METHOD", Some("'GET'")),
            ("SCRIPT_NAME", Some("''")),
            ("QUERY_STRING", Some("''")),
            ("SERVER_NAME", Some("'localhost'")),
            ("SERVER_PORT", Some("'80'")),
            ("wsgi.url_scheme", Some("'http'")),
            ("wsgi.version", Some("(1, 0)")),
            ("wsgi.input_terminated", Some("True")),
        ],
    );
    for answer in values().ask(&request) {
        let protocol = value(&answer, "SERVER_PROTOCOL").unwrap_or_default();
        assert!(protocol.starts_with("'HTTP/1."), "{answer:#?}");
    }
}

/// PEP 3333: SCRIPT_NAME and PATH_INFO may be empty strings.
#[test]
fn script_name_and_path_info_are_empty_when_absent() {
    let request = Request::get("/")
        .without("SCRIPT_NAME")
        .without("PATH_INFO")
        .without("REQUEST_URI");
    becomes(
        &Doors::open("dump:values"),
        &request,
        &[("SCRIPT_NAME", Some("''")), ("PATH_INFO", Some("''"))],
    );
}

#[test]
fn query_string_is_empty_when_absent() {
    becomes(
        &values(),
        &get().without("QUERY_STRING"),
        &[("QUERY_STRING", Some("''"))],
    );
}

/// "Unicode Issues": bytes outside ASCII arrive as latin-1 characters, valid UTF-8 or not.
#[test]
fn bytes_become_latin1_strings() {
    let request = Request::get("/values/caf%C3%A9/%E9/%FF")
        .param("QUERY_STRING", b"raw=\xff\x80")
        .param("HTTP_X_NAME", b"Andr\xe9 \xe2\x82\xac")
        .param("REMOTE_USER", b"j\xfcrgen");
    becomes(
        &values(),
        &request,
        &[
            ("PATH_INFO", Some(r"'/values/caf\xc3\xa9/\xe9/\xff'")),
            ("QUERY_STRING", Some(r"'raw=\xff\x80'")),
            ("HTTP_X_NAME", Some(r"'Andr\xe9 \xe2\x82\xac'")),
            ("REMOTE_USER", Some(r"'j\xfcrgen'")),
            // What comes after such bytes is not lost.
            ("HTTP_HOST", Some("'localhost'")),
            ("HTTP_ACCEPT", Some("'*/*'")),
        ],
    );
}

/// RFC 9110 section 5.3: several fields of one name are one list; RFC 6265 section 5.4 has another separator.
#[test]
fn repeated_header_variables_are_joined() {
    let request = get()
        .add_param("HTTP_X_DUP", "one")
        .add_param("HTTP_COOKIE", "a=1")
        .add_param("HTTP_X_DUP", "two")
        .add_param("HTTP_COOKIE", "b=2")
        .add_param("HTTP_X_DUP", "three");
    becomes(
        &values(),
        &request,
        &[
            ("HTTP_X_DUP", Some("'one, two, three'")),
            ("HTTP_COOKIE", Some("'a=1; b=2'")),
        ],
    );
}

/// nginx with `include fastcgi_params` and a second SCRIPT_NAME line sends both: the last one is meant.
#[test]
fn of_other_repeated_variables_the_last_wins() {
    let request = get()
        .param("SCRIPT_NAME", "/values")
        .add_param("SCRIPT_NAME", "/last")
        .param("REQUEST_URI", "/last/values")
        .add_param("REMOTE_USER", "last");
    becomes(
        &values(),
        &request,
        &[
            ("SCRIPT_NAME", Some("'/last'")),
            ("REMOTE_USER", Some("'last'")),
        ],
    );
}

#[test]
fn header_variables_with_odd_names_are_dropped() {
    let request = get()
        .param("HTTP_X.DOT", "1")
        .param("HTTP_X!BANG", "1")
        .param("HTTP_x_lower", "1")
        .param("HTTP_X-DASH", "1")
        .param("HTTP_X_FINE9", "1");
    becomes(
        &values(),
        &request,
        &[
            ("HTTP_X.DOT", None),
            ("HTTP_X!BANG", None),
            ("HTTP_x_lower", None),
            ("HTTP_X-DASH", None),
            ("HTTP_X_FINE9", Some("'1'")),
        ],
    );
}

/// httpoxy (CVE-2016-5385): HTTP_PROXY is how a client would choose the application's outgoing proxy.
/// HTTP_CONTENT_LENGTH and -TYPE are doubles that PEP 3333 forbids.
#[test]
fn dangerous_header_variables_are_dropped() {
    let request = get()
        .param("HTTP_PROXY", "http://evil.example:3128")
        .param("HTTP_CONTENT_LENGTH", "17")
        .param("HTTP_CONTENT_TYPE", "text/evil");
    becomes(
        &values(),
        &request,
        &[
            ("HTTP_PROXY", None),
            ("HTTP_CONTENT_LENGTH", None),
            ("HTTP_CONTENT_TYPE", None),
        ],
    );
}

/// Apache hides Authorization from CGI programs; the usual rewrite rule brings it back under this name.
#[test]
fn authorization_comes_from_its_redirect_name_when_absent() {
    let doors = values();
    becomes(
        &doors,
        &get().param("REDIRECT_HTTP_AUTHORIZATION", "Basic dTpw"),
        &[("HTTP_AUTHORIZATION", Some("'Basic dTpw'"))],
    );
    becomes(
        &doors,
        &get()
            .param("REDIRECT_HTTP_AUTHORIZATION", "Basic dTpw")
            .param("HTTP_AUTHORIZATION", "Bearer own"),
        &[("HTTP_AUTHORIZATION", Some("'Bearer own'"))],
    );
    becomes(&doors, &get(), &[("HTTP_AUTHORIZATION", None)]);
}

#[test]
fn an_empty_content_type_is_dropped() {
    let doors = values();
    becomes(
        &doors,
        &get().param("CONTENT_TYPE", ""),
        &[("CONTENT_TYPE", None)],
    );
    becomes(
        &doors,
        &get().param("CONTENT_TYPE", "text/html; charset=utf-8"),
        &[("CONTENT_TYPE", Some("'text/html; charset=utf-8'"))],
    );
}

/// "The CONTENT_LENGTH ... may be empty or absent"; frameworks call int() on what is there.
#[test]
fn content_length_is_a_number_or_not_there() {
    let doors = values();
    for length in ["", "-1", "ten", "1e3", "+5", "0x10", " 5 x"] {
        for answer in doors.ask(&get().param("CONTENT_LENGTH", length)) {
            let seen = value(answer.has_status(200), "CONTENT_LENGTH");
            assert!(
                seen.is_none() || seen.as_deref() == Some("''"),
                "{length:?} became {seen:?} by {:?}",
                answer.door
            );
        }
    }
    becomes(
        &doors,
        &get().without("CONTENT_LENGTH"),
        &[("CONTENT_LENGTH", None)],
    );
    let request = Request::post("/values", b"abc");
    becomes(&doors, &request, &[("CONTENT_LENGTH", Some("'3'"))]);
    // Several servers pass a client's leading zeroes on: Python's int() takes them, other parsers read
    // octal.
    let request = request.param("CONTENT_LENGTH", "0003");
    becomes(&doors, &request, &[("CONTENT_LENGTH", Some("'3'"))]);
    let request = Request::post("/all_of_it", b"abc").param("CONTENT_LENGTH", "0002");
    for answer in Doors::open("reading:application").ask(&request) {
        answer.is(200, "b'ab'");
    }
}

/// A length of 20 digits and more must not wrap around into a small one.
#[test]
fn a_content_length_beyond_all_bounds_is_no_small_one() {
    let doors = Doors::open("reading:application");
    for length in ["18446744073709551619", "4294967299"] {
        let request = Request::post("/short_read", b"abcdef").param("CONTENT_LENGTH", length);
        for answer in doors.ask(&request) {
            assert_ne!(answer.text(), "b'abc'", "{length} by {:?}", answer.door);
        }
    }
}

/// A FastCGI body is never chunked on the wire: without a length it goes to the end of FCGI_STDIN, and the
/// header would make frameworks decode chunks a second time.
#[test]
fn fastcgi_reads_a_body_of_unknown_length_to_its_end() {
    let gateway = Gateway::start("reading:application", &[]);
    for length in [None, Some(""), Some("-1"), Some("many")] {
        let mut request = Request::post("/all_of_it", b"unknown length")
            .param("HTTP_TRANSFER_ENCODING", "chunked");
        request = match length {
            Some(length) => request.param("CONTENT_LENGTH", length),
            None => request.without("CONTENT_LENGTH"),
        };
        let response = fetch(gateway.socket(), &request).expect(200);
        assert_eq!(response.text(), "b'unknown length'", "{length:?}");
    }
    let gateway = Gateway::start("dump:application", &[]);
    let request = Request::post("/values", b"x")
        .without("CONTENT_LENGTH")
        .param("HTTP_TRANSFER_ENCODING", "chunked");
    let values = fetch(gateway.socket(), &request).expect(200).text();
    assert_eq!(find(&values, "HTTP_TRANSFER_ENCODING"), None, "{values}");
}

#[test]
fn url_scheme_comes_from_https_then_request_scheme() {
    let doors = values();
    for (https, request_scheme, scheme) in [
        (Some("on"), None, "https"),
        (Some("1"), None, "https"),
        (Some("true"), None, "https"),
        (Some("https"), None, "https"),
        (Some("ON"), Some("http"), "https"),
        (Some("off"), None, "http"),
        (Some(""), None, "http"),
        (None, None, "http"),
        (None, Some("https"), "https"),
        (None, Some("http"), "http"),
        (Some(""), Some("https"), "https"),
    ] {
        let mut request = get().without("REQUEST_SCHEME");
        if let Some(https) = https {
            request = request.param("HTTPS", https);
        }
        if let Some(scheme) = request_scheme {
            request = request.param("REQUEST_SCHEME", scheme);
        }
        eprintln!("HTTPS {https:?}, REQUEST_SCHEME {request_scheme:?}");
        let ascii = format!("'{scheme}'");
        becomes(&doors, &request, &[("wsgi.url_scheme", Some(&ascii))]);
    }
    // Neither the port nor what a client can say decides.
    let request = get()
        .without("REQUEST_SCHEME")
        .param("SERVER_PORT", "443")
        .param("HTTP_X_FORWARDED_PROTO", "https");
    becomes(&doors, &request, &[("wsgi.url_scheme", Some("'http'"))]);
}

#[test]
fn server_name_and_port_are_never_empty() {
    let doors = values();
    for (name, host, address, expected) in [
        (Some("example.org"), None, None, "example.org"),
        (Some("example.org:8080"), None, None, "example.org"),
        (Some("[::1]:8080"), None, None, "[::1]"),
        (Some("[::1]"), None, None, "[::1]"),
        (Some(""), Some("host.example:81"), None, "host.example"),
        (None, Some("host.example"), Some("10.0.0.1"), "host.example"),
        (None, None, Some("10.0.0.1"), "10.0.0.1"),
        (Some(""), Some(""), Some("10.0.0.1"), "10.0.0.1"),
        (None, None, None, "localhost"),
    ] {
        let mut request = get()
            .without("SERVER_NAME")
            .without("HTTP_HOST")
            .without("SERVER_ADDR");
        for (variable, value) in [
            ("SERVER_NAME", name),
            ("HTTP_HOST", host),
            ("SERVER_ADDR", address),
        ] {
            if let Some(value) = value {
                request = request.param(variable, value);
            }
        }
        eprintln!("SERVER_NAME {name:?}, HTTP_HOST {host:?}, SERVER_ADDR {address:?}");
        let ascii = format!("'{expected}'");
        becomes(&doors, &request, &[("SERVER_NAME", Some(&ascii))]);
    }
    for (https, port) in [("off", "'80'"), ("on", "'443'")] {
        for request in [get().without("SERVER_PORT"), get().param("SERVER_PORT", "")] {
            let request = request.without("REQUEST_SCHEME").param("HTTPS", https);
            becomes(&doors, &request, &[("SERVER_PORT", Some(port))]);
        }
    }
    becomes(
        &doors,
        &get().param("SERVER_PORT", "8080"),
        &[("SERVER_PORT", Some("'8080'"))],
    );
}

/// What comes with a request must not replace what the gateway vouches for.
#[test]
fn variables_cannot_override_the_gateways_own() {
    let request = get()
        .param("wsgi.input", "evil")
        .param("wsgi.errors", "evil")
        .param("wsgi.version", "evil")
        .param("wsgi.url_scheme", "evil")
        .param("wsgi.run_once", "evil")
        .param("wsgi.multithread", "")
        .param("wsgi.multiprocess", "")
        .param("wsgi.file_wrapper", "evil")
        .param("wsgi.input_terminated", "evil")
        .param("HTTP_X_AFTER", "still here");
    for answer in values().ask(&request) {
        let text = answer.has_status(200).text();
        assert!(!text.contains("evil"), "{answer:#?}");
        let run_once = match answer.door {
            Door::FastCgi | Door::Persistent => "False",
            Door::Cgi => "True",
        };
        for (name, ascii) in [
            ("wsgi.version", "(1, 0)"),
            ("wsgi.url_scheme", "'http'"),
            ("wsgi.run_once", run_once),
            ("wsgi.input_terminated", "True"),
            ("HTTP_X_AFTER", "'still here'"),
        ] {
            assert_eq!(value(&answer, name).as_deref(), Some(ascii), "{answer:#?}");
        }
    }
}

#[test]
fn empty_values_and_long_ones_arrive() {
    let long = "v".repeat(60_000);
    let request = get()
        .param("HTTP_X_EMPTY", "")
        .param("HTTP_X_LONG", &long)
        .param("X_OTHER", "any name");
    becomes(
        &values(),
        &request,
        &[
            ("HTTP_X_EMPTY", Some("''")),
            ("HTTP_X_LONG", Some(&format!("'{long}'"))),
            ("X_OTHER", Some("'any name'")),
        ],
    );
}

/// Passwords are handed to services in their environment. Nothing of it may show on a page that prints
/// environ, and still os.environ is the application's.
#[test]
fn fastcgi_does_not_leak_the_process_environment() {
    let gateway = Gateway::builder("dump:application")
        .env("DATABASE_PASSWORD", "secret")
        .env("HTTP_X_FROM_PROCESS", "secret")
        .start();
    let values = fetch(gateway.socket(), &get()).expect(200).text();
    assert!(!values.contains("secret"), "{values}");
    assert_eq!(find(&values, "PATH"), None, "{values}");
    let process = fetch(gateway.socket(), &Request::get("/process"));
    let process = process.expect(200).text();
    assert_eq!(
        find(&process, "DATABASE_PASSWORD").as_deref(),
        Some("'secret'")
    );
    // And the other way round: what came with a request is not in the process's environment.
    assert_eq!(find(&process, "PATH_INFO"), None, "{process}");
}

/// PEP 3333's CGI example: `environ = {k: ... for k, v in os.environ.items()}`.
#[test]
fn cgi_hands_the_whole_process_environment_on() {
    let output = Cgi::new("dump:application", &get())
        .env(
            "DATABASE_PASSWORD",
            "known to the web server's administrator",
        )
        .env("lower_case", "too")
        .run();
    let text = String::from_utf8(output.response().body).unwrap();
    assert_eq!(
        find(&text, "DATABASE_PASSWORD").as_deref(),
        Some("\"known to the web server's administrator\"")
    );
    assert_eq!(find(&text, "lower_case").as_deref(), Some("'too'"));
}

/// And nothing but that: what the gateway and CPython do to the process's environment while they start is not
/// the web server's word.
#[test]
fn cgi_adds_nothing_to_the_environment_but_what_the_pep_asks_for() {
    let output = Cgi::new("dump:application", &get())
        .empty_environment()
        .env("REQUEST_METHOD", "GET")
        .env("PATH_INFO", "/values")
        .env("LANG", "C")
        .run();
    let text = String::from_utf8(output.response().body).unwrap();
    let names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name)
        .filter(|name| !name.starts_with("wsgi.") && *name != "wsgi_gateway.request_id")
        .collect();
    assert_eq!(
        names,
        [
            "LANG",
            // Python's own doing in the C locale (PEP 538), as in every script.
            "LC_CTYPE",
            "PATH_INFO",
            "QUERY_STRING",
            "REQUEST_METHOD",
            "SCRIPT_NAME",
            "SERVER_NAME",
            "SERVER_PORT",
            "SERVER_PROTOCOL",
        ],
        "{text}"
    );
}

/// One request's variables must not show up in the next one on the same connection.
#[test]
fn variables_do_not_stay_for_the_next_request() {
    let gateway = Gateway::start("dump:application", &[]);
    let mut connection = Connection::open(gateway.socket());
    let first = get()
        .param("HTTP_X_FIRST", "only")
        .param("REMOTE_USER", "first")
        .param("HTTP_HOST", "first.example")
        .keep();
    let text = connection.request(&first).expect(200).text();
    assert_eq!(find(&text, "HTTP_X_FIRST").as_deref(), Some("'only'"));
    let text = connection
        .request(&get().without("REMOTE_USER").keep())
        .expect(200)
        .text();
    assert_eq!(find(&text, "HTTP_X_FIRST"), None, "{text}");
    assert_eq!(find(&text, "REMOTE_USER"), None, "{text}");
    assert_eq!(find(&text, "HTTP_HOST").as_deref(), Some("'localhost'"));
}

/// HAProxy and h2o pass a NUL byte of a URL on; environ(7) cannot carry one.
#[test]
fn a_nul_byte_in_a_fastcgi_variable_arrives() {
    let gateway = Gateway::start("dump:application", &[]);
    let request = get().param("HTTP_X_NUL", b"a\0b");
    let text = fetch(gateway.socket(), &request).expect(200).text();
    assert_eq!(
        find(&text, "HTTP_X_NUL").as_deref(),
        Some(r"'a\x00b'"),
        "{text}"
    );
    assert_eq!(find(&text, "HTTP_HOST").as_deref(), Some("'localhost'"));
}
