//! The access log and the ids of requests: a line for each, and nothing that stops anybody when it cannot be written.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::fcntl::OFlag;
use nix::sys::signal::Signal;

use crate::support::client::{Connection, Request, fetch};
use crate::support::gateway::{Builder, DEADLINE, Fifo, Gateway};
use crate::support::load::Load;
use crate::support::process_table::{children, send, title};

/// A builder of a gateway with an access log, and that.
fn logged(name: &str) -> (Builder, PathBuf) {
    let builder = Gateway::builder("logged.py");
    let path = builder.folder().path().join(name);
    (builder.arg("--access-log").arg(&path), path)
}

/// The lines, when there are so many.
#[track_caller]
fn lines(gateway: &Gateway, path: &Path, count: usize) -> Vec<String> {
    gateway.wait_for(&format!("{count} lines"), || {
        let text = fs::read_to_string(path).ok()?;
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        (lines.len() >= count && text.ends_with('\n')).then_some(lines)
    })
}

/// The process that writes them.
fn writer(gateway: &Gateway) -> u32 {
    gateway.wait_for("the process that writes lines", || {
        let mut found = children(gateway.pid()).into_iter();
        found.find(|pid| title(*pid).starts_with("wsgi-gateway: log lines"))
    })
}

/// The words of a line `key=value`, by key.
#[track_caller]
fn word<'a>(line: &'a str, key: &str) -> &'a str {
    let mut words = line.split(' ');
    words
        .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
        .unwrap_or_else(|| panic!("no {key}: {line}"))
}

#[test]
fn each_request_has_a_line_and_an_id() {
    for options in [
        &["--access-log-skip", "/ping"][..],
        &["--access-log-skip", "/ping", "--preload"],
    ] {
        let (builder, path) = logged("access.log");
        let gateway = builder.args(options).start();
        let ask = |request: Request| fetch(gateway.socket(), &request);
        let made = ask(Request::get("/id?a=b")).expect(200).text();
        let sent = Request::get("/id").param("HTTP_X_REQUEST_ID", "from-the-web_server.1");
        assert_eq!(ask(sent).expect(200).text(), "from-the-web_server.1");
        let odd = Request::get("/id").param("HTTP_X_REQUEST_ID", "a\nb \"c\"");
        let other = ask(odd).expect(200).text();
        assert!(other != made && other[..7] == made[..7], "{made} {other}");
        ask(Request::get("/ping?1")).expect(200);
        let raised = ask(Request::get("/raises").param("HTTP_X_REQUEST_ID", "id-r"));
        assert!(raised.expect(500).text().ends_with("\nRequest id: id-r\n"));
        gateway.wait_for_log("GET /raises: the application failed (request id-r)\n");
        ask(Request::get("/misused")).expect(500);
        let mut cut = Connection::open(gateway.socket());
        cut.write(&Request::get("/cut").bytes());
        cut.read_to_eof_or_end();
        ask(Request::get("/stream")).expect(200);
        let mut hostile = Request::get("/a b\n\"\u{e9}");
        hostile = hostile.param("REMOTE_USER", "x\n2000-01-01T00:00:00.000Z");
        ask(hostile).expect(200);
        let lines = lines(&gateway, &path, 8);
        assert_eq!(lines.len(), 8, "{lines:#?}");
        let has = |at: usize, words: &str| {
            let line: &String = &lines[at];
            assert!(line.contains(words), "{words}: {line}");
        };
        has(
            0,
            &format!("Z gateway 1.1 GET /id?a=b 200 {}B 0.", made.len()),
        );
        assert_eq!(word(&lines[0], "id"), made);
        assert_eq!(word(&lines[0], "wait"), "0.000");
        has(1, " id=from-the-web_server.1");
        has(2, &format!(" id={other}"));
        has(3, " GET /raises 500 ");
        has(3, " id=id-r failed=exception");
        has(4, " failed=protocol");
        has(5, " GET /cut 200 5B ");
        has(5, " failed=after_head");
        has(6, " GET /stream 200 11B 0.");
        let first: f64 = word(&lines[6], "first").parse().unwrap();
        let cpu: f64 = word(&lines[6], "cpu").parse().unwrap_or(0.0);
        let all = lines[6]
            .split(' ')
            .nth(7)
            .unwrap()
            .strip_suffix('s')
            .unwrap();
        let all: f64 = all.parse().unwrap();
        assert!(
            all >= 0.2 && first <= all - 0.15 && cpu <= all,
            "{}",
            lines[6]
        );
        has(7, " GET /a\\x20b\\x0a\"\\xc3\\xa9 200 ");
        gateway.terminate();
    }
}

#[test]
fn rotation_under_load_loses_no_line() {
    let (builder, path) = logged("access.log");
    let _folder = builder.folder();
    let builder = builder.args(["--workers", "2", "--access-log-format", "%s %{id}x"]);
    let gateway = builder.start();
    gateway.wait_until_ready(2);
    let files: Vec<PathBuf> = (0..5)
        .map(|number| path.with_extension(number.to_string()))
        .collect();
    let load = Load::on(&gateway, "/");
    let ((), tally) = load.during(|_| {
        for old in &files {
            lines(&gateway, &path, 20);
            fs::rename(&path, old).unwrap();
            gateway.signal(Signal::SIGUSR1);
            gateway.wait_for("the file anew", || path.exists().then_some(()));
        }
    });
    assert!(
        tally.failed.is_empty() && tally.unanswered == 0,
        "{tally:?}"
    );
    // The end waits for the last of them.
    assert_eq!(gateway.terminate().code, 0);
    let mut found = Vec::new();
    for file in files.iter().chain([&path]) {
        let text = fs::read_to_string(file).unwrap();
        found.extend(text.lines().map(str::to_owned));
    }
    assert_eq!(found.len(), tally.served);
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), tally.served);
    assert!(found.iter().all(|line| line.starts_with("200 ")));
}

#[test]
fn a_writer_that_was_killed_is_started_again() {
    let (builder, path) = logged("access.log");
    let gateway = builder.args(["--access-log-format", "%U"]).start();
    fetch(gateway.socket(), &Request::get("/before")).expect(200);
    lines(&gateway, &path, 1);
    let old = writer(&gateway);
    // What is meant for the gateway as a whole is nothing to it.
    for signal in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGUSR2,
    ] {
        send(old, signal);
    }
    fetch(gateway.socket(), &Request::get("/unharmed")).expect(200);
    lines(&gateway, &path, 2);
    assert_eq!(writer(&gateway), old);
    send(old, Signal::SIGKILL);
    gateway.wait_for_log(") has ended: it is started again");
    fetch(gateway.socket(), &Request::get("/meanwhile")).expect(200);
    assert_eq!(
        lines(&gateway, &path, 3),
        ["/before", "/unharmed", "/meanwhile"]
    );
    let new = writer(&gateway);
    assert_ne!(new, old);
    // Sockets and channels are not its: standard input, output and error, its end of the channel, the file, its signals.
    let open = fs::read_dir(format!("/proc/{new}/fd")).unwrap().count();
    assert!(open <= 8, "{open} descriptors");
    let master = gateway.pid();
    send(master, Signal::SIGKILL);
    gateway.wait_for("the end of the writer", || {
        (!Path::new(&format!("/proc/{new}/fd/0")).exists()).then_some(())
    });
}

#[test]
fn a_disk_that_is_full_stops_nobody_and_is_told() {
    let gateway = Gateway::start("logged.py", &["--access-log", "/dev/full"]);
    let tally = Load::on(&gateway, "/").requests(200).run();
    tally.expect_none_lost();
    gateway.wait_for_line(&["lines of --access-log were lost: No space left on device"]);
    assert_eq!(gateway.terminate().code, 0);
}

#[test]
fn a_fifo_that_nobody_reads_stops_nobody() {
    let (builder, path) = logged("fifo");
    let folder = builder.folder();
    let _fifo = Fifo::new(folder.path(), "fifo");
    let mut reader = File::options()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(&path)
        .unwrap();
    // More than the pipe, the channel and the worker's memory have room for.
    let format = format!("%s {}", "x".repeat(20_000));
    let gateway = builder.args(["--access-log-format", &format]).start();
    let load = Load::on(&gateway, "/").requests(400);
    load.run().expect_none_lost();
    gateway.wait_for_line(&["lines of --access-log or --slow-log-file were dropped"]);
    // What was kept arrives, each line whole.
    let mut text = Vec::new();
    gateway.wait_for("the lines that were kept", || {
        // Ends with an error: nothing is there for the moment.
        let _ = reader.read_to_end(&mut text);
        (text.len() > 1 << 20).then_some(())
    });
    let text = String::from_utf8_lossy(&text);
    let whole = text.lines().filter(|line| line.len() == format.len() + 1);
    assert!(whole.count() + 1 >= text.lines().count());
    let begun = Instant::now();
    gateway.terminate();
    assert!(begun.elapsed() < DEADLINE / 2);
}

#[test]
fn without_a_master_the_worker_writes_itself() {
    let (builder, path) = logged("access.log");
    let _folder = builder.folder();
    let listener = UnixListener::bind(builder.socket_path()).unwrap();
    let builder = builder.stdin(OwnedFd::from(listener)).ready_by_log();
    let gateway = builder.args(["--access-log-format", "%W %U"]).start();
    let ask = |path: &str| drop(fetch(gateway.socket(), &Request::get(path)).expect(200));
    ask("/a");
    assert_eq!(lines(&gateway, &path, 1), ["1.1 /a"]);
    let old = path.with_extension("old");
    fs::rename(&path, &old).unwrap();
    gateway.signal(Signal::SIGUSR1);
    gateway.wait_for("the file anew", || path.exists().then_some(()));
    ask("/b");
    ask("/c");
    gateway.terminate();
    assert_eq!(fs::read_to_string(&path).unwrap(), "1.1 /b\n1.1 /c\n");
    assert_eq!(fs::read_to_string(&old).unwrap(), "1.1 /a\n");
}

#[test]
fn lines_can_go_to_standard_output() {
    let builder = Gateway::builder("logged.py");
    let path = builder.folder().path().join("output");
    let gateway = builder
        .env("TEST_OUTPUT", &path)
        .shell("exec \"$@\" >\"$TEST_OUTPUT\"")
        .args(["--access-log", "-", "--access-log-format", "json"])
        .start();
    fetch(gateway.socket(), &Request::get("/missing?q=\"")).expect(404);
    let found = lines(&gateway, &path, 1);
    assert!(found[0].starts_with("{\"time\":\"20") && found[0].ends_with('}'));
    for part in [
        "\"path\":\"/missing\"",
        "\"query\":\"q=\\\"\"",
        "\"status\":404",
    ] {
        assert!(found[0].contains(part), "{part}: {}", found[0]);
    }
}

#[test]
fn the_slow_log_has_a_file_and_a_time_out_a_line() {
    let (builder, path) = logged("access.log");
    let slow = path.with_file_name("slow.log");
    let times = ["--slow-log", "50ms", "--request-timeout", "200ms"];
    let builder = builder.args(times).arg("--slow-log-file").arg(&slow);
    let gateway = builder.start();
    let request = Request::get("/sleeps?30").param("HTTP_X_REQUEST_ID", "id-s");
    let answer = fetch(gateway.socket(), &request).expect(504);
    assert!(answer.text().ends_with("Request id: id-s\n"));
    let found = lines(&gateway, &path, 1);
    assert!(found[0].contains(" GET /sleeps?30 504 "), "{}", found[0]);
    assert_eq!(word(&found[0], "id"), "id-s");
    let found = lines(&gateway, &slow, 3);
    assert!(
        found[0].contains(" slow: GET /sleeps?30 runs for ") && found[0].ends_with("request id-s)"),
        "{found:#?}"
    );
    assert!(
        found
            .iter()
            .any(|line| line.contains("logged.py\", line 13"))
    );
    assert!(!gateway.log().contains(" slow: "));
}

#[test]
fn a_file_that_cannot_be_opened_ends_the_start() {
    for option in ["--access-log", "--slow-log-file"] {
        let builder = Gateway::builder("logged.py").args([option, "/nonexistent/log"]);
        let exit = builder.run();
        let said =
            format!("the file '/nonexistent/log' of {option} (command line) cannot be opened: ");
        assert!(exit.code == 2 && exit.log.contains(&said), "{exit:?}");
    }
    let builder = Gateway::builder("logged.py").args(["--access-log-format", "%Z"]);
    let exit = builder.run();
    assert!(exit.code == 2 && exit.log.contains("'%Z'"), "{exit:?}");
}
