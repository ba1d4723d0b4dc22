//! What is seen at the control socket, whatever the workers do.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use nix::sys::signal::Signal;

use super::{Control, begin, run};
use crate::support::client::{Connection, Request, fetch};
use crate::support::gateway::{Fifo, Gateway, binary, free_port};
use crate::support::process_table::{observer, send};

/// Asks by HTTP.
fn http(control: &Control, request: &str) -> String {
    let mut stream = UnixStream::connect(&control.socket).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn get(control: &Control, target: &str) -> String {
    http(
        control,
        &format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"),
    )
}

#[test]
fn a_gateway_says_how_it_stands() {
    let (gateway, control) = begin(Gateway::builder("stuck.py").args(["--workers", "2"]));
    gateway.wait_until_ready(2);
    fetch(gateway.socket(), &Request::get("/")).expect(200);
    let said = control.run(&["status", "--full"]);
    assert_eq!((said.code, &*said.stderr), (0, ""), "{said:#?}");
    assert!(said.stdout.starts_with("well: "), "{said:#?}");
    for word in ["stuck.py", "2 idle", "generation   1", "STATE"] {
        assert!(said.stdout.contains(word), "no {word}: {said:#?}");
    }
    let json = control.json();
    assert_eq!(json["pid"], gateway.pid());
    assert_eq!(json["requests"], 1);
    assert_eq!(json["workers"]["idle"], 2);
    assert_eq!(json["waiting"][0]["connections"], 0);
    assert_eq!(json["waiting"][0]["room"], 1024);
    assert_eq!(gateway.terminate().code, 0);
    let said = control.run(&["status"]);
    assert_eq!(said.code, 3, "{said:#?}");
    assert!(said.stderr.contains("nobody answers"), "{said:#?}");
}

#[test]
fn it_answers_in_the_ways_that_people_have() {
    let (_gateway, control) = begin(Gateway::builder("stuck.py"));
    let page = get(&control, "/status");
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    assert!(page.contains("\r\n\r\nwell: "), "{page}");
    assert!(get(&control, "/-/any/where/ping").ends_with("\r\n\r\npong\n"));
    let head = http(&control, "HEAD /status?json HTTP/1.0\r\n\r\n");
    assert!(
        head.ends_with("\r\n\r\n") && head.contains("application/json"),
        "{head}"
    );
    assert!(get(&control, "/nothing").starts_with("HTTP/1.1 404"));
    assert!(http(&control, "POST /reload HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405"));
    assert!(http(&control, "\x7f\r\n\r\n").starts_with("HTTP/1.1 400"));
    let answer = control.fetch("/-/ping");
    assert_eq!(answer.expect(200).text(), "pong\n");
    assert!(
        control
            .fetch("/-/status")
            .expect(200)
            .text()
            .contains("well: ")
    );
}

#[test]
fn figures_may_have_a_port_of_their_own() {
    let port = free_port("127.0.0.1:0").to_string();
    let (gateway, control) = begin(Gateway::builder("stuck.py").args(["--metrics", &port]));
    gateway.wait_until_ready(1);
    let mut stream = std::net::TcpStream::connect(&port).unwrap();
    stream.write_all(b"GET /ping HTTP/1.1\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.ends_with("pong\n"), "{text}");
    // FastCGI, and with that commands, are for the control socket.
    let mut stream = std::net::TcpStream::connect(&port).unwrap();
    stream.write_all(&[1, 1, 0, 1, 0, 8, 0, 0]).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 400"), "{text}");
    assert_eq!(control.run(&["status"]).code, 0);
}

/// Busy, waiting for the lock of Python that another keeps, stopped: the observer needs none of them.
#[test]
fn it_answers_when_all_workers_are_stuck() {
    let (gateway, control) = begin(Gateway::builder("stuck.py").args(["--workers", "2"]));
    let workers = gateway.wait_until_ready(2);
    let ways = ["/keeps_the_lock_of_python?token=secret", "/sleeps_in_c"];
    let _stuck: Vec<Connection> = ways
        .iter()
        .map(|way| {
            let mut connection = Connection::open(gateway.socket());
            connection.write(&Request::get(way).bytes());
            connection
        })
        .collect();
    let json = gateway.wait_for("all are busy", || {
        Some(control.json()).filter(|json| json["threads_busy"] == 2)
    });
    assert!(json["oldest_request_seconds"].as_f64().is_some(), "{json}");
    assert_eq!(json["ok"], true);
    let mut waiting = Connection::open(gateway.socket());
    waiting.write(&Request::get("/").bytes());
    let said = gateway.wait_for("one waits", || {
        Some(control.run(&["status", "--full"])).filter(|said| said.code == 1)
    });
    for word in [
        "1 connections wait",
        "/keeps_the_lock_of_python",
        "0 idle, 2 busy",
    ] {
        assert!(said.stdout.contains(word), "no '{word}': {said:#?}");
    }
    assert!(!said.stdout.contains("secret"), "{said:#?}");
    let said = control.run(&["status", "--full", "--show-query"]);
    assert!(said.stdout.contains("token=secret"), "{said:#?}");
    assert!(get(&control, "/ping").ends_with("pong\n"));
    // The way of the slow log: by the kernel's signals, which need no lock.
    let said = control.run(&["stacks"]);
    assert_eq!(said.code, 0, "{said:#?}");
    for way in ["keeps_the_lock_of_python", "sleeps_in_c"] {
        assert!(said.stdout.contains(&format!("in {way}\n")), "{said:#?}");
    }
    for worker in workers {
        send(worker, Signal::SIGSTOP);
    }
    gateway.wait_for("both are stopped", || {
        let said = control.run(&["status"]);
        (said.stdout.matches("is stopped by a signal").count() == 2).then_some(())
    });
}

#[test]
fn it_answers_before_anybody_is_ready() {
    let builder = Gateway::builder("released.py").ready_by_log();
    let folder = builder.folder();
    let fifo = Fifo::new(folder.path(), "import");
    let socket = folder.path().join("it.ctl");
    let release = folder.path().join("release");
    std::fs::write(&release, format!("waits {}", fifo.path())).unwrap();
    let builder = builder.env("TEST_RELEASE", &release);
    let gateway = builder.arg("--control").arg(&socket).begin();
    let control = Control { socket };
    gateway.wait_for("the control socket", || {
        // It has its name before it is listened to.
        UnixStream::connect(&control.socket).ok().map(drop)
    });
    gateway.wait_for("it is said that it starts", || {
        let page = get(&control, "/ping");
        (page.starts_with("HTTP/1.1 503") && page.ends_with("starting\n")).then_some(())
    });
    let said = control.run(&["status"]);
    assert_eq!(said.code, 1, "{said:#?}");
    assert!(said.stdout.contains("not ready yet"), "{said:#?}");
}

#[test]
fn an_observer_that_dies_is_replaced_and_outlives_no_master() {
    let (gateway, control) = begin(Gateway::builder("stuck.py"));
    let first = observer(gateway.pid()).unwrap();
    send(first, Signal::SIGKILL);
    let second = gateway.wait_for("another", || {
        observer(gateway.pid()).filter(|found| *found != first)
    });
    assert_eq!(control.run(&["status"]).code, 0);
    fetch(gateway.socket(), &Request::get("/")).expect(200);
    // Those that the terminal and systemd send to all are for the master.
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        send(second, signal);
    }
    assert_eq!(control.run(&["status"]).code, 0);
    gateway.signal(Signal::SIGKILL);
    gateway.wait_for("the observer has ended", || {
        (!crate::support::process_table::is_alive(second)).then_some(())
    });
}

/// What is found by its name, in the folder that systemd has made for it.
#[test]
fn a_gateway_is_found_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let run = |words: &[&str]| {
        let mut command = std::process::Command::new(binary());
        super::said(command.args(words).env("RUNTIME_DIRECTORY", folder.path()))
    };
    let start = || {
        Gateway::builder("stuck.py")
            .args(["--name", "my shop"])
            .env("RUNTIME_DIRECTORY", folder.path())
            .start()
    };
    let start = || {
        let gateway = start();
        gateway.wait_until_ready(1);
        gateway
    };
    let one = start();
    let said = run(&["ps"]);
    assert_eq!(said.code, 0, "{said:#?}");
    let row = said
        .stdout
        .lines()
        .find(|line| line.starts_with("my-shop "));
    let row = row.unwrap_or_else(|| panic!("{said:#?}"));
    assert!(
        row.contains(&one.pid().to_string()) && row.contains("stuck.py"),
        "{row}"
    );
    assert_eq!(run(&["status", "my-shop"]).code, 0);
    let two = start();
    assert_eq!(run(&["reload", "my-shop"]).code, 0);
    let other = format!("my-shop-{}", two.pid());
    assert_eq!(run(&["stop", &other]).code, 0);
    assert_eq!(two.wait().code, 0);
    let said = run(&["status", "no-such"]);
    assert_eq!(said.code, 3, "{said:#?}");
    assert!(
        said.stderr.contains("no gateway is called 'no-such'"),
        "{said:#?}"
    );
    assert_eq!(run(&["reload", "no-such"]).code, 2);
    drop(one);
    // Killed: its socket is there yet, and nobody answers.
    assert_eq!(run(&["status", "my-shop"]).code, 3);
    let again = start();
    assert_eq!(run(&["status", "my-shop"]).code, 0);
    assert_eq!(again.terminate().code, 0);
}

#[test]
fn a_gateway_does_without_where_it_is_told_to() {
    let gateway = Gateway::start("stuck.py", &["--control", "off"]);
    assert_eq!(observer(gateway.pid()), None);
    fetch(gateway.socket(), &Request::get("/")).expect(200);
    let said = run(&[
        "fastcgi",
        "--bind",
        "/tmp/x.sock",
        "--control",
        "here",
        "app:app",
    ]);
    assert_eq!(said.code, 2, "{said:#?}");
    assert!(
        said.stderr.contains("'here'") && said.stderr.contains("off"),
        "{said:#?}"
    );
}
