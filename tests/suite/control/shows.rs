//! The forms of what is shown: for programs, for Prometheus, for people.

use std::process::{Command, Stdio};

use serde_json::Value;

use super::{begin, said};
use crate::support::browser::check_look;
use crate::support::client::{Request, fetch};
use crate::support::gateway::{Gateway, binary, venv};

/// What `status --json` has, and of which kind: nothing of it is taken back. `?`: or null. A worker's stands behind `worker_list.`.
const SCHEMA: &str = "
    name text, application text, version text, pid number, uid number, uptime_seconds number, state text, ok flag, problems list,
    generation number?, candidate number?, settings_stale flag, threads number, threads_busy number, waiting list,
    oldest_request_seconds number?, requests number, connections number, answers object, duration object, queue_duration object,
    request_bytes number, response_bytes number, application_errors object, client_aborts number, slow_requests number,
    request_timeouts number, refused object, log_lines_dropped number, worker_exits object, cpus number, cpu_seconds number,
    resident_bytes number, workers object, reloads object, worker_list list,
    reloads.succeeded number, reloads.failed number, reloads.last_seconds_ago number?, reloads.last_failure text?,
    reloads.failure_before text?, workers.min number, workers.max number, workers.starting number, workers.idle number,
    workers.busy number, workers.draining number, duration.counts list, duration.bounds_seconds list, duration.sum_seconds number,
    duration.median_seconds number?, duration.p95_seconds number?, duration.p99_seconds number?,
    waiting.0.address text, waiting.0.connections number?, waiting.0.room number?,
    worker_list.0.number number, worker_list.0.pid number?, worker_list.0.generation number?, worker_list.0.state text,
    worker_list.0.reason text?, worker_list.0.limit_seconds number?, worker_list.0.threads number,
    worker_list.0.threads_busy number, worker_list.0.requests number, worker_list.0.duration object,
    worker_list.0.uptime_seconds number, worker_list.0.start_seconds number?, worker_list.0.resident_bytes number,
    worker_list.0.cpu_seconds number, worker_list.0.now list";

#[test]
fn the_json_has_what_it_had() {
    let (_gateway, control) = begin(Gateway::builder("stuck.py"));
    let json = control.json();
    let mut known = 0;
    for row in SCHEMA.split(',') {
        let (path, kind) = row.trim().split_once(' ').unwrap();
        let pointer = format!("/{}", path.replace('.', "/"));
        let value = json.pointer(&pointer);
        let value = value.unwrap_or_else(|| panic!("no {path} in {json}"));
        let found = match value {
            Value::Null => "null",
            Value::Bool(_) => "flag",
            Value::Number(_) => "number",
            Value::String(_) => "text",
            Value::Array(_) => "list",
            Value::Object(_) => "object",
        };
        let is_right = match kind.strip_suffix('?') {
            Some(kind) => found == kind || found == "null",
            None => found == kind,
        };
        assert!(is_right, "{path} is {found} and not {kind}");
        known += usize::from(!path.contains('.'));
    }
    assert_eq!(
        json.as_object().unwrap().len(),
        known,
        "say here what is new: {json}"
    );
}

/// By the parser that Prometheus' own Python client has, and its rules for names.
#[test]
fn prometheus_reads_the_metrics() {
    const READ: &str = r#"
import re, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
families = list(text_string_to_metric_families(sys.stdin.read()))
for family in families:
    assert re.fullmatch(r"wsgi_gateway(_[a-z0-9_]+)?", family.name), family.name
    assert family.documentation, family.name
    for sample in family.samples:
        assert not set(sample.labels) & {"pid", "path", "user", "uri"}, sample
        print(sample.name, sorted(sample.labels.items()), sample.value)
"#;
    let (gateway, control) = begin(Gateway::builder("stuck.py"));
    for path in ["/", "/naps"] {
        fetch(gateway.socket(), &Request::get(path)).expect(200);
    }
    let text = control.run(&["status", "--openmetrics"]);
    assert_eq!(text.code, 0, "{text:#?}");
    assert!(text.stdout.ends_with("# EOF\n"), "{text:#?}");
    let mut reader = Command::new(venv().join("bin/python"))
        .args(["-c", READ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = reader.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, text.stdout.as_bytes()).unwrap();
    drop(stdin);
    let output = reader.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text.stdout);
    let samples = String::from_utf8(output.stdout).unwrap();
    for sample in [
        "wsgi_gateway_requests_total [('code', '2xx')] 2.0",
        "wsgi_gateway_request_duration_seconds_bucket [('le', '+Inf')] 2\n",
        "wsgi_gateway_request_duration_seconds_bucket [('le', '0.5')] 1\n",
        "wsgi_gateway_workers [('state', 'idle')] 1.0",
        "wsgi_gateway_workers_max [] 1.0",
        "wsgi_gateway_last_reload_successful [] 1.0",
        "wsgi_gateway_info [('name', ",
    ] {
        assert!(samples.contains(sample), "no '{sample}':\n{samples}");
    }
}

/// Counters go on when the worker that has counted is gone.
#[test]
fn no_counter_goes_back() {
    let (gateway, control) = begin(Gateway::builder("stuck.py").args(["--max-requests", "2"]));
    let mut requests = 0;
    for ended in 1..=2 {
        let is_over = |json: &Value| json["worker_exits"]["max_requests"] == ended;
        while !is_over(&control.json()) {
            fetch(gateway.socket(), &Request::get("/")).expect(200);
            requests += 1;
        }
        let json = control.json();
        assert_eq!(json["requests"], requests, "{json}");
        assert_eq!(json["answers"]["2xx"], requests, "{json}");
    }
}

#[test]
fn the_page_is_read_on_a_phone_and_in_the_dark() {
    let (gateway, control) = begin(Gateway::builder("stuck.py"));
    fetch(gateway.socket(), &Request::get("/")).expect(200);
    let request = Request::get("/status").param("HTTP_ACCEPT", "text/html,*/*;q=0.8");
    let answer = fetch(&control.socket, &request).expect(200);
    let policy = answer.header("Content-Security-Policy").unwrap();
    assert!(policy.contains("default-src 'none'"), "{policy}");
    let page = answer.text();
    for word in ["all is well", "stuck.py", "<svg", "http-equiv=\"refresh\""] {
        assert!(page.contains(word), "no '{word}': {page}");
    }
    check_look(&page);
}

#[test]
fn top_is_one_frame_where_there_is_no_terminal() {
    let (_gateway, control) = begin(Gateway::builder("stuck.py"));
    let said = control.run(&["top"]);
    assert_eq!((said.code, &*said.stderr), (0, ""), "{said:#?}");
    for word in [
        "stuck.py",
        "1 ready of 1..1",
        "requests",
        " W     PID GEN STATE",
    ] {
        assert!(said.stdout.contains(word), "no '{word}': {said:#?}");
    }
    assert!(
        said.stdout.lines().all(|line| line.chars().count() <= 80),
        "{said:#?}"
    );
    assert!(!said.stdout.contains('\u{1b}'), "{said:#?}");
}

/// On a terminal of 80 by 24, which is as it was afterwards.
#[test]
fn top_draws_on_a_terminal() {
    const TERMINAL: &str = r#"
import fcntl, os, pty, select, struct, sys, termios, time
pid, fd = pty.fork()
if pid == 0:
    os.environ.update(TERM="xterm", NO_COLOR="1")
    os.execv(sys.argv[1], sys.argv[1:])
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
before, seen, sent = termios.tcgetattr(fd), b"", False
until = time.monotonic() + 30
while time.monotonic() < until:
    if select.select([fd], [], [], 1)[0]:
        try:
            piece = os.read(fd, 65536)
        except OSError:
            break
        if not piece:
            break
        seen += piece
    if not sent and b"q quit" in seen and b"/s (1 min" in seen:
        os.write(fd, b"su q")
        sent = True
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
sys.stdout.flush()
sys.stdout.buffer.write(seen)
"#;
    let (_gateway, control) = begin(Gateway::builder("stuck.py"));
    let mut terminal = Command::new("/usr/bin/python3");
    terminal.args(["-c", TERMINAL]).arg(binary());
    let said = said(terminal.args(["top", control.name()]));
    let (code, screen) = said.stdout.split_once('\n').unwrap();
    assert_eq!(code, "0", "{said:#?}");
    for word in ["1 ready of 1..1", "idle", "\u{1b}[?1049h", "\u{1b}[?1049l"] {
        assert!(screen.contains(word), "no '{word}': {said:#?}");
    }
    // No colour but bold and back.
    assert!(!screen.contains("\u{1b}[38;"), "{said:#?}");
}
