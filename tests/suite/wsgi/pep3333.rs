//! PEP 3333, the server's side: one test a clause, each through both doors. Where the PEP leaves a choice,
//! the test holds the project's answer to it. The applications are in `tests/apps`, a family a file.

use std::fs;
use std::io::Read;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::support::cgi::{Cgi, Fifo};
use crate::support::client::{Connection, END_REQUEST, Request, STDIN, STDOUT, fetch, record};
use crate::support::doors::{Answer, Door, Doors};
use crate::support::gateway::{DEADLINE, Gateway};

/// A GET whose query is a path in the file system, as the applications that leave marks want it.
fn get_with(path: &str, file: &std::path::Path) -> Request {
    Request::get(path).param("QUERY_STRING", file.to_str().unwrap())
}

/// How many lines the application has left in its mark.
fn marks(path: &std::path::Path) -> usize {
    fs::read_to_string(path).unwrap_or_default().lines().count()
}

/// Waits for a mark that is left after the answer.
#[track_caller]
fn wait_for_mark(path: &std::path::Path) {
    let deadline = std::time::Instant::now() + DEADLINE;
    while marks(path) == 0 {
        assert!(
            std::time::Instant::now() < deadline,
            "close() has not been called"
        );
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

mod application_object {
    use super::*;

    #[test]
    fn any_callable_is_an_application() {
        let doors = Doors::open("shapes:application");
        for name in [
            "function",
            "instance",
            "method",
            "static",
            "class",
            "generator",
            "partial",
            "lambda",
        ] {
            for answer in doors.get(&format!("/{name}")) {
                answer.is(200, name);
            }
        }
    }

    #[test]
    fn every_callable_can_be_named_on_the_command_line() {
        for (attribute, body) in [
            ("instance", "instance"),
            ("Class", "class"),
            ("generator", "generator"),
            ("partial", "partial"),
        ] {
            for answer in Doors::open(&format!("shapes:{attribute}")).get("/") {
                answer.is(200, body);
            }
        }
    }

    #[test]
    fn is_invoked_with_two_positional_arguments() {
        let doors = Doors::open("shapes:application");
        for answer in doors.get("/other_names") {
            answer.is(200, "other names");
        }
        for answer in Doors::open("shapes:arguments").get("/") {
            answer.is(200, "2 positional, 0 named");
        }
    }

    #[test]
    fn is_invoked_once_for_each_request_and_can_be_invoked_again() {
        let doors = Doors::open("counting:application");
        for call in 1..=3 {
            let body = format!("call {call}");
            doors.fastcgi(&Request::get("/")).is(200, &body);
            // A process of its own for each request.
            doors.cgi(&Request::get("/")).is(200, "call 1");
        }
    }
}

mod return_value {
    use super::*;

    #[test]
    fn may_be_any_iterable_of_bytes() {
        let doors = Doors::open("bodies:application");
        for name in [
            "a_list",
            "a_tuple",
            "an_iterator",
            "a_map",
            "keys",
            "a_sequence",
            "empty_blocks_between",
        ] {
            for answer in doors.get(&format!("/{name}")) {
                answer.is(200, "one,two,three");
            }
        }
    }

    #[test]
    fn may_yield_nothing_and_the_head_is_still_sent() {
        let doors = Doors::open("bodies:application");
        for name in ["empty_list", "empty_block", "empty_generator"] {
            for answer in doors.get(&format!("/{name}")) {
                answer.is(200, "");
                assert_eq!(answer.header("Content-Type"), Some("text/plain"));
            }
        }
    }

    #[test]
    fn blocks_are_sent_unaltered_and_in_order() {
        let doors = Doors::open("bodies:application");
        let every_byte: Vec<u8> = (0..=255).collect();
        for answer in doors.get("/every_byte") {
            assert_eq!(answer.has_status(200).body, every_byte);
        }
        let pattern: Vec<u8> = (0..251).cycle().take(1_000_000).collect();
        for name in ["large_list", "large_blocks"] {
            for answer in doors.get(&format!("/{name}")) {
                assert!(
                    answer.has_status(200).body == pattern,
                    "{:?}: {} bytes",
                    answer.door,
                    answer.body.len()
                );
            }
        }
        let numbers: Vec<String> = (0..5000).map(|number| format!("{number},")).collect();
        let numbers = numbers.concat();
        for answer in doors.get("/many_blocks_in_a_list") {
            answer.is(200, &numbers);
        }
    }

    #[test]
    fn must_yield_bytes_and_nothing_else() {
        let doors = Doors::open("failing:application");
        for name in [
            "returns_none",
            "returns_a_number",
            "returns_str",
            "str_block",
            "str_block_in_a_generator",
            "number_block",
            "none_block",
        ] {
            for answer in doors.get(&format!("/{name}")) {
                answer.is_error_page();
            }
        }
        for answer in Doors::open("bodies:application").get("/bytes_itself") {
            answer.is_error_page().logged("bytes");
        }
    }

    /// Iterating over it gives numbers or letters, which is not what the author has to be told of.
    #[test]
    fn that_is_its_own_block_is_told_with_the_way_out() {
        let doors = Doors::open("bodies:application");
        for (name, way_out) in [
            (
                "bytes_itself",
                "its body as bytes, and WSGI wants a list of bytes, or another iterable of them: return [body]",
            ),
            ("bytearray_itself", "its body as bytearray,"),
            ("memoryview_itself", "its body as memoryview,"),
            ("str_itself", "its body as str,"),
            ("kind_of_str_itself", "return [body.encode()]"),
            ("dict_itself", "return [json.dumps(body).encode()]"),
        ] {
            for answer in doors.get(&format!("/{name}")) {
                answer.is_error_page().logged(way_out);
            }
        }
    }

    #[test]
    fn a_wrong_block_after_a_right_one_never_ends_as_a_whole_response() {
        let doors = Doors::open("failing:application");
        for answer in doors.get("/second_block_is_str") {
            if answer.status == 500 {
                answer.is_error_page();
            } else {
                answer.is_cut_after(200, "half");
            }
        }
    }

    /// "The server or gateway must transmit each yielded bytestring to the client before requesting
    /// another one": no block is held back ("Buffering and Streaming").
    #[test]
    fn no_block_is_held_back() {
        each_piece_arrives_before_the_next_is_made("/blocks");
    }

    #[test]
    fn no_write_is_held_back() {
        each_piece_arrives_before_the_next_is_made("/writes");
    }

    fn each_piece_arrives_before_the_next_is_made(path: &str) {
        let folder = TempDir::new().unwrap();
        let fifo = Fifo::new(folder.path().join("go"));
        let request = get_with(path, fifo.path());

        let gateway = Gateway::start("streaming:application", &[]);
        let mut connection = Connection::open(gateway.socket());
        connection.write(&request.bytes());
        let mut seen = Vec::new();
        for piece in ["first,", "second,", "third"] {
            while !String::from_utf8_lossy(&seen).ends_with(piece) {
                let record = connection.read_record().unwrap();
                assert_eq!(record.kind, STDOUT, "{record:?}");
                seen.extend(record.content);
            }
            fifo.go();
        }
        assert!(String::from_utf8_lossy(&seen).ends_with("\r\n\r\nfirst,second,third"));
        let rest = std::iter::from_fn(|| connection.read_record());
        assert_eq!(rest.last().unwrap().kind, END_REQUEST);
        drop(gateway);

        let folder = TempDir::new().unwrap();
        let fifo = Fifo::new(folder.path().join("go"));
        let cgi = Cgi::new("streaming:application", &get_with(path, fifo.path())).spawn();
        for piece in ["first,", "second,", "third"] {
            cgi.wait_for_stdout(piece.as_bytes());
            fifo.go();
        }
        let output = cgi.finish();
        assert_eq!(output.code, 0);
        assert_eq!(output.response().body, b"first,second,third");
    }

    /// "Handling the Content-Length Header": the gateway may add one where it knows; the decision is to add
    /// nothing at all, because every web server does that better.
    #[test]
    fn nothing_is_added_to_the_head() {
        let doors = Doors::open("bodies:application");
        for answer in doors.get("/a_list") {
            answer.is(200, "one,two,three");
            let head = [("Content-Type".to_owned(), "text/plain".to_owned())];
            assert_eq!(answer.headers, head, "{answer:#?}");
        }
        for answer in doors.get("/no_headers") {
            answer.is(200, "one,two,three");
            assert_eq!(answer.headers, [], "{answer:#?}");
        }
    }
}

mod close {
    use super::*;

    /// "If the iterable returned by the application has a close() method, the server or gateway must call
    /// that method upon completion of the current request, whether the request was completed normally,
    /// or terminated early due to an application error during iteration or an early disconnect".
    fn is_called_once(name: &str, check: impl Fn(&Answer)) {
        let doors = Doors::open("closing:application");
        let folder = TempDir::new().unwrap();
        for door in Door::ALL {
            let mark = folder.path().join(format!("{door:?}"));
            let request = get_with(&format!("/{name}"), &mark);
            let answer = doors.through(door, &request);
            check(&answer);
            wait_for_mark(&mark);
            drop(answer);
            assert_eq!(marks(&mark), 1, "{door:?} {name}");
        }
        doors.close();
        for door in Door::ALL {
            // Not a second time at the end of the process either.
            assert_eq!(marks(&folder.path().join(format!("{door:?}"))), 1);
        }
    }

    #[test]
    fn is_called_upon_completion() {
        is_called_once("whole", |answer| {
            answer.is(200, "one,two");
        });
        is_called_once("a_list", |answer| {
            answer.is(200, "one,two");
        });
    }

    #[test]
    fn is_called_when_nothing_was_yielded() {
        is_called_once("nothing", |answer| {
            answer.is(200, "");
        });
    }

    #[test]
    fn is_called_after_an_error_in_the_first_step() {
        is_called_once("error_at_once", |answer| {
            answer.is_error_page().logged("before the first block");
        });
    }

    #[test]
    fn is_called_after_an_error_in_the_middle() {
        is_called_once("error_in_the_middle", |answer| {
            answer
                .is_cut_after(200, "one,")
                .logged("after the first block");
        });
    }

    #[test]
    fn is_called_after_a_block_that_is_not_bytes() {
        is_called_once("a_str_in_the_middle", |answer| {
            answer.is_cut_after(200, "one,");
        });
    }

    #[test]
    fn is_called_when_start_response_never_was() {
        is_called_once("never_started", |answer| {
            answer.is_error_page();
        });
    }

    #[test]
    fn is_called_when_the_body_is_not_sent() {
        is_called_once("no_content", |answer| {
            answer.is(204, "");
        });
    }

    #[test]
    fn is_called_when_the_body_is_longer_than_content_length() {
        is_called_once("too_long", |answer| {
            answer.is(200, "one,");
        });
    }

    #[test]
    fn ends_a_generator() {
        is_called_once("a_generator", |answer| {
            answer.is(200, "one,two");
        });
    }

    #[test]
    fn of_middleware_reaches_the_inner_application() {
        is_called_once("middleware", |answer| {
            answer.is(200, "ONE,TWO");
        });
    }

    #[test]
    fn that_fails_is_logged_and_the_worker_lives() {
        let doors = Doors::open("closing:application");
        let folder = TempDir::new().unwrap();
        let mark = folder.path().join("mark");
        for answer in doors.ask(&get_with("/failing_close", &mark)) {
            answer.logged("close() itself failed");
            assert_eq!((answer.status, &*answer.text()), (200, "one,two"));
        }
        assert_eq!(marks(&mark), Door::ALL.len());
        let next = folder.path().join("next");
        doors.fastcgi(&get_with("/whole", &next)).is(200, "one,two");
    }

    #[test]
    fn is_called_when_the_client_has_left() {
        for name in ["endless", "endless_write"] {
            let folder = TempDir::new().unwrap();
            let mark = folder.path().join("fastcgi");
            let gateway = Gateway::start("closing:application", &[]);
            let mut connection = Connection::open(gateway.socket());
            connection.write(&get_with(&format!("/{name}"), &mark).bytes());
            assert_eq!(connection.read_record().unwrap().kind, STDOUT);
            drop(connection);
            wait_for_mark(&mark);
            // The worker is free again.
            let next = folder.path().join("next");
            let response = fetch(gateway.socket(), &get_with("/whole", &next));
            assert_eq!(response.expect(200).text(), "one,two");
            let log = gateway.terminate().log;
            assert!(
                !log.contains("Traceback"),
                "a client that leaves is no error: {log}"
            );

            let mark = folder.path().join("cgi");
            let request = get_with(&format!("/{name}"), &mark);
            let mut cgi = Cgi::new("closing:application", &request).spawn();
            cgi.wait_for_stdout(b"xxxxxxxx");
            cgi.leave();
            wait_for_mark(&mark);
            let output = cgi.finish();
            assert!(output.code >= 0, "ended by a signal: {output:?}");
            assert!(!output.stderr.contains("Traceback"), "{}", output.stderr);
        }
    }

    #[test]
    fn is_called_for_head_requests_too() {
        let doors = Doors::open("closing:application");
        let folder = TempDir::new().unwrap();
        let mark = folder.path().join("mark");
        let request = get_with("/whole", &mark).param("REQUEST_METHOD", "HEAD");
        for answer in doors.ask(&request) {
            answer.is(200, "");
        }
        doors.close();
        assert_eq!(marks(&mark), Door::ALL.len());
    }
}

mod start_response {
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
}

mod status {
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
}

mod headers {
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
}

mod write {
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
}

mod content_length {
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
}

mod error_handling {
    use super::*;

    #[test]
    fn before_the_head_left_becomes_a_500_page_and_a_traceback_in_the_log() {
        let doors = Doors::open("failing:application");
        for name in ["at_once", "after_start", "in_the_first_step", "in_iter"] {
            for answer in doors.get(&format!("/{name}")) {
                answer
                    .is_error_page()
                    .logged("Traceback (most recent call last)")
                    .logged("RuntimeError: the word that only the log may say");
                // wsgi.errors is where the web server's own log gets it from.
                let told = answer.told_the_web_server();
                assert!(told.contains("RuntimeError: the word"), "{answer:#?}");
            }
        }
        for answer in doors.get("/recursion") {
            answer.is_error_page().logged("RecursionError");
        }
        for answer in doors.get("/message_not_latin1") {
            answer.is_error_page().logged("\u{20ac} and a lone");
        }
        doors.fastcgi(&Request::get("/fine")).is(200, "fine");
    }

    #[test]
    fn with_debug_shows_the_traceback_on_the_page() {
        let doors = Doors::open_with("failing:application", &["--debug"], &[]);
        for answer in doors.get("/at_once") {
            assert_eq!(answer.status, 500);
            assert!(answer.text().contains("Traceback"), "{answer:#?}");
            assert!(answer.text().contains("the word that only"), "{answer:#?}");
            assert_eq!(
                answer.header("Content-Type"),
                Some("text/plain; charset=utf-8")
            );
        }
        for answer in doors.get("/message_not_latin1") {
            assert!(answer.text().contains('\u{20ac}'), "{answer:#?}");
        }
    }

    #[test]
    fn after_the_head_left_cuts_the_response() {
        let doors = Doors::open("failing:application");
        for name in ["in_the_middle", "in_the_middle_with_length", "after_write"] {
            for answer in doors.get(&format!("/{name}")) {
                answer
                    .is_cut_after(200, "half")
                    .logged("RuntimeError: the word that only the log may say");
            }
        }
        doors.fastcgi(&Request::get("/fine")).is(200, "fine");
    }

    /// The client has all that was promised: it must not be told of a failure that did not touch it.
    #[test]
    fn after_the_last_promised_byte_takes_nothing_away() {
        let doors = Doors::open("failing:application");
        for answer in doors.get("/after_the_last_block") {
            assert_eq!(answer.status, 200, "{answer:#?}");
            assert_eq!(answer.text(), "whole", "{answer:#?}");
        }
        doors.fastcgi(&Request::get("/fine")).is(200, "fine");
    }

    /// A kept connection that was cut cannot be used again: it must be closed, not left waiting.
    #[test]
    fn closes_a_kept_connection_after_a_cut() {
        let gateway = Gateway::start("failing:application", &[]);
        let mut connection = Connection::open(gateway.socket());
        let response = connection.request(&Request::get("/in_the_middle").keep());
        assert_eq!(response.end, None, "{response:#?}");
        assert!(response.closed && !response.stdout_ended, "{response:#?}");
    }

    #[test]
    fn of_an_exit_or_an_interrupt_is_a_failed_request_and_the_worker_lives() {
        let doors = Doors::open("failing:application");
        for (name, word) in [
            ("exits", "SystemExit"),
            ("exits_with_zero", "SystemExit"),
            ("interrupts", "KeyboardInterrupt"),
            ("odd", "Odd"),
        ] {
            for answer in doors.get(&format!("/{name}")) {
                answer.is_error_page().logged(word);
            }
            doors.fastcgi(&Request::get("/fine")).is(200, "fine");
        }
        for answer in doors.get("/exits_in_the_middle") {
            answer.is_cut_after(200, "half");
        }
        doors.fastcgi(&Request::get("/fine")).is(200, "fine");
    }

    #[test]
    fn on_a_head_request_has_no_body_in_its_page() {
        let doors = Doors::open("failing:application");
        let request = Request::get("/at_once").param("REQUEST_METHOD", "HEAD");
        for answer in doors.ask(&request) {
            assert_eq!((answer.status, &*answer.text()), (500, ""), "{answer:#?}");
        }
    }
}

mod input_stream {
    use super::*;

    const BODY: &str = "first line\nsecond\n\nlast without end";

    /// The way of reading, and what Python shows of it: the semantics of io.BufferedIOBase.
    const WAYS: &[(&str, &str)] = &[
        ("all_of_it", r"b'first line\nsecond\n\nlast without end'"),
        (
            "all_by_minus_one",
            r"b'first line\nsecond\n\nlast without end'",
        ),
        ("all_by_none", r"b'first line\nsecond\n\nlast without end'"),
        (
            "nothing_by_zero",
            r"(b'', b'first line\nsecond\n\nlast without end')",
        ),
        (
            "by_three",
            r"[b'fir', b'st ', b'lin', b'e\ns', b'eco', b'nd\n', b'\nla', b'st ', b'wit', b'hou', b't e', b'nd']",
        ),
        (
            "more_than_there_is",
            r"(b'first line\nsecond\n\nlast without end', b'', b'', b'')",
        ),
        (
            "at_the_end",
            r"(b'first line\nsecond\n\nlast without end', b'', b'', b'', [], [])",
        ),
        (
            "lines",
            r"[b'first line\n', b'second\n', b'\n', b'last without end']",
        ),
        (
            "lines_of_four",
            r"[b'firs', b't li', b'ne\n', b'seco', b'nd\n', b'\n', b'last', b' wit', b'hout', b' end']",
        ),
        ("line_by_none", r"(b'first line\n', b'second\n')"),
        ("line_by_zero", r"(b'', b'first line\n')"),
        (
            "all_lines",
            r"[b'first line\n', b'second\n', b'\n', b'last without end']",
        ),
        (
            "all_lines_by_none",
            r"[b'first line\n', b'second\n', b'\n', b'last without end']",
        ),
        (
            "lines_with_hint",
            r"([b'first line\n'], [b'second\n', b'\n', b'last without end'])",
        ),
        (
            "iterated",
            r"[b'first line\n', b'second\n', b'\n', b'last without end']",
        ),
        (
            "mixed",
            r"(b'fi', b'rst line\n', b'second\n', b'\n', [b'last without end'])",
        ),
        ("has_no_more_than_the_four", "[]"),
        ("echo", BODY),
        ("while_answering", "FIRST LINE\nSECOND\n\nLAST WITHOUT END"),
        ("attributes", "True"),
    ];

    #[test]
    fn reads_like_a_buffered_file_in_every_way() {
        let doors = Doors::open("reading:application");
        for (name, shown) in WAYS {
            let request = Request::post(&format!("/{name}"), BODY.as_bytes());
            for answer in doors.ask(&request) {
                answer.is(200, shown);
            }
        }
    }

    #[test]
    fn of_a_request_without_a_body_is_empty() {
        let doors = Doors::open("reading:application");
        for length in ["", "0"] {
            let request = Request::get("/at_the_end").param("CONTENT_LENGTH", length);
            for answer in doors.ask(&request) {
                answer.is(200, "(b'', b'', b'', b'', [], [])");
            }
        }
    }

    /// "A server should not attempt to read past the client's specified Content-Length".
    #[test]
    fn ends_at_content_length_whatever_follows() {
        let doors = Doors::open("reading:application");
        for (name, shown) in [
            ("all_of_it", "b'first'"),
            ("more_than_there_is", "(b'first', b'', b'', b'')"),
            ("lines", "[b'first']"),
            ("iterated", "[b'first']"),
        ] {
            let request = Request::post(&format!("/{name}"), b"first line\nsecond\n")
                .param("CONTENT_LENGTH", "5");
            for answer in doors.ask(&request) {
                answer.is(200, shown);
            }
        }
    }

    #[test]
    fn carries_large_bodies_unaltered() {
        let doors = Doors::open("reading:application");
        let body: Vec<u8> = (0..251).cycle().take(3_000_000).collect();
        let shown = format!("{} {}", body.len(), crate::support::digest::adler32(&body));
        for name in ["checksum", "checksum_at_once"] {
            for answer in doors.ask(&Request::post(&format!("/{name}"), &body)) {
                answer.is(200, &shown);
            }
        }
    }

    #[test]
    fn need_not_be_read() {
        let doors = Doors::open("reading:application");
        let body = vec![b'x'; 1_000_000];
        for (name, shown) in [("unread", "unread"), ("partly", "xxx")] {
            for answer in doors.ask(&Request::post(&format!("/{name}"), &body)) {
                answer.is(200, shown);
            }
        }
        // What was not read must not be taken for the next request on the connection.
        let mut connection = Connection::open(doors.gateway().socket());
        for body in [&body[..], b"small"] {
            let request = Request::post("/unread", body).keep();
            assert_eq!(connection.request(&request).expect(200).text(), "unread");
        }
    }

    /// A body that stops early is a client that went away. b'' would make it look like a whole one.
    #[test]
    fn shorter_than_announced_is_an_os_error() {
        let doors = Doors::open("reading:application");
        for name in [
            "short_read",
            "short_pieces",
            "short_lines",
            "short_iteration",
            "short_readlines",
        ] {
            let request =
                Request::post(&format!("/{name}"), b"short").param("CONTENT_LENGTH", "50");
            for answer in doors.ask(&request) {
                answer.has_status(200);
                assert!(answer.text().starts_with("OSError: "), "{answer:#?}");
            }
        }
        let request = Request::post("/short_unhandled", b"short").param("CONTENT_LENGTH", "50");
        for answer in doors.ask(&request) {
            assert_ne!(answer.text(), "the body was whole", "{answer:#?}");
            assert_eq!(answer.status, 500, "{answer:#?}");
        }
    }

    /// More than `--buffer` holds: the error comes while reading on demand, not before the application.
    #[test]
    fn that_stops_in_the_middle_of_a_large_body_is_an_os_error() {
        let gateway = Gateway::start("reading:application", &[]);
        let mut connection = Connection::open(gateway.socket());
        let request = Request::post("/short_pieces", &[]).param("CONTENT_LENGTH", "300000");
        connection.write(&request.head());
        for _ in 0..4 {
            connection.write(&record(STDIN, 1, &[b'x'; 50_000], 0));
        }
        connection.write(&record(STDIN, 1, b"", 0));
        let response = connection.response(1).expect(200);
        assert!(response.text().starts_with("OSError: "), "{response:#?}");
    }

    #[test]
    fn lasts_until_close_has_run() {
        let doors = Doors::open("reading:application");
        let folder = TempDir::new().unwrap();
        let mark = folder.path().join("mark");
        let request = Request::post("/in_close", b"read in close()")
            .param("QUERY_STRING", mark.to_str().unwrap());
        for answer in doors.ask(&request) {
            answer.is(200, "sent");
        }
        doors.close();
        let read = fs::read_to_string(&mark).unwrap();
        assert_eq!(read, "read in close()".repeat(Door::ALL.len()));
    }

    #[test]
    fn is_dead_after_the_request() {
        let gateway = Gateway::start("reading:application", &[]);
        let mut connection = Connection::open(gateway.socket());
        let response = connection.request(&Request::post("/keep", b"of the first request").keep());
        assert_eq!(response.expect(200).text(), "of");
        let response = connection.request(&Request::post("/use_kept", b"of the second").keep());
        assert_eq!(
            response.expect(200).text(),
            ["ValueError"; 5].join(" "),
            "the next request's body must be out of reach"
        );

        let request = Request::post("/keep_until_exit", b"of the only request");
        let output = Cgi::new("reading:application", &request).run();
        assert_eq!(output.response().body, b"of");
        assert!(
            output.stderr.contains("after the request: ValueError"),
            "{output:#?}"
        );
    }
}

mod error_stream {
    use super::*;

    #[test]
    fn takes_text_and_carries_it_to_the_web_server_and_the_log() {
        let doors = Doors::open("errors:application");
        for (name, lines) in [
            ("write", &["plain line"][..]),
            ("printed", &["printed line"]),
            ("writelines", &["first line", "second line"]),
            ("flush", &["flushed line"]),
            ("unicode", &["euro \u{20ac}, e acute \u{e9}"]),
            ("without_newline", &["no newline at the end"]),
            ("several_lines", &["line one", "line two", "line three"]),
            (
                "traceback",
                &["LookupError: told by the application itself"],
            ),
            ("logging", &["through logging"]),
            ("in_the_iteration", &["before the block", "after the block"]),
        ] {
            for answer in doors.get(&format!("/{name}")) {
                answer.is(200, "said");
                for line in lines {
                    answer.logged(line);
                    let told = answer.told_the_web_server();
                    assert!(told.contains(line), "{name}: {line:?} is not in {told:?}");
                }
            }
        }
    }

    /// Native strings of undecodable bytes (PEP 383) are what os.environ and argv give.
    #[test]
    fn takes_what_cannot_be_encoded() {
        for answer in Doors::open("errors:application").get("/surrogate") {
            answer.is(200, "said").logged("byte ");
        }
    }

    #[test]
    fn takes_bytes_by_its_buffer() {
        let doors = Doors::open("errors:application");
        for answer in doors.get("/bytes_by_buffer") {
            answer.is(200, "31");
            for line in [
                "bytes \u{20ac}",
                "bytearray",
                "memoryview",
                "first bytes",
                "second bytes",
            ] {
                answer.logged(line);
                assert!(
                    answer.told_the_web_server().contains(line),
                    "{line}: {answer:?}"
                );
            }
        }
        for answer in doors.get("/text_over_buffer") {
            answer
                .is(200, "said")
                .logged("by codecs")
                .logged("by a wrapper")
                .logged("after both");
        }
    }

    #[test]
    fn has_what_programs_ask_of_sys_stderr() {
        let expected = "[('utf-8', 'backslashreplace', False, None, 'w', '<wsgi.errors>'), (False, False, True, False), \
                        (False, False, True, False), 'fileno', 'fileno']";
        for answer in Doors::open("errors:application").get("/as_stderr") {
            answer.is(200, expected).logged("told by warnings");
        }
    }

    #[test]
    fn says_which_of_its_two_sides_takes_what() {
        for answer in Doors::open("errors:application").get("/wrong_kinds") {
            answer.has_status(200);
            let text = answer.text();
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!(lines.len(), 5, "{text}");
            for (line, kind) in
                lines
                    .iter()
                    .zip(["'bytes'", "'NoneType'", "'int'", "'str'", "'int'"])
            {
                assert!(
                    line.contains(kind) && line.contains("wsgi.errors"),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn takes_no_bytes() {
        for answer in Doors::open("errors:application").get("/bytes_are_refused") {
            answer.is(200, "TypeError");
        }
    }

    #[test]
    fn carries_a_large_text_whole() {
        let doors = Doors::open("errors:application");
        for answer in doors.get("/large") {
            answer.is(200, "said").logged("0012499");
            let told = answer.told_the_web_server();
            for number in [0, 1, 6249, 12498, 12499] {
                assert!(told.contains(&format!("{number:07}\n")), "{number}");
            }
        }
        // HAProxy 2.6 dies of one large FCGI_STDERR record.
        let response = fetch(doors.gateway().socket(), &Request::get("/large"));
        let longest = response.stderr_records.iter().max().unwrap();
        assert!(*longest <= 8192, "{:?}", response.stderr_records);
        assert!(response.stderr.len() >= 100_000);
    }
}

mod file_wrapper {
    use super::*;

    fn digits(size: usize) -> Vec<u8> {
        b"0123456789".iter().copied().cycle().take(size).collect()
    }

    /// A file of that size, and both doors' answers to each of the paths.
    fn sends(names: &[&str], size: usize, expected: impl Fn(&[u8]) -> Vec<u8>) {
        let doors = Doors::open("files:application");
        for name in names {
            for door in Door::ALL {
                // A file of its own for each: some applications change it.
                let folder = TempDir::new().unwrap();
                let file = folder.path().join("digits");
                fs::write(&file, digits(size)).unwrap();
                let request = get_with(&format!("/{name}"), &file);
                let answer = doors.through(door, &request);
                let expected = expected(&digits(size));
                assert!(
                    answer.has_status(200).body == expected,
                    "{door:?} {name}: {} bytes instead of {}: {answer:#?}",
                    answer.body.len(),
                    expected.len()
                );
            }
        }
    }

    #[test]
    fn is_a_class() {
        for answer in Doors::open("files:application").get("/a_class") {
            answer.is(200, "a class");
        }
    }

    #[test]
    fn sends_a_real_file() {
        let names = [
            "plain",
            "unbuffered",
            "without_size",
            "tiny_blocks",
            "exact_length",
        ];
        sends(&names, 100_003, <[u8]>::to_vec);
    }

    /// Sizes around a record's content (65,535), an aligned one (65,528) and a pipe's buffer.
    #[test]
    fn sends_files_of_every_size() {
        for size in [
            0, 1, 65_527, 65_528, 65_529, 65_535, 65_536, 65_537, 131_056,
        ] {
            sends(&["plain"], size, <[u8]>::to_vec);
        }
        sends(&["plain"], 5_000_000, <[u8]>::to_vec);
    }

    /// The current position is Python's, which its buffer has read past.
    #[test]
    fn sends_from_the_current_offset() {
        sends(&["after_five"], 100_003, |all| all[5..].to_vec());
        sends(&["after_all"], 100_003, |_| Vec::new());
    }

    #[test]
    fn sends_anything_with_a_read_method() {
        let names = ["bytes_io", "only_read", "zipped"];
        sends(&names, 100_003, <[u8]>::to_vec);
    }

    /// GzipFile.fileno() is the compressed file's.
    #[test]
    fn sends_what_read_gives_and_not_what_lies_on_the_disk() {
        sends(&["zipped_file"], 100_003, <[u8]>::to_vec);
        sends(&["appended"], 100_003, |all| [all, b"the end"].concat());
    }

    #[test]
    fn sends_temporary_files() {
        let names = ["temporary", "named_temporary", "spooled", "rolled_over"];
        sends(&names, 100_003, <[u8]>::to_vec);
    }

    #[test]
    fn sends_from_a_pipe() {
        sends(&["pipe"], 100_003, |all| all[..4096].to_vec());
    }

    #[test]
    fn sends_after_what_was_written() {
        sends(&["after_write"], 100_003, |all| [b"written:", all].concat());
    }

    #[test]
    fn is_an_iterable_for_middleware() {
        sends(&["through_middleware"], 100_003, |all| {
            all.iter()
                .map(|byte| if *byte == b'0' { b'x' } else { *byte })
                .collect()
        });
        sends(&["range_of_it"], 100_003, |all| all[..10].to_vec());
    }

    #[test]
    fn sends_no_more_than_content_length() {
        sends(&["length_shorter"], 100_003, |all| all[..7].to_vec());
        sends(&["length_shorter_after_five"], 100_003, |all| {
            all[5..12].to_vec()
        });
    }

    /// It is how a Range is answered.
    #[test]
    fn of_which_a_part_is_sent_is_no_error() {
        let doors = Doors::open("files:application");
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("digits");
        fs::write(&file, digits(100_003)).unwrap();
        for name in ["length_shorter", "length_shorter_in_memory"] {
            let request = get_with(&format!("/{name}"), &file);
            doors.fastcgi(&request).is(200, "0123456");
            let answer = doors.cgi(&request);
            answer.is(200, "0123456");
            assert_eq!(answer.errors(), "", "{name}");
        }
        let log = doors.close();
        assert!(!log.contains("error"), "{log}");
    }

    #[test]
    fn with_less_than_content_length_cuts_the_connection() {
        let doors = Doors::open("files:application");
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("digits");
        fs::write(&file, digits(1000)).unwrap();
        for answer in doors.ask(&get_with("/length_longer", &file)) {
            let body = String::from_utf8(digits(1000)).unwrap();
            answer.is_cut_after(200, &body).logged("Content-Length");
        }
    }

    #[test]
    fn closes_the_file_once_on_every_path() {
        for (name, method, status, length) in [
            ("marked", "GET", 200, 1000),
            ("marked", "HEAD", 200, 0),
            ("marked_short_length", "GET", 200, 7),
            ("no_content", "GET", 204, 0),
            ("plain_open_file", "GET", 200, 1000),
        ] {
            let doors = Doors::open("files:application");
            let folder = TempDir::new().unwrap();
            let file = folder.path().join("digits");
            fs::write(&file, digits(1000)).unwrap();
            let request = get_with(&format!("/{name}"), &file).param("REQUEST_METHOD", method);
            for answer in doors.ask(&request) {
                answer.has_status(status);
                assert_eq!(answer.body.len(), length, "{answer:#?}");
            }
            doors.close();
            let mark = folder.path().join("digits.closed");
            assert_eq!(marks(&mark), Door::ALL.len(), "{name} {method}");
        }
    }

    /// The gateway must not go on with a file of which nobody reads the rest.
    #[test]
    fn stops_when_the_client_has_left() {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("digits");
        fs::write(&file, digits(20_000_000)).unwrap();
        let gateway = Gateway::start("files:application", &[]);
        let mut connection = Connection::open(gateway.socket());
        connection.write(&get_with("/marked", &file).bytes());
        assert_eq!(connection.read_record().unwrap().kind, STDOUT);
        drop(connection);
        wait_for_mark(&folder.path().join("digits.closed"));
        let response = fetch(gateway.socket(), &get_with("/a_class", &file));
        assert_eq!(response.expect(200).text(), "a class");
    }
}

mod environ {
    use super::*;

    #[test]
    fn is_a_builtin_dict_of_native_strings() {
        for answer in Doors::open("dump:application").get("/types") {
            let text = answer.has_status(200).text();
            let types: Vec<&str> = text.lines().collect();
            for line in [
                "type(environ)='dict'",
                "type(name)=['str']",
                "PATH_INFO='str'",
                "QUERY_STRING='str'",
                "REQUEST_METHOD='str'",
                "SCRIPT_NAME='str'",
                "SERVER_NAME='str'",
                "SERVER_PORT='str'",
                "SERVER_PROTOCOL='str'",
                "wsgi.version='tuple'",
                "wsgi.url_scheme='str'",
                "wsgi.multithread='bool'",
                "wsgi.multiprocess='bool'",
                "wsgi.run_once='bool'",
                "wsgi.file_wrapper='type'",
            ] {
                assert!(types.contains(&line), "{line} is not in {answer:#?}");
            }
            for name in ["wsgi.input", "wsgi.errors"] {
                assert!(text.contains(&format!("\n{name}=")), "{answer:#?}");
            }
            for line in types {
                let (name, kind) = line.split_once('=').unwrap();
                if name.chars().all(|c| c.is_ascii_uppercase() || c == '_') {
                    assert_eq!(kind, "'str'", "{name}");
                }
            }
        }
    }

    /// "The environ dictionary ... must be a builtin Python dictionary ... and the application is allowed to
    /// modify the dictionary in any way it desires."
    #[test]
    fn belongs_to_one_request() {
        let gateway = Gateway::start("dump:application", &[]);
        let mut connection = Connection::open(gateway.socket());
        let mut seen = Vec::new();
        for _ in 0..3 {
            let response = connection.request(&Request::get("/spoils").keep());
            seen.push(response.expect(200).text());
        }
        assert!(seen[0].starts_with("[] False "), "{seen:?}");
        assert!(seen[0].ends_with(" */*"), "{seen:?}");
        assert_eq!(seen[0], seen[1]);
        assert_eq!(seen[1], seen[2]);
        let response = connection.request(&Request::get("/values").keep());
        let values = response.expect(200).text();
        assert!(values.contains("wsgi.version=(1, 0)"), "{values}");
        assert!(values.contains("HTTP_USER_AGENT='suite'"), "{values}");
    }

    #[test]
    fn tells_about_threads_and_processes() {
        let flags = |answer: &Answer| {
            answer
                .has_status(200)
                .text()
                .lines()
                .filter(|line| line.starts_with("wsgi.mult") || line.starts_with("wsgi.run_once"))
                .collect::<Vec<_>>()
                .join(" ")
        };
        let [fastcgi, cgi, _] = Doors::open("dump:application").get("/values");
        assert_eq!(
            flags(&fastcgi),
            "wsgi.multiprocess=True wsgi.multithread=False wsgi.run_once=False"
        );
        assert_eq!(
            flags(&cgi),
            "wsgi.multiprocess=True wsgi.multithread=False wsgi.run_once=True"
        );
        let gateway = Gateway::start("dump:application", &["--threads", "2"]);
        let values = fetch(gateway.socket(), &Request::get("/values"));
        let values = values.expect(200).text();
        assert!(values.contains("wsgi.multithread=True"), "{values}");
        // Also of one worker: its successor is there before it leaves.
        assert!(values.contains("wsgi.multiprocess=True"), "{values}");
    }

    /// "URL Reconstruction".
    #[test]
    fn is_enough_to_rebuild_the_url() {
        let doors = Doors::open("dump:application");
        let base = || Request::get("/rebuilt_url/a%20b").param("QUERY_STRING", "x=1&y=%20");
        for (request, urls) in [
            (
                base(),
                "http://localhost/ http://localhost/rebuilt_url/a%20b?x=1&y=%20",
            ),
            (
                base()
                    .param("SCRIPT_NAME", "/mount")
                    .param("REQUEST_URI", "/mount/rebuilt_url/a%20b?x=1&y=%20")
                    .param("HTTPS", "on")
                    .param("SERVER_PORT", "8443")
                    .without("HTTP_HOST"),
                "https://localhost:8443/mount https://localhost:8443/mount/rebuilt_url/a%20b?x=1&y=%20",
            ),
            (
                base().param("HTTP_HOST", "example.org:81"),
                "http://example.org:81/ http://example.org:81/rebuilt_url/a%20b?x=1&y=%20",
            ),
        ] {
            for answer in doors.ask(&request) {
                answer.is(200, urls);
            }
        }
    }
}

mod middleware {
    use super::*;

    #[test]
    fn around_middleware_works() {
        for answer in Doors::open("middleware:application").get("/") {
            answer.is(200, "OUTER INNER  END");
            let headers: Vec<_> = answer.headers.iter().map(|(n, v)| (&**n, &**v)).collect();
            assert_eq!(
                headers,
                [
                    ("Content-Type", "text/plain"),
                    ("X-Inner", "yes"),
                    ("X-Passed", "inner"),
                    ("X-Passed", "outer"),
                ]
            );
        }
    }
}

mod threads {
    use super::*;

    /// "Thread Support": an application that waits must not stop the others of its process.
    #[test]
    fn serve_while_another_request_waits() {
        let gateway = Gateway::start("streaming:application", &["--threads", "2"]);
        let folder = TempDir::new().unwrap();
        let slow = Fifo::new(folder.path().join("slow"));
        let quick = Fifo::new(folder.path().join("quick"));
        let mut waiting = Connection::open(gateway.socket());
        waiting.write(&get_with("/blocks", slow.path()).bytes());
        assert_eq!(waiting.read_record().unwrap().kind, STDOUT);
        quick.go();
        quick.go();
        let response = fetch(gateway.socket(), &get_with("/blocks", quick.path()));
        assert_eq!(response.expect(200).text(), "first,second,third");
        slow.go();
        slow.go();
        let rest = std::iter::from_fn(|| waiting.read_record());
        assert_eq!(rest.last().unwrap().kind, END_REQUEST);
    }
}

/// Importing `signal` is enough for CPython to take SIGINT for itself, and it would wait for the main thread's next
/// bytecode to act on it: the operator's Ctrl-C must end the gateway all the same.
#[test]
fn sigint_ends_a_gateway_whose_application_imported_signal() {
    let gateway = Gateway::start("ending:application", &[]);
    fetch(gateway.socket(), &Request::get("/handlers")).expect(200);
    gateway.signal(Signal::SIGINT);
    let log = gateway.wait().log;
    assert!(!log.contains("KeyboardInterrupt"), "{log}");
}

/// A signal that the operator sends to a gateway which serves must not become a KeyboardInterrupt in the
/// application: Python's own handlers are not installed.
#[test]
fn sigterm_lets_the_request_in_flight_finish() {
    let folder = TempDir::new().unwrap();
    let fifo = Fifo::new(folder.path().join("go"));
    let gateway = Gateway::start("streaming:application", &[]);
    let mut connection = Connection::open(gateway.socket());
    connection.write(&get_with("/blocks", fifo.path()).bytes());
    let first = connection.read_record().unwrap();
    assert!(first.content.ends_with(b"first,"), "{first:?}");
    gateway.signal(Signal::SIGTERM);
    fifo.go();
    fifo.go();
    let mut rest = Vec::new();
    let mut last = 0;
    while let Some(record) = connection.read_record() {
        last = record.kind;
        let mut content = &record.content[..];
        if record.kind == STDOUT {
            content.read_to_end(&mut rest).unwrap();
        }
    }
    assert_eq!(String::from_utf8_lossy(&rest), "second,third");
    assert_eq!(last, END_REQUEST);
    assert_eq!(gateway.wait().code, 0);
}
