//! What the control socket is asked to do.

use std::fs;
use std::thread;

use super::{Control, begin};
use crate::support::client::{Request, fetch};
use crate::support::gateway::Gateway;
use crate::support::load::Load;
use crate::support::release::Release;

fn start(release: &Release, workers: usize) -> (Gateway, Control) {
    let builder = release.builder();
    let builder = builder.args(["--workers", &workers.to_string()]);
    let (gateway, control) = begin(builder);
    gateway.wait_until_ready(workers);
    (gateway, control)
}

#[test]
fn a_reload_is_waited_for_and_tells_why_it_failed() {
    let release = Release::new("serves 0");
    let (gateway, control) = start(&release, 2);
    let text = || {
        fetch(gateway.socket(), &Request::get("/"))
            .expect(200)
            .text()
    };
    release.deploy("serves 1");
    let said = control.run(&["reload"]);
    assert_eq!(
        (said.code, &*said.stdout),
        (0, "generation 2 serves\n"),
        "{said:#?}"
    );
    gateway.wait_for("the new code serves", || (text() == "1").then_some(()));
    release.deploy("raises");
    let said = control.run(&["reload"]);
    assert_eq!((said.code, &*said.stdout), (3, ""), "{said:#?}");
    for word in [
        "Traceback (most recent call last)",
        "generation 2 goes on serving",
    ] {
        assert!(said.stderr.contains(word), "no '{word}': {said:#?}");
    }
    assert_eq!(text(), "1");
    let status = control.run(&["status"]);
    assert_eq!(status.code, 1, "{status:#?}");
    assert!(
        status.stdout.contains("the last reload failed"),
        "{status:#?}"
    );
    release.deploy("serves 2");
    assert_eq!(control.run(&["reload"]).stdout, "generation 4 serves\n");
    let json = control.json();
    assert_eq!(
        (&json["ok"], &json["reloads"]["failed"]),
        (&true.into(), &1.into())
    );
    assert!(json["reloads"]["failure_before"].is_string(), "{json}");
}

#[test]
fn reloads_asked_for_at_once_are_all_answered() {
    let release = Release::new("serves 0");
    let (gateway, control) = start(&release, 2);
    let ((), tally) = Load::on(&gateway, "/").during(|_| {
        thread::scope(|scope| {
            let asks = [(); 5].map(|()| scope.spawn(|| control.run(&["reload"])));
            for ask in asks {
                let said = ask.join().unwrap();
                assert_eq!(said.code, 0, "{said:#?}");
            }
        });
    });
    tally.expect_none_lost();
}

#[test]
fn the_number_of_workers_is_what_was_asked_for() {
    let (gateway, control) = begin(Gateway::builder("stuck.py"));
    let said = control.run(&["resize", "3"]);
    assert_eq!(
        (said.code, &*said.stdout),
        (0, "workers: at least 3, at most 3\n")
    );
    gateway.wait_for_workers(3);
    assert_eq!(control.run(&["resize", "1"]).code, 0);
    gateway.wait_for_workers(1);
    let json = gateway.wait_for("all others have ended", || {
        Some(control.json()).filter(|json| json["worker_exits"]["resize"] == 2)
    });
    assert_eq!(json["workers"]["max"], 1);
    let said = control.run(&["resize", "0"]);
    assert_eq!(said.code, 2, "{said:#?}");
}

#[test]
fn stop_waits_for_the_end() {
    let (gateway, control) = begin(Gateway::builder("stuck.py"));
    let said = control.run(&["stop"]);
    assert_eq!((said.code, &*said.stdout), (0, "ended\n"), "{said:#?}");
    assert_eq!(gateway.wait().code, 0);
    assert!(!control.socket.exists());
}

#[test]
fn log_files_are_opened_anew() {
    let builder = Gateway::builder("stuck.py");
    let folder = builder.folder();
    let log = folder.path().join("a.log");
    let socket = folder.path().join("it.ctl");
    let builder = builder.arg("--log-file").arg(&log);
    let gateway = builder.arg("--control").arg(&socket).begin();
    let control = Control { socket };
    gateway.wait_for("a log", || log.exists().then_some(()));
    fs::rename(&log, folder.path().join("b.log")).unwrap();
    let said = control.run(&["reopen"]);
    assert_eq!(said.code, 0, "{said:#?}");
    let text = gateway.wait_for("the new file", || fs::read_to_string(&log).ok());
    assert!(text.contains("opened anew"), "{text}");
}
