//! What the log says, at which level, and in which form: for people, for programs, and for systemd's journal.

use std::fs;
use std::process::Command;
use std::time::Instant;

use tempfile::TempDir;

use crate::support::cgi::Cgi;
use crate::support::client::{Connection, Request, fetch};
use crate::support::gateway::{DEADLINE, Gateway, binary, python};
use crate::support::json::members;

/// The messages of a log in JSON, each as what the expression makes of the object `o`.
fn each(log: &str, expression: &str) -> Vec<String> {
    let objects: Vec<&str> = log.lines().collect();
    let all = format!("'\\n'.join(str({expression}) for o in d)");
    let text = members(&format!("[{}]", objects.join(",\n")), &all);
    text.lines().map(str::to_owned).collect()
}

/// The level that each of its lines has.
fn says(gateway: &Gateway, request: &str) {
    fetch(gateway.socket(), &Request::get(request)).expect(200);
}

#[test]
fn the_application_says_at_which_level_it_speaks() {
    for format in [
        "%(levelname)s:%(name)s:%(message)s",
        "[%(asctime)s] [%(process)d] [%(levelname)s] %(message)s",
        "%(asctime)s - %(name)s - %(levelname)s - %(message)s",
        "time=%(created)f level=%(levelname)s msg=\"%(message)s\"",
    ] {
        let gateway = Gateway::builder("levels.py")
            .env("TEST_FORMAT", format)
            .start();
        says(&gateway, "/logs");
        for (level, words) in [
            ("debug", "a word of debug"),
            ("info", "a word of info"),
            ("warn", "a word of warning"),
            ("error", "a word of error"),
            ("error", "a word of critical"),
            ("info", "said by print"),
            ("info", "said on stderr"),
            ("warn", "by wsgi.errors"),
        ] {
            let line = gateway.wait_for_line(&[words]);
            let level = format!("] {level}: worker 1: ");
            assert!(line.contains(&level), "{level}, {line}");
        }
    }
}

/// Of a worker's dying words, of a thread's, and of the request's own.
#[test]
fn one_failure_is_one_message() {
    let gateway = Gateway::builder("levels.py")
        .args(["--log-format", "json"])
        .start();
    gateway.wait_until_ready(1);
    let worker = gateway.worker();
    says(&gateway, "/raises");
    let breaks = Request::get("/breaks").param("HTTP_X_REQUEST_ID", "it");
    fetch(gateway.socket(), &breaks).expect(500);
    let mut connection = Connection::open(gateway.socket());
    connection.write(&Request::get("/dies").bytes());
    gateway.wait_for_log("killed by signal");
    let log = gateway.terminate().log;
    let with_stack = "(o['level'], o['pid'], o['worker'], o['message'], o['traceback'].splitlines()[-1].strip()) \
                      if 'traceback' in o else ''";
    let failures: Vec<String> = each(&log, with_stack)
        .into_iter()
        .filter(|told| !told.is_empty())
        .collect();
    let expected = [
        "ERROR:shop:it failed",
        "Exception in thread helper:",
        "GET /breaks: the application failed (request it)",
    ]
    .map(|words| format!("('error', {worker}, 1, '{words}', 'ValueError: on purpose')"));
    assert_eq!(failures[..3], expected, "{log}");
    assert!(
        failures[3].starts_with(&format!(
            "('error', {worker}, 1, 'Fatal Python error: Segmentation fault', "
        )),
        "{log}"
    );
    assert_eq!(failures.len(), 4, "{log}");
    let warned = "o['level'] if 'UserWarning: old\\x0a  warnings.warn' in o['message'] else ''";
    assert!(each(&log, warned).contains(&"warn".to_owned()), "{log}");
    assert!(
        each(&log, "o.get('id')").contains(&"it".to_owned()),
        "{log}"
    );
    let name = "o['name'] == 'gateway'";
    assert!(!each(&log, name).contains(&"False".to_owned()), "{log}");
}

/// The journal knows the time, and wants a priority in front of each line.
#[test]
fn systemds_journal_gets_what_it_wants() {
    // As systemd says that standard error leads there.
    const JOURNAL: &str = r#"export JOURNAL_STREAM=$(stat -Lc %d:%i /proc/self/fd/2); exec "$@""#;
    let builder = Gateway::builder("levels.py").shell(JOURNAL);
    let gateway = builder.start();
    says(&gateway, "/logs");
    let breaks = Request::get("/breaks").param("HTTP_X_REQUEST_ID", "it");
    fetch(gateway.socket(), &breaks).expect(500);
    gateway.wait_for_log("<3>ValueError: on purpose\n");
    let log = gateway.terminate().log;
    for line in [
        "<6>worker 1: said by print",
        "<7>worker 1: DEBUG:shop:a word of debug",
        "<4>worker 1: WARNING:shop:a word of warning",
        "<3>worker 1: GET /breaks: the application failed (request it)",
        "<3>Traceback (most recent call last):",
    ] {
        assert!(log.lines().any(|told| told == line), "{line}: {log}");
    }
    let has_priority = |line: &str| line.starts_with('<') && line[2..].starts_with('>');
    assert!(log.lines().all(has_priority), "{log}");
    // The variable alone says nothing: it is inherited.
    let builder = Gateway::builder("levels.py").env("JOURNAL_STREAM", "1:2");
    let log = builder.start().terminate().log;
    assert!(log.lines().all(|line| !line.starts_with('<')), "{log}");
}

/// All that a program of CGI says, also with its last breath, and what it leaves behind.
#[test]
fn the_log_file_of_cgi_gets_everything() {
    let folder = TempDir::with_prefix("wsgi-gateway-test-logs-").unwrap();
    let log = folder.path().join("log");
    let ask = |path: &str| {
        Cgi::new("levels.py", &Request::get(path))
            .option("--log-file")
            .option(&log)
            .run()
    };
    let wait_for = |words: &str| {
        let until = Instant::now() + DEADLINE;
        loop {
            let text = fs::read_to_string(&log).unwrap_or_default();
            if text.contains(words) {
                return text;
            }
            assert!(Instant::now() < until, "{words} never came: {text}");
            std::thread::yield_now();
        }
    };
    assert_eq!(ask("/logs").response().body, b"said");
    let text = wait_for("by wsgi.errors\n");
    for words in [
        " debug: DEBUG:shop:a word of debug\n",
        " error: ERROR:shop:a word of error\n",
        " info: said by print\n",
        " info: said on stderr\n",
        " warn: WARNING:shop:by wsgi.errors\n",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let has_time_and_pid = |line: &str| line.starts_with("20") && line.contains("Z wsgi-gateway[");
    assert!(text.lines().all(has_time_and_pid), "{text}");
    let output = ask("/breaks");
    assert_eq!(
        (output.response().status, output.stderr.as_str()),
        (500, "")
    );
    let text = wait_for("ValueError: on purpose\n");
    assert!(
        text.contains(" error: GET /breaks: the application failed (request "),
        "{text}"
    );
    ask("/dies");
    let output = Cgi::new("no_such_module", &Request::get("/"));
    let output = output.option("--log-file").option(&log).run();
    assert_eq!((output.code, output.stderr.as_str()), (3, ""));
    wait_for("no_such_module");
}

/// Who looks on sees what is wrong, and who wants no colours gets none.
#[test]
fn there_are_colours_on_a_terminal_only() {
    const TERMINAL: &str = "import pty, sys; pty.spawn(sys.argv[1:])";
    let told = |variables: &[(&str, &str)]| {
        let output = Command::new(python())
            .args(["-c", TERMINAL])
            .arg(binary())
            .args(["check", "no_such_module"])
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let text = told(&[]);
    assert!(text.contains("\x1b[1;31merror\x1b[0m: "), "{text:?}");
    for variable in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let text = told(&[variable]);
        assert!(
            text.contains("error: ") && !text.contains('\x1b'),
            "{text:?}"
        );
    }
}
