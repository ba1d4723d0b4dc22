//! The formats, as tables; and that nothing that comes with a request can make two lines of one, or a word of a value.

use std::time::Duration;

use super::is_skipped;
use super::line::AccessEntry;
use crate::config::AccessFormat;
use crate::gateway::{FailureKind, RequestFigures, Variables};

fn variables(pairs: &[(&str, &[u8])]) -> Variables {
    let mut variables = Variables::new();
    for (name, value) in pairs {
        variables.push(name.as_bytes(), value);
    }
    variables
}

fn ordinary() -> Variables {
    variables(&[
        ("REQUEST_METHOD", b"GET"),
        ("REQUEST_URI", b"/a/b?c=d"),
        ("SERVER_PROTOCOL", b"HTTP/1.1"),
        ("SERVER_NAME", b"example.org"),
        ("REMOTE_ADDR", b"192.0.2.1"),
        ("REMOTE_USER", b"joe"),
        ("HTTP_REFERER", b"http://r/"),
        ("HTTP_USER_AGENT", b"curl \"8\""),
    ])
}

fn entry(variables: &Variables) -> AccessEntry<'_> {
    AccessEntry {
        variables,
        figures: RequestFigures {
            waited: 250_000_000,
            status: Some(200),
            sent: 1234,
            received: 5,
            ..RequestFigures::default()
        },
        begun: Duration::from_millis(971_186_136_123),
        duration: 6_002_345_678,
        first: Some(1_234_567),
        cpu: Some(3_001_172_839),
        grown: 3 << 20,
        memory: 61 << 20,
        id: "7f3a",
        name: "shop",
        pid: 823,
        worker: 3,
        thread: 1,
    }
}

fn line(entry: &AccessEntry<'_>, format: &str) -> String {
    let mut out = Vec::new();
    entry.write(&AccessFormat::parse(format).unwrap(), &mut out);
    let line = String::from_utf8(out).unwrap();
    line.strip_suffix('\n').unwrap().to_owned()
}

#[test]
fn each_letter_has_its_value() {
    let variables = ordinary();
    let entry = entry(&variables);
    for (format, expected) in [
        (
            "time",
            "2000-10-10T13:55:36.123Z shop 3.1 GET /a/b?c=d 200 1234B 6.002s wait=0.250 first=0.001 cpu=3.001 rss=+3M id=7f3a",
        ),
        (
            "common",
            "192.0.2.1 - joe [10/Oct/2000:13:55:36 +0000] \"GET /a/b?c=d HTTP/1.1\" 200 1234",
        ),
        (
            "combined",
            "192.0.2.1 - joe [10/Oct/2000:13:55:36 +0000] \"GET /a/b?c=d HTTP/1.1\" 200 1234 \"http://r/\" \"curl \\\"8\\\"\"",
        ),
        ("%h|%a|%R", "192.0.2.1|192.0.2.1|192.0.2.1"),
        ("%l %u %n %v", "- joe shop example.org"),
        ("%m %U %q %U%Q%q %H", "GET /a/b ?c=d /a/b?c=d HTTP/1.1"),
        ("%s %>s %b %B", "200 200 1234 1234"),
        ("%D %T %{ms}T %{us}T", "6002345 6 6002 6002345"),
        ("%d %{milli}d %{micro}d", "6.002 6002.345 6002345"),
        ("%{queue}d %{first}d", "0.250 0.001"),
        ("%M %{kilo}M %{mega}M", "63963136 62464 61"),
        ("%C%%", "50.00%"),
        (
            "%{sec}t %{msec}t %{usec}t %{iso}t",
            "971186136 971186136123 971186136123000 2000-10-10T13:55:36.123Z",
        ),
        ("%P %W %{id}x %L %X", "823 3.1 7f3a 7f3a -"),
        (
            "%{User-Agent}i %{REMOTE_ADDR}e %{X}i",
            "curl \\\"8\\\" 192.0.2.1 -",
        ),
    ] {
        assert_eq!(line(&entry, format), expected, "{format}");
    }
}

#[test]
fn what_is_not_known_is_a_dash() {
    let nothing = Variables::new();
    let mut entry = entry(&nothing);
    entry.figures = RequestFigures {
        was_left: true,
        failure: Some(FailureKind::AfterHead),
        ..RequestFigures::default()
    };
    (entry.first, entry.cpu, entry.grown) = (None, None, 0);
    assert_eq!(
        line(&entry, "time"),
        "2000-10-10T13:55:36.123Z shop 3.1 - - - 0B 6.002s wait=0.000 first=6.002 cpu=- rss=+0 id=7f3a left failed=after_head"
    );
    assert_eq!(line(&entry, "%h %u %s %b %B %C %X"), "- - - - 0 - X");
    entry.grown = 12 << 10;
    assert!(line(&entry, "time").contains(" rss=+12K "));
    let paths = variables(&[
        ("SCRIPT_NAME", b"/s"),
        ("PATH_INFO", b"/p"),
        ("QUERY_STRING", b"q"),
    ]);
    entry.variables = &paths;
    assert_eq!(line(&entry, "%U%q"), "/s/p?q");
}

#[test]
fn nothing_ends_a_line_or_a_string_but_its_end() {
    let all: Vec<u8> = (0..=255).collect();
    let variables = variables(&[
        ("REQUEST_METHOD", b"GET\n"),
        ("REQUEST_URI", &all),
        ("REMOTE_ADDR", &all),
        ("REMOTE_USER", &all),
        ("SERVER_PROTOCOL", &all),
        ("HTTP_REFERER", &all),
        ("HTTP_USER_AGENT", b"\" 200 1 \"\\"),
    ]);
    let entry = entry(&variables);
    for format in [
        "time",
        "common",
        "combined",
        "json",
        "%U %q \"%{Referer}i\"",
    ] {
        let line = line(&entry, format);
        assert!(!line.contains(|it: char| it.is_control()), "{line}");
        assert!(!line.contains(['\u{2028}', '\u{2029}']), "{line}");
    }
    let combined = line(&entry, "combined");
    // Of quotation marks that no backslash has made part of a string there are those of the format.
    let mut marks = 0;
    let mut is_escaped = false;
    for character in combined.chars() {
        marks += usize::from(character == '"' && !is_escaped);
        is_escaped = character == '\\' && !is_escaped;
    }
    assert_eq!(marks, 6, "{combined}");
    let own = line(&entry, "time");
    let words: Vec<&str> = own.split(' ').collect();
    assert_eq!((words.len(), words[3]), (13, "GET\\x0a"), "{own}");
}

#[test]
fn json_is_json() {
    let variables = ordinary();
    let mut entry = entry(&variables);
    let read = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
    let found = read(&line(&entry, "json"));
    for (key, value) in [
        ("time", "\"2000-10-10T13:55:36.123Z\""),
        ("name", "\"shop\""),
        ("client", "\"192.0.2.1\""),
        ("path", "\"/a/b\""),
        ("query", "\"c=d\""),
        ("agent", "\"curl \\\"8\\\"\""),
        ("status", "200"),
        ("sent", "1234"),
        ("duration", "6.002345"),
        ("wait", "0.25"),
        ("cpu", "3.001172"),
        ("worker", "3"),
        ("id", "\"7f3a\""),
    ] {
        assert_eq!(found[key].to_string(), value, "{key}");
    }
    let all: Vec<u8> = (0..=255).collect();
    let odd = self::variables(&[
        ("REQUEST_URI", &all),
        ("HTTP_HOST", "caf\u{e9}\u{2028}".as_bytes()),
        ("HTTP_REFERER", &[b'\n'; 100_000]),
    ]);
    entry.variables = &odd;
    entry.figures.status = None;
    let text = line(&entry, "json");
    let found = read(&text);
    assert!(text.len() < 16 * 1024, "{}", text.len());
    assert_eq!(found["host"], "caf\u{e9}\u{2028}");
    assert!(found["path"].as_str().unwrap().starts_with("\0\u{1}"));
    assert!(found["query"].as_str().unwrap().ends_with("\u{fe}\u{ff}"));
    assert!(found["status"].is_null());
}

#[test]
fn long_values_are_cut_and_a_line_has_its_end() {
    let long = [b'\xff'; 100_000];
    let variables = variables(&[("REQUEST_URI", &long), ("A", &long)]);
    let entry = entry(&variables);
    assert!(line(&entry, "%U").len() <= 4 * 2048 + 3);
    let format = "%{A}e".repeat(100);
    assert_eq!(line(&entry, &format).len(), 56 * 1024);
}

#[test]
fn paths_that_are_skipped_have_no_line() {
    let skip = ["/ping".to_owned(), "/static/*".to_owned()];
    for (uri, is_left_out) in [
        ("/ping", true),
        ("/ping?a=/b", true),
        ("/ping/", false),
        ("/static/a.css", true),
        ("/static", false),
        ("/", false),
    ] {
        let variables = variables(&[("REQUEST_URI", uri.as_bytes())]);
        assert_eq!(is_skipped(&skip, &variables), is_left_out, "{uri}");
    }
    let parts = variables(&[("SCRIPT_NAME", b"/static"), ("PATH_INFO", b"/a")]);
    assert!(is_skipped(&skip, &parts));
}
