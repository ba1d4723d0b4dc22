//! SIGHUP: new code takes over under load and loses nothing, and code that does not start changes nothing.

use nix::sys::signal::Signal;

use crate::support::client::{Connection, Request, fetch};
use crate::support::gateway::{Fifo, Gateway, READY};
use crate::support::load::Load;
use crate::support::release::{Held, Release};

fn text(gateway: &Gateway) -> String {
    let answer = fetch(gateway.socket(), &Request::get("/"));
    answer.expect(200).text()
}

/// Twenty deploys in a row under load, of which some are broken: one behind another, too, and more often not.
#[test]
fn twenty_reloads_under_load_some_of_them_broken_lose_nothing() {
    let is_broken = |number: usize| number % 6 == 2 || number % 6 == 3;
    let release = Release::new("serves 0");
    let gateway = release.start(2, &[]);
    let mut serves = String::from("0");
    let ((), tally) = Load::on(&gateway, "/").during(|load| {
        for number in 1..=20 {
            if is_broken(number) {
                release.deploy("raises");
                assert!(!gateway.reload(), "{}", gateway.log());
            } else {
                serves = number.to_string();
                release.deploy(&format!("serves {serves}"));
                assert!(gateway.reload(), "{}", gateway.log());
            }
            // The last ones of the old code may still be on their way out.
            gateway.wait_for("the new code serves", || {
                (text(&gateway) == serves).then_some(())
            });
            load.wait_for_more(8);
        }
    });
    eprintln!("{tally}");
    tally.expect_none_lost();
    for number in (0..=20).filter(|number| !is_broken(*number)) {
        assert!(tally.texts.contains_key(&number.to_string()), "{number}");
    }
    gateway.wait_for_workers(2);
    assert_eq!(gateway.terminate().code, 0);
}

/// Workers of older code that still finish long requests take up places; a deploy that comes then is done later.
#[test]
fn a_reload_that_finds_no_place_is_put_off() {
    const PUT_OFF: &str = "reload: put off";
    let release = Release::new("serves 0");
    let gateway = release.start(1, &[]);
    let mut held = Vec::new();
    loop {
        // The only worker of this code is busy from here on.
        held.push(Held::new(&gateway, &format!("fifo-{}", held.len())));
        release.deploy(&format!("serves {}", held.len()));
        gateway.signal(Signal::SIGHUP);
        let is_put_off = gateway.wait_for("the reload", || {
            let log = gateway.log();
            let is_put_off = log.contains(PUT_OFF);
            let is_done = log.matches("reload: done").count() == held.len();
            (is_put_off || is_done).then_some(is_put_off)
        });
        if is_put_off {
            break;
        }
        assert!(held.len() < 64, "{}", gateway.log());
    }
    let newest = held.len().to_string();
    assert_eq!(held.remove(0).finish(), "0");
    gateway.wait_for("the newest code", || {
        (text(&gateway) == newest).then_some(())
    });
    assert!(!gateway.log().contains("reload: failed"));
    for (number, held) in held.into_iter().enumerate() {
        assert_eq!(held.finish(), (number + 1).to_string());
    }
    assert_eq!(gateway.terminate().code, 0);
}

/// Somebody's deploy script sends more than one, and each may come in the middle of another.
#[test]
fn a_burst_of_reloads_ends_with_the_newest_code() {
    let release = Release::new("serves old");
    let gateway = release.start(2, &[]);
    let ((), tally) = Load::on(&gateway, "/").during(|load| {
        for number in 0..20 {
            release.deploy(&format!("serves {number}"));
            gateway.signal(Signal::SIGHUP);
            load.wait_for_more(1);
        }
        gateway.wait_for("the newest code serves", || {
            (text(&gateway) == "19").then_some(())
        });
        // A reload that is over may have another behind it, of which nothing is told yet.
        gateway.wait_for("only the newest code serves", || {
            (0..20).all(|_| text(&gateway) == "19").then_some(())
        });
    });
    tally.expect_none_lost();
    gateway.wait_for_workers(2);
    assert_eq!(gateway.terminate().code, 0);
}

#[test]
fn new_code_that_cannot_be_imported_changes_nothing() {
    let release = Release::new("serves old");
    let mut gateway = release.start(1, &[]);
    let worker = gateway.worker();
    release.deploy("raises");
    assert!(!gateway.reload());
    let log = gateway.log();
    assert!(
        log.contains("RuntimeError: this release is broken"),
        "{log}"
    );
    assert!(log.contains("released.py\", line"), "{log}");
    assert_eq!(text(&gateway), "old");
    // The same worker: what has not died was not replaced either.
    assert_eq!(gateway.wait_for_workers(1), [worker]);
    assert!(gateway.is_running());
    release.deploy("serves new");
    assert!(gateway.reload());
    gateway.wait_for("the new code", || (text(&gateway) == "new").then_some(()));
    gateway.wait_for("the old worker's end", || {
        (!gateway.workers().contains(&worker)).then_some(())
    });
}

#[test]
fn new_code_that_crashes_at_import_changes_nothing() {
    let release = Release::new("serves old");
    let gateway = release.start(1, &[]);
    release.deploy("segfaults");
    assert!(!gateway.reload());
    assert!(gateway.log().contains("SIGSEGV"), "{}", gateway.log());
    assert_eq!(text(&gateway), "old");
}

#[test]
fn new_code_that_hangs_at_import_changes_nothing() {
    let release = Release::new("serves old");
    let gateway = release.start(1, &["--startup-timeout", "2s"]);
    let worker = gateway.worker();
    release.deploy("hangs");
    let (done, tally) = Load::on(&gateway, "/")
        .clients(2)
        .during(|_| gateway.reload());
    assert!(!done);
    tally.expect_none_lost();
    let log = gateway.log();
    assert!(log.contains("--startup-timeout"), "{log}");
    // Where it hangs: the operator is not left to guess.
    assert!(log.contains("released.py\", line"), "{log}");
    assert_eq!(text(&gateway), "old");
    assert_eq!(gateway.wait_for_workers(1), [worker]);
}

#[test]
fn a_first_start_that_hangs_is_given_up() {
    let release = Release::new("hangs");
    let exit = release.builder().args(["--startup-timeout", "500ms"]).run();
    assert_eq!(exit.code, 3, "{}", exit.log);
    assert!(exit.log.contains("--startup-timeout"), "{}", exit.log);
}

/// The old code finishes what it has begun.
#[test]
fn a_request_that_takes_longer_than_the_reload_is_answered_by_the_old_code() {
    let release = Release::new("serves old");
    let gateway = release.start(1, &[]);
    let held = Held::new(&gateway, "fifo");
    release.deploy("serves new");
    assert!(gateway.reload());
    gateway.wait_for("the new code", || (text(&gateway) == "new").then_some(()));
    assert_eq!(held.finish(), "old");
    gateway.wait_for_count(") ended after", 1);
}

/// Web servers keep connections for minutes, and a deploy is no reason to close them.
#[test]
fn a_kept_connection_lives_on_with_the_new_code() {
    let release = Release::new("serves old");
    let gateway = release.start(1, &[]);
    let mut idle = Connection::open(gateway.socket());
    let request = Request::get("/").keep();
    assert_eq!(idle.request(&request).expect(200).text(), "old");
    // Half of a request is on its way when the reload comes.
    let wire = request.bytes();
    let mut begun = Connection::open(gateway.socket());
    begun.request(&request).expect(200);
    begun.write(&wire[..wire.len() / 2]);
    release.deploy("serves new");
    assert!(gateway.reload());
    begun.write(&wire[wire.len() / 2..]);
    let answer = begun.response(1).expect(200).text();
    assert!(["old", "new"].contains(&answer.as_str()), "{answer}");
    gateway.wait_for_count(") ended after", 1);
    assert!(idle.is_quiet(), "the connection was closed");
    assert_eq!(idle.request(&request).expect(200).text(), "new");
    assert!(begun.is_quiet(), "the connection was closed");
    assert_eq!(begun.request(&request).expect(200).text(), "new");
}

#[test]
fn a_worker_that_is_told_to_end_is_replaced() {
    let release = Release::new("serves text");
    let gateway = release.start(2, &[]);
    let workers = gateway.wait_for_workers(2);
    let ((), tally) = Load::on(&gateway, "/").during(|_| {
        crate::support::process_table::send(workers[0], Signal::SIGTERM);
        gateway.wait_for_count(READY, 3);
        gateway.wait_for_count(") ended after", 1);
    });
    tally.expect_none_lost();
    let now = gateway.wait_for_workers(2);
    assert!(!now.contains(&workers[0]) && now.contains(&workers[1]));
}

/// Nothing else may happen for an hour.
#[test]
fn a_reload_that_was_asked_for_during_the_start_follows_it() {
    let release = Release::new("serves text");
    let builder = release.builder().bind_tcp();
    let fifo = Fifo::new(builder.folder().path(), "fifo");
    release.deploy(&format!("waits {}", fifo.path()));
    let gateway = builder.start();
    let word = fifo.entered();
    gateway.signal(Signal::SIGHUP);
    // Later signals come after it.
    gateway.signal(Signal::SIGUSR1);
    gateway.wait_for_log("log file opened anew");
    release.deploy("serves new");
    drop(word);
    gateway.wait_for_log("reload: done");
}

/// The settings are those of the start. Who has changed them is not to believe otherwise.
#[test]
fn a_reload_says_when_the_file_of_settings_has_changed() {
    let release = Release::new("serves text");
    let builder = release.builder();
    let file = builder.folder().path().join("site.toml");
    std::fs::write(&file, "slow-log = '7s'").unwrap();
    // In a folder that is told as seen from the one that the process leaves for it.
    let folder = builder.folder();
    let source = crate::support::gateway::apps().join("released.py");
    std::fs::copy(source, folder.path().join("released.py")).unwrap();
    let builder = builder.cwd(folder.path().parent().unwrap());
    let builder = builder
        .arg("--chdir")
        .arg(folder.path().file_name().unwrap());
    let gateway = builder.args(["--config", "site.toml"]).start();
    gateway.wait_until_ready(1);
    let told = || gateway.log().matches("restart").count();
    assert!(gateway.reload());
    // Written anew by a tool that has nothing to change.
    std::fs::write(&file, "slow-log = '7s'").unwrap();
    assert!(gateway.reload());
    assert_eq!(told(), 0, "{}", gateway.log());
    std::fs::write(&file, "slow-log = ").unwrap();
    assert!(gateway.reload());
    let line = gateway.wait_for_line(&["warn", "restart"]);
    assert!(line.contains(file.to_str().unwrap()), "{line}");
    std::fs::remove_file(&file).unwrap();
    assert!(gateway.reload());
    assert_eq!(told(), 2, "{}", gateway.log());
}
