//! The log of many processes: one file or one standard error, a line for each event, each worker's words under its name.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::Instant;

use nix::sys::signal::Signal;

use crate::support::client::{Connection, Request, fetch};
use crate::support::gateway::{Fifo, Gateway, open_unwaiting};
use crate::support::load::Load;

/// The lines that end like this.
fn count(log: &str, end: &str) -> usize {
    log.lines().filter(|line| line.ends_with(end)).count()
}

#[track_caller]
fn wait_for_text(gateway: &Gateway, path: &Path, words: &str) -> String {
    gateway.wait_for(words, || {
        let text = fs::read_to_string(path).ok()?;
        text.contains(words).then_some(text)
    })
}

#[test]
fn what_the_application_writes_is_in_the_log_line_by_line() {
    for options in [&["--workers", "1"][..], &["--preload"]] {
        let gateway = Gateway::start("household.py", options);
        gateway.wait_until_ready(1);
        let answer = fetch(gateway.socket(), &Request::get("/writes?words"));
        assert_eq!(answer.expect(200).text(), "written");
        // Without a flush, because nobody would ever see it otherwise.
        gateway.wait_for_log("worker 1: by print, without a flush: words\n");
        let log = gateway.terminate().log;
        for line in [
            "worker 1: by print, without a flush: words",
            "worker 1: by stderr: words",
            "worker 1: by descriptor 1",
            "worker 1: and a second line",
            "worker 1: by descriptor 2",
            "worker 1: by a child",
            "worker 1: in two pieces",
            "worker 1: farewell",
        ] {
            assert_eq!(count(&log, line), 1, "{line}\n{log}");
        }
        assert_eq!(count(&log, ": imported"), 1, "{log}");
        for line in log.lines() {
            assert!(line.contains(" wsgi-gateway["), "{line}");
        }
    }
}

/// What reads our standard error has stopped to, as a container's log driver may: lines are lost, and nothing else waits.
#[test]
fn a_log_that_nobody_reads_holds_nobody_up() {
    const LINE: &str = "/?500";
    let builder = Gateway::builder("fcgi_errors");
    let path = builder.folder().path().join("log");
    let gateway = builder
        .env("TEST_LOG", &path)
        .shell("mkfifo \"$TEST_LOG\"; exec \"$@\" 2<>\"$TEST_LOG\"")
        .args(["--workers", "2"])
        .start();
    // Several times as much as the pipe and the workers' channels have room for.
    let load = Load::on(&gateway, LINE).requests(3000);
    load.run().expect_none_lost();
    // Once somebody reads again, it is said.
    let mut log = open_unwaiting(&path);
    let mut text = Vec::new();
    gateway.wait_for("a word about the lost lines", || {
        // Ends with an error: nothing is there for the moment.
        let _ = log.read_to_end(&mut text);
        fetch(gateway.socket(), &Request::get(LINE)).expect(200);
        let text = String::from_utf8_lossy(&text);
        text.contains(" lines of the log were lost").then_some(())
    });
}

/// The web server has its own log of what is written to wsgi.errors; the gateway's has it too, under the worker's name.
#[test]
fn wsgi_errors_is_in_the_log_under_the_workers_name() {
    let gateway = Gateway::start("fcgi_errors", &[]);
    let answer = fetch(gateway.socket(), &Request::get("/?5"));
    assert_eq!(answer.stderr, b"eeeee");
    answer.expect(200);
    gateway.wait_for_log("worker 1: eeeee\n");
}

#[test]
fn the_log_can_be_a_file_and_be_rotated() {
    let builder = Gateway::builder("household.py");
    let path = builder.folder().path().join("gateway.log");
    let old = builder.folder().path().join("gateway.log.1");
    let gateway = builder.arg("--log-file").arg(&path).start();
    wait_for_text(&gateway, &path, "ready on ");
    wait_for_text(&gateway, &path, ") is ready");
    fs::rename(&path, &old).unwrap();
    // Until it is told, it writes where it wrote.
    fetch(gateway.socket(), &Request::get("/writes?before")).expect(200);
    wait_for_text(&gateway, &old, "without a flush: before");
    gateway.signal(Signal::SIGUSR1);
    gateway.wait_for("the new file", || path.exists().then_some(()));
    fetch(gateway.socket(), &Request::get("/writes?after")).expect(200);
    let new = wait_for_text(&gateway, &path, "without a flush: after");
    assert!(!new.contains("before"), "{new}");
    assert!(!fs::read_to_string(&old).unwrap().contains("after"));
    let folder = fs::read_dir(gateway.folder()).unwrap().count();
    assert!(folder >= 3);
    // Nothing of it is on standard error.
    assert!(!gateway.log().contains("ready on "), "{}", gateway.log());
}

#[test]
fn a_log_file_that_cannot_be_opened_ends_the_start() {
    let exit = Gateway::builder("hello")
        .args(["--log-file", "/nonexistent/gateway.log"])
        .run();
    assert_ne!(exit.code, 0);
    assert!(
        exit.log.contains("/nonexistent/gateway.log"),
        "{}",
        exit.log
    );
}

/// Rotated away with its folder: what cannot be opened anew is told, and the old file goes on.
#[test]
fn a_log_file_that_cannot_be_reopened_is_told() {
    let builder = Gateway::builder("household.py");
    let folder = builder.folder().path().join("logs");
    let moved = builder.folder().path().join("moved");
    fs::create_dir(&folder).unwrap();
    let path = folder.join("gateway.log");
    let gateway = builder.arg("--log-file").arg(&path).start();
    wait_for_text(&gateway, &path, ") is ready");
    fs::rename(&folder, &moved).unwrap();
    gateway.signal(Signal::SIGUSR1);
    let log = moved.join("gateway.log");
    gateway.wait_for("a word about it", || {
        let file = fs::read_to_string(&log).unwrap();
        let all = file + &gateway.log();
        all.contains("cannot").then_some(())
    });
    fetch(gateway.socket(), &Request::get("/writes?after")).expect(200);
    wait_for_text(&gateway, &log, "without a flush: after");
}

/// A full disk is no reason to stop serving, nor to say so a thousand times; what cannot be written there is not lost.
#[test]
fn a_full_disk_under_the_log_is_told_once() {
    let gateway = Gateway::start("household.py", &["--log-file", "/dev/full"]);
    gateway.wait_for_log("/dev/full");
    for _ in 0..20 {
        let answer = fetch(gateway.socket(), &Request::get("/writes?words"));
        assert_eq!(answer.expect(200).text(), "written");
    }
    let exit = gateway.terminate();
    assert_eq!(exit.code, 0, "{}", exit.log);
    let lines: Vec<&str> = exit.log.lines().collect();
    assert!(lines[0].contains("/dev/full"), "{lines:?}");
    assert!(lines[0].contains("No space left"), "{lines:?}");
    assert_eq!(exit.log.matches("No space left").count(), 1, "{}", exit.log);
    let written = count(&exit.log, "by print, without a flush: words");
    assert_eq!(written, 20, "{}", exit.log);
}

#[test]
fn a_full_disk_under_standard_error_does_no_harm() {
    let builder = Gateway::builder("household.py").shell("exec \"$@\" 2>/dev/full");
    let gateway = builder.start();
    for _ in 0..20 {
        let answer = fetch(gateway.socket(), &Request::get("/writes?words"));
        assert_eq!(answer.expect(200).text(), "written");
    }
    assert_eq!(gateway.terminate().code, 0);
}

/// Who reads the log has gone: with a pipe, that is a signal to those who do not ignore it.
#[test]
fn a_reader_of_the_log_that_leaves_does_no_harm() {
    let builder = Gateway::builder("household.py");
    let fifo = Fifo::new(builder.folder().path(), "log");
    let gateway = builder
        .env("TEST_LOG", fifo.path())
        // The reader opens it, which the writer has waited for, and is gone.
        .shell(": <\"$TEST_LOG\" & exec \"$@\" 2>\"$TEST_LOG\"")
        .start();
    for _ in 0..20 {
        let answer = fetch(gateway.socket(), &Request::get("/writes?words"));
        assert_eq!(answer.expect(200).text(), "written");
    }
    assert_eq!(gateway.terminate().code, 0);
}

/// A limit of file sizes (`ulimit -f`, LimitFSIZE=) is a signal to those who do not ignore it: to the master at its log, and to
/// the application at its own files.
#[test]
fn a_log_at_its_limit_of_size_ends_nobody() {
    // Of 1 KiB or 512 bytes, as the shell has it; standard error is such a file, too.
    const LINE: &str = r#"ulimit -f 4; exec "$@" 2>"$TEST_LOG""#;
    let builder = Gateway::builder("household.py");
    let log = builder.folder().path().join("log");
    let stderr = builder.folder().path().join("stderr");
    let mut gateway = builder
        .shell(LINE)
        .env("TEST_LOG", &stderr)
        .arg("--log-file")
        .arg(&log)
        .start();
    let page = format!("/writes?{}", "x".repeat(500));
    let load = Load::on(&gateway, &page).requests(50);
    load.run().expect_none_lost();
    gateway.signal(Signal::SIGUSR1);
    let answer = fetch(gateway.socket(), &Request::get("/grows"));
    assert_eq!(answer.expect(200).text(), "File too large");
    assert!(gateway.is_running());
    let text = fs::read_to_string(&stderr).unwrap();
    assert!(text.contains("File too large"), "{text}");
    assert!(!text.contains(" ended"), "{text}");
    assert_eq!(fs::metadata(&log).unwrap().len() % 512, 0);
    assert_eq!(gateway.terminate().code, 0);
}

/// Whoever may connect can make trouble as often as he likes: some of it is told, and how much is not.
#[test]
fn trouble_that_comes_over_and_over_fills_no_log() {
    const TIMES: usize = 300;
    let gateway = Gateway::builder("hello").start();
    let garbage = || {
        let mut connection = Connection::open(gateway.socket());
        connection.write(b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n");
        connection.read_to_eof();
    };
    let begun = Instant::now();
    for _ in 0..TIMES {
        garbage();
    }
    gateway.wait_for("a word about what was left out", || {
        garbage();
        gateway
            .log()
            .contains(" messages such as the next were left out")
            .then_some(())
    });
    let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap() + 1;
    let log = gateway.log();
    let told = log.lines().filter(|line| line.contains("FastCGI")).count();
    assert!(told <= 10 * (seconds + 1), "{told} lines in {seconds} s");
}
