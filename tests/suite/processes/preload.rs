//! `--preload`: the application is imported once, and every worker is a fork of it that knows that it is one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use nix::sys::signal::Signal;

use crate::support::client::{Connection, Request, fetch};
use crate::support::gateway::{Fifo, Gateway, READY, venv};
use crate::support::load::Load;
use crate::support::process_table::{children, send, share_kib, title};
use crate::support::release::Release;

/// What the log says of each template that workers can come from.
const IMPORTED: &str = ") has imported the application";

fn imports(gateway: &Gateway) -> PathBuf {
    gateway.folder().join("imports")
}

fn start(options: &[&str], envs: &[(&str, &str)]) -> Gateway {
    let builder = Gateway::builder("preloaded.py");
    let file = builder.folder().path().join("imports");
    let builder = builder.env("TEST_IMPORTS", file).arg("--preload");
    let builder = envs
        .iter()
        .fold(builder, |builder, (name, value)| builder.env(name, value));
    let gateway = builder.args(options).start();
    gateway.wait_for_log("ready on ");
    gateway
}

fn lines(path: PathBuf) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// What each of the workers says of itself, all of them asked at the same time.
fn ask_all(gateway: &Gateway, count: usize) -> Vec<BTreeMap<String, String>> {
    let fifos: Vec<_> = (0..count)
        .map(|number| Fifo::new(gateway.folder(), &format!("fifo-{number}")))
        .collect();
    let mut asked = Vec::new();
    for fifo in &fifos {
        let mut connection = Connection::open(gateway.socket());
        connection.write(&Request::get(&format!("/?{}", fifo.path())).bytes());
        asked.push((connection, fifo.entered()));
    }
    let answer = |(mut connection, word): (Connection, fs::File)| {
        drop(word);
        let text = connection.response(1).expect(200).text();
        text.lines()
            .map(|line| line.split_once('=').unwrap())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    };
    let answers = asked.into_iter().map(answer).collect();
    for fifo in fifos {
        fs::remove_file(fifo.path()).unwrap();
    }
    answers
}

fn template(gateway: &Gateway) -> Option<u32> {
    children(gateway.pid())
        .into_iter()
        .find(|pid| title(*pid).starts_with("wsgi-gateway: template "))
}

#[test]
fn workers_are_forks_that_know_it() {
    let gateway = start(&["--workers", "3"], &[]);
    let workers: BTreeSet<String> = gateway
        .wait_until_ready(3)
        .iter()
        .map(u32::to_string)
        .collect();
    let template = template(&gateway).expect("a template").to_string();
    let answers = ask_all(&gateway, 3);
    let all = |name: &str| -> BTreeSet<String> {
        answers.iter().map(|answer| answer[name].clone()).collect()
    };
    assert_eq!(all("pid"), workers);
    assert_eq!(all("importer"), BTreeSet::from([template.clone()]));
    assert_eq!(lines(imports(&gateway)), [template]);
    assert_eq!(all("random").len(), 3, "the same random numbers");
    assert_eq!(all("uuid").len(), 3);
    for answer in &answers {
        // The hooks ran for this worker's fork: once before, and then as the child.
        let hooks: Vec<&str> = answer["forked"].split(',').collect();
        assert_eq!(hooks.last(), Some(&answer["pid"].as_str()), "{answer:?}");
        assert_eq!(hooks[hooks.len() - 2], "before", "{answer:?}");
        assert_eq!(answer["thread"], answer["pid"]);
        assert_eq!(answer["main"], "True");
    }
}

#[test]
fn every_worker_runs_what_is_to_run_at_its_end() {
    let gateway = start(&["--workers", "2"], &[]);
    let mut workers = gateway.wait_until_ready(2);
    let farewells = gateway.folder().join("imports.farewells");
    send(workers[0], Signal::SIGTERM);
    gateway.wait_for_count(READY, 3);
    gateway.wait_for_count(") ended after", 1);
    let now = gateway.wait_for_workers(2);
    workers.extend(
        now.into_iter()
            .filter(|worker| *worker != workers[1])
            .collect::<Vec<_>>(),
    );
    gateway.signal(Signal::SIGTERM);
    // The folder goes with the gateway.
    gateway.wait_for("the workers' farewells", || {
        let mut said = lines(farewells.clone());
        let mut expected: Vec<String> = workers.iter().map(u32::to_string).collect();
        said.sort();
        expected.sort();
        (said == expected).then_some(())
    });
    assert_eq!(gateway.wait().code, 0);
}

/// Without it each worker is on its own.
#[test]
fn without_it_each_worker_imports_for_itself() {
    let builder = Gateway::builder("preloaded.py");
    let file = builder.folder().path().join("imports");
    let builder = builder.env("TEST_IMPORTS", file);
    let gateway = builder.args(["--workers", "2"]).start();
    let workers = gateway.wait_until_ready(2);
    let mut imported = lines(imports(&gateway));
    imported.sort();
    let mut workers: Vec<String> = workers.iter().map(u32::to_string).collect();
    workers.sort();
    assert_eq!(imported, workers);
    assert_eq!(template(&gateway), None);
}

/// Threads stay behind in a fork, which an application that starts one at import should hear of.
#[test]
fn a_thread_that_was_started_at_import_is_told() {
    let gateway = start(&[], &[("TEST_THREAD", "1")]);
    gateway.wait_until_ready(1);
    let line = gateway.wait_for_line(&["warn", "thread"]);
    assert!(line.contains("--preload"), "{line}");
    let answer = &ask_all(&gateway, 1)[0];
    assert_eq!(answer["thread"], answer["pid"]);
}

#[test]
fn threads_of_the_gateway_are_made_after_the_fork() {
    let gateway = start(&["--threads", "4"], &[]);
    gateway.wait_until_ready(1);
    assert!(!gateway.log().contains("warn: the application has started"));
    let answers = ask_all(&gateway, 4);
    let pids: BTreeSet<&String> = answers.iter().map(|answer| &answer["pid"]).collect();
    assert_eq!(pids.len(), 1);
}

#[test]
fn a_template_that_dies_is_replaced_and_nobody_notices() {
    let gateway = start(&["--workers", "2"], &[]);
    let workers = gateway.wait_until_ready(2);
    let first = template(&gateway).expect("a template");
    let ((), tally) = Load::on(&gateway, "/").clients(2).during(|_| {
        send(first, Signal::SIGKILL);
        let line = gateway.wait_for_line(&["the template", "killed by signal SIGKILL"]);
        assert!(line.ends_with("the next is made at once"), "{line}");
        gateway.wait_for_count(IMPORTED, 2);
    });
    tally.expect_none_lost();
    assert_eq!(gateway.wait_for_workers(2), workers);
    let second = template(&gateway).expect("a template");
    assert_ne!(second, first);
    // The next worker comes from the one that is there.
    send(workers[0], Signal::SIGKILL);
    gateway.wait_for_count(READY, 3);
    gateway.wait_for_workers(2);
    assert_eq!(template(&gateway), Some(second));
    assert_eq!(lines(imports(&gateway)).len(), 2);
}

/// What was asked of a template that dies is asked of the next one: the worker's place is not lost, and nobody waits for
/// the end of a worker that never was.
#[test]
fn a_template_that_dies_takes_no_worker_s_place_with_it() {
    let gateway = start(&["--workers", "2"], &[]);
    let workers = gateway.wait_until_ready(2);
    let first = template(&gateway).expect("a template");
    let descriptors = fs::read_dir(format!("/proc/{}/fd", gateway.pid()));
    let before = descriptors.unwrap().count();
    send(first, Signal::SIGSTOP);
    send(workers[0], Signal::SIGKILL);
    gateway.wait_for_line(&["ended: killed by signal SIGKILL"]);
    gateway.wait_for("an order for a worker", || {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", gateway.pid()));
        // That of its process comes when it is born.
        (descriptors.unwrap().count() + 1 >= before).then_some(())
    });
    send(first, Signal::SIGKILL);
    gateway.wait_for_count(READY, 3);
    assert_eq!(gateway.terminate().code, 0);
}

/// Nobody waits for a worker, and still the machine is not kept busy.
#[test]
fn templates_that_die_one_after_another_are_made_more_and_more_slowly() {
    let gateway = start(&["--workers", "1"], &[]);
    gateway.wait_until_ready(1);
    for turn in 1..=3 {
        let last = gateway.wait_for("a template", || template(&gateway));
        send(last, Signal::SIGKILL);
        gateway.wait_for_count("the next is made ", turn);
        gateway.wait_for_count(IMPORTED, turn + 1);
    }
    let log = gateway.log();
    let told = log
        .lines()
        .filter(|line| line.contains("the template (pid"));
    let next: Vec<&str> = told
        .filter_map(|line| Some(line.split_once("the next is made ")?.1))
        .collect();
    assert_eq!(next, ["at once", "in 100ms", "in 200ms"], "{log}");
}

/// One that hangs while it imports again is ended as the first would be, with the same word about where it hangs.
#[test]
fn a_later_template_has_no_longer_to_start_than_the_first() {
    let builder = Gateway::builder("preloaded.py");
    let inside = |name: &str| builder.folder().path().join(name);
    let (imports, hang) = (inside("imports"), inside("hang"));
    let gateway = builder
        .env("TEST_IMPORTS", imports)
        .env("TEST_HANG", &hang)
        .args(["--preload", "--startup-timeout", "2s"])
        .start();
    let workers = gateway.wait_until_ready(1);
    fs::write(&hang, "").unwrap();
    send(template(&gateway).expect("a template"), Signal::SIGKILL);
    gateway.wait_for_line(&["error: the template", "--startup-timeout"]);
    gateway.wait_for_line(&[
        "the template (pid",
        "before it was ready",
        "is made in 100ms",
    ]);
    assert!(gateway.log().contains("in <module>"), "{}", gateway.log());
    fs::remove_file(&hang).unwrap();
    gateway.wait_for_count(IMPORTED, 2);
    assert_eq!(gateway.wait_for_workers(1), workers);
    let log = gateway.log();
    let killed = log.matches("killing it").count();
    assert!((1..=2).contains(&killed), "{log}");
}

#[test]
fn a_reload_imports_anew_and_loses_nothing() {
    let release = Release::new("serves 0");
    let gateway = release.start(2, &["--preload"]);
    let ((), tally) = Load::on(&gateway, "/").clients(4).during(|load| {
        for number in 1..=5 {
            release.deploy("raises");
            assert!(!gateway.reload());
            release.deploy(&format!("serves {number}"));
            assert!(gateway.reload());
            load.wait_for_more(8);
        }
    });
    tally.expect_none_lost();
    assert_eq!(release.imports(), 6);
    gateway.wait_for("the new code", || {
        let text = fetch(gateway.socket(), &Request::get("/"))
            .expect(200)
            .text();
        (text == "5").then_some(())
    });
    gateway.wait_for("one template", || {
        let all = children(gateway.pid()).into_iter().map(title);
        (all.filter(|title| title.contains("template")).count() == 1).then_some(())
    });
}

#[test]
fn on_demand_workers_come_from_a_template_that_is_there() {
    let options = [
        "--workers",
        "2",
        "--min-workers",
        "0",
        "--idle-timeout",
        "300ms",
    ];
    let gateway = start(&options, &[]);
    gateway.wait_for_workers(0);
    let first = &ask_all(&gateway, 2)[0];
    gateway.wait_for_workers(0);
    let second = &ask_all(&gateway, 2)[0];
    assert_ne!(first["pid"], second["pid"]);
    assert_eq!(first["importer"], second["importer"]);
    assert_eq!(lines(imports(&gateway)).len(), 1);
}

/// Somebody cleans up in /run: what the template was born with is not where anybody connects any more.
#[test]
fn workers_listen_where_the_master_does_when_they_are_forked() {
    let gateway = start(&["--workers", "2"], &[]);
    let workers = gateway.wait_until_ready(2);
    fs::remove_file(gateway.socket()).unwrap();
    gateway.wait_for_log("somebody has removed or replaced the socket");
    for worker in workers {
        send(worker, Signal::SIGKILL);
    }
    gateway.wait_for_count(READY, 4);
    let answers = ask_all(&gateway, 2);
    assert_ne!(answers[0]["pid"], answers[1]["pid"]);
    // Nor does it keep the one open that is gone.
    let mut old = fs::read_to_string("/proc/net/unix").unwrap();
    old.retain(|c| c != '\0');
    let path = gateway.socket().to_str().unwrap();
    let listening = old
        .lines()
        .filter(|line| line.ends_with(path) && line.contains(" 00010000 "));
    assert_eq!(listening.count(), 1, "{old}");
}

/// What the import has made is in memory once, whatever the number of workers.
#[test]
fn the_memory_of_workers_is_shared() {
    const WORKERS: usize = 4;
    let measure = |options: &[&str]| {
        let builder = Gateway::builder("django_site.wsgi:application");
        let folder = builder.folder();
        let gateway = builder
            .env("DJANGO_FOLDER", folder.path())
            .arg("--venv")
            .arg(venv())
            .args(["--workers", "4"])
            .args(options)
            .start();
        gateway.wait_until_ready(WORKERS);
        Load::on(&gateway, "/")
            .on_new_connections()
            .requests(200)
            .run()
            .expect_none_lost();
        let processes = children(gateway.pid()).into_iter();
        processes.map(share_kib).sum::<u64>() / 1024
    };
    let [alone, shared] = [measure(&[]), measure(&["--preload"])];
    eprintln!("Django, {WORKERS} workers: {alone} MiB, with --preload {shared} MiB");
    assert!(
        shared * 4 < alone * 3,
        "{shared} MiB, not much less than {alone}"
    );
}
