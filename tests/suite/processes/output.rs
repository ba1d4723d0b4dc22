//! `--worker-output raw` and `--log-format json`: logs that programs read.

use std::fs;
use std::io::Read;

use crate::support::client::{Connection, Request, fetch};
use crate::support::gateway::{Builder, Gateway, open_unwaiting};
use crate::support::json::members;
use crate::support::load::Load;

/// The lines that the application wrote, as JSON, out of a log.
fn objects(log: &str) -> Vec<&str> {
    log.lines().filter(|line| line.starts_with('{')).collect()
}

/// Has Python read all of these lines as JSON, and gives what it says of the list `d`.
fn asked(lines: &[&str], expression: &str) -> String {
    members(&format!("[{}]", lines.join(",\n")), expression)
        .trim_end()
        .to_owned()
}

fn raw(options: &[&str]) -> Builder {
    Gateway::builder("output.py")
        .args(["--worker-output", "raw"])
        .args(options)
}

/// More than a pipe holds, from several workers at once, and not one line has another's bytes in it.
#[test]
fn raw_lines_of_many_workers_stay_whole() {
    for options in [&["--workers", "3"][..], &["--workers", "2", "--preload"]] {
        let builder = raw(options);
        let folder = builder.folder();
        // Not a pipe: how soon its reader comes is not for this to depend on.
        let path = folder.path().join("log");
        let gateway = builder.arg("--log-file").arg(&path).start();
        for (load, requests) in [("/?lines=200000", 12), ("/?lines=100", 100)] {
            let load = Load::on(&gateway, load).requests(requests);
            load.run().expect_none_lost();
        }
        gateway.terminate();
        let log = fs::read_to_string(path).unwrap();
        let lines = objects(&log);
        assert_eq!(lines.len(), 2 * 112, "{options:?}");
        let lengths =
            "sorted({len(o['data']) for o in d}), all(set(o['data']) == {'x'} for o in d)";
        assert_eq!(asked(&lines, lengths), "[100, 200000] True");
        assert!(!log.contains(": {"), "decorated");
        assert!(log.contains(" is ready\n"));
    }
}

#[test]
fn a_raw_line_is_as_long_as_a_mebibyte() {
    let builder = raw(&[]);
    let folder = builder.folder();
    let path = folder.path().join("log");
    let gateway = builder.arg("--log-file").arg(&path).start();
    fetch(gateway.socket(), &Request::get("/?lines=1048000")).expect(200);
    gateway.terminate();
    let log = fs::read_to_string(path).unwrap();
    let lines = objects(&log);
    assert_eq!(
        asked(&lines, "[len(o['data']) for o in d]"),
        "[1048000, 1048000]"
    );
}

/// What a worker had begun to say when it died is a line, and nothing is glued to it.
#[test]
fn half_a_raw_line_is_written_when_its_worker_dies() {
    let gateway = raw(&[]).start();
    gateway.wait_until_ready(1);
    let mut connection = Connection::open(gateway.socket());
    connection.write(&Request::get("/?half").bytes());
    gateway.wait_for_log("killed by signal");
    let log = gateway.log();
    assert!(log.lines().any(|line| line == r#"{"half": 1}"#), "{log}");
}

/// Who reads the log has stopped in the middle of a long line: requests go on, and when it reads again no line is glued to half
/// a line.
#[test]
fn a_reader_that_stops_in_a_raw_line_holds_nobody_up() {
    let builder = raw(&["--log-format", "json"]);
    let path = builder.folder().path().join("log");
    let gateway = builder
        .env("TEST_LOG", &path)
        .shell("mkfifo \"$TEST_LOG\"; exec \"$@\" 2<>\"$TEST_LOG\"")
        .start();
    for _ in 0..10 {
        fetch(gateway.socket(), &Request::get("/?lines=200000")).expect(200);
    }
    let mut log = open_unwaiting(&path);
    let mut text = Vec::new();
    let text = gateway.wait_for("a word about the lost lines", || {
        // Ends with an error: nothing is there for the moment.
        let _ = log.read_to_end(&mut text);
        fetch(gateway.socket(), &Request::get("/?lines=10")).expect(200);
        let text = String::from_utf8_lossy(&text).into_owned();
        (text.contains(" lines of the log were lost") && text.ends_with('\n')).then_some(text)
    });
    // But for the halves.
    let lines: Vec<&str> = text.lines().filter(|line| line.ends_with('}')).collect();
    let lost = "[o for o in d if 'lines of the log were lost' in o.get('message', '')] != []";
    assert_eq!(asked(&lines, lost), "True");
}

#[test]
fn every_message_is_a_json_object() {
    for options in [&["--threads", "2"][..], &["--preload"]] {
        let gateway = Gateway::builder("output.py")
            .args(["--log-format", "json", "--log-level", "debug"])
            .args(options)
            .start();
        fetch(gateway.socket(), &Request::get("/?bytes")).expect(500);
        fetch(gateway.socket(), &Request::get("/?lines=9000")).expect(200);
        gateway.reload();
        let exit = gateway.terminate();
        let lines: Vec<&str> = exit.log.lines().collect();
        let keys = "sorted({tuple(o) for o in d if 'worker' in o}), {tuple(o) for o in d if 'worker' not in o}";
        let expected = "[('time', 'level', 'name', 'pid', 'worker', 'id', 'message', 'traceback'), \
                        ('time', 'level', 'name', 'pid', 'worker', 'message')] \
                        {('time', 'level', 'name', 'pid', 'message')}";
        assert_eq!(asked(&lines, keys), expected);
        // A traceback is one record.
        let traceback = "sum('ValueError: two\\nlines' in o.get('traceback', '') for o in d)";
        assert_eq!(asked(&lines, &traceback.replace("\\n", "\\x0a")), "1");
        let quoted = r#"sum('"quoted" \ufffd\u2028 \\ ' + chr(0x1f600) + '\ttab' in o['message'] for o in d)"#;
        assert_eq!(asked(&lines, quoted), "1");
        let odd = "[o['level'] for o in d if '[31m' in o['message']]";
        assert_eq!(asked(&lines, odd), "['info']");
    }
}

/// What keeps it from starting is one, too, and so is a word about the log file.
#[test]
fn even_the_last_message_is_a_json_object() {
    let exit = Gateway::builder("broken_at_import.py")
        .args(["--log-format", "json"])
        .run();
    assert_eq!(exit.code, 3, "{}", exit.log);
    let lines: Vec<&str> = exit.log.lines().collect();
    let loads = "'Traceback' in str([o.get('traceback') for o in d])";
    assert_eq!(asked(&lines, loads), "True");
    let gateway = Gateway::start("hello", &["--log-format=json", "--log-file=/dev/full"]);
    gateway.wait_for_log("No space left");
    let exit = gateway.terminate();
    let lines: Vec<&str> = exit.log.lines().collect();
    assert_eq!(asked(&lines, "all('level' in o for o in d)"), "True");
}
