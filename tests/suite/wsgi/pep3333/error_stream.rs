//! "Input and Error Streams": `wsgi.errors`.

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
        for (line, kind) in lines
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
