//! How many workers there are: fixed, between two bounds, or none until somebody asks.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::client::{Connection, Request, Response, fetch};
use crate::support::gateway::{Fifo, Gateway, READY};
use crate::support::load::Load;
use crate::support::process_table::{sleeps_for, title};
use crate::support::release::{Held, Release};

/// Occupies that many workers of one thread, one after the other, then lets them go.
#[track_caller]
fn burst(gateway: &Gateway, size: usize) {
    let held: Vec<_> = (0..size)
        .map(|number| Held::new(gateway, &format!("fifo-{number}")))
        .collect();
    gateway.wait_for_workers(size);
    for held in held {
        assert_eq!(held.finish(), "text");
    }
    for number in 0..size {
        std::fs::remove_file(gateway.folder().join(format!("fifo-{number}"))).unwrap();
    }
}

/// The master sleeps, and not only for a moment: by what the kernel says of it, one that looks around all the time never does.
#[track_caller]
fn expect_idle(gateway: &Gateway) {
    gateway.wait_for("the master sleeps", || {
        sleeps_for(gateway.pid()).filter(|time| *time >= 1_000)
    });
}

#[test]
fn a_worker_for_each_processor_unless_told_otherwise() {
    let gateway = Gateway::builder("hello").workers_by_default().start();
    let processors = thread::available_parallelism().unwrap().get();
    gateway.wait_until_ready(processors);
    fetch(gateway.socket(), &Request::get("/")).expect(200);
}

/// Who asks for more at least than there are processors wants that many.
#[test]
fn the_fewest_workers_may_be_more_than_there_are_processors() {
    let fewest = thread::available_parallelism().unwrap().get() + 1;
    let gateway = Gateway::builder("hello").workers_by_default();
    let gateway = gateway.args(["--min-workers", &fewest.to_string()]).start();
    gateway.wait_until_ready(fewest);
}

#[test]
fn on_demand_there_is_nothing_until_somebody_asks() {
    let release = Release::new("serves text");
    let options = [
        "--workers",
        "3",
        "--min-workers",
        "0",
        "--idle-timeout",
        "400ms",
    ];
    let gateway = release.builder().args(options).ready_by_log().start();
    expect_idle(&gateway);
    gateway.wait_for_workers(0);
    assert!(!gateway.log().contains(READY), "{}", gateway.log());
    let answer = fetch(gateway.socket(), &Request::get("/"));
    assert_eq!(answer.expect(200).text(), "text");
    burst(&gateway, 3);
    gateway.wait_for_workers(0);
    expect_idle(&gateway);
    // And once more, as every night.
    let answer = fetch(gateway.socket(), &Request::get("/"));
    assert_eq!(answer.expect(200).text(), "text");
    let exit = gateway.terminate();
    assert_eq!(exit.code, 0, "{}", exit.log);
}

/// A burst of connections at a time when there is no worker: all are answered, by no more workers than allowed.
#[test]
fn on_demand_a_burst_is_served_and_never_by_too_many() {
    let release = Release::new("serves text");
    let options = [
        "--workers",
        "2",
        "--min-workers",
        "0",
        "--idle-timeout",
        "10s",
    ];
    let gateway = release.builder().args(options).start();
    let tally = Load::on(&gateway, "/").clients(20).requests(200).run();
    tally.expect_none_lost();
    assert_eq!(tally.served, 200);
    assert!(gateway.workers().len() <= 2);
    assert!(
        gateway.log().matches(READY).count() <= 2,
        "{}",
        gateway.log()
    );
}

#[test]
fn on_demand_an_application_that_cannot_be_imported_is_told_and_does_not_busy_the_machine() {
    let release = Release::new("raises");
    let options = ["--workers", "2", "--min-workers", "0"];
    let gateway = release.builder().args(options).start();
    let mut connection = Connection::open(gateway.socket());
    connection.write(&Request::get("/").bytes());
    gateway.wait_for_log("RuntimeError: this release is broken");
    let begun = Instant::now();
    // After 100, 200 and 400 ms.
    gateway.wait_for_log("the next is made in 800ms");
    assert!(begun.elapsed() > Duration::from_millis(600));
    let tries = gateway.log().matches("before it was ready").count();
    assert!((2..=6).contains(&tries), "{tries} imports");
    // Who waits is served as soon as that is possible.
    release.deploy("serves mended");
    assert_eq!(connection.response(1).expect(200).text(), "mended");
}

#[test]
fn between_two_bounds_it_grows_with_a_burst_and_shrinks_again() {
    let release = Release::new("serves text");
    let options = [
        "--workers",
        "3",
        "--min-workers",
        "1",
        "--idle-timeout",
        "400ms",
    ];
    let gateway = release.builder().args(options).start();
    gateway.wait_until_ready(1);
    gateway.wait_for_workers(1);
    burst(&gateway, 3);
    // Also while somebody asks now and then: who has work takes more of it, so that the others are idle.
    let load = Load::on(&gateway, "/")
        .clients(1)
        .on_new_connections()
        .pause(Duration::from_millis(10));
    let (_, tally) = load.during(|_| gateway.wait_for_workers(1));
    tally.expect_none_lost();
    burst(&gateway, 3);
    gateway.wait_for_workers(1);
}

#[test]
fn an_operator_can_add_and_take_workers() {
    let release = Release::new("serves text");
    let gateway = release.start(1, &[]);
    gateway.signal(Signal::SIGTTIN);
    gateway.wait_for_workers(2);
    gateway.signal(Signal::SIGTTIN);
    gateway.wait_until_ready(3);
    gateway.signal(Signal::SIGTTOU);
    gateway.wait_for_workers(2);
    let ((), tally) = Load::on(&gateway, "/").during(|_| {
        gateway.signal(Signal::SIGTTOU);
        gateway.wait_for_count(") ended after", 2);
    });
    tally.expect_none_lost();
    gateway.wait_for_workers(1);
}

#[test]
fn the_last_worker_cannot_be_taken() {
    let release = Release::new("serves text");
    let gateway = release.start(1, &[]);
    gateway.signal(Signal::SIGTTOU);
    gateway.wait_for_log("told to change the number of workers");
    let answer = fetch(gateway.socket(), &Request::get("/"));
    assert_eq!(answer.expect(200).text(), "text");
    gateway.wait_for_workers(1);
}

#[test]
fn ps_says_who_is_who() {
    let gateway = Gateway::start("hello:app", &["--workers", "2", "--preload"]);
    gateway.wait_until_ready(2);
    assert_eq!(title(gateway.pid()), "wsgi-gateway: master hello:app");
    let mut titles: Vec<String> = crate::support::process_table::children(gateway.pid())
        .into_iter()
        .map(title)
        .collect();
    titles.sort();
    assert_eq!(
        titles,
        [
            "wsgi-gateway: template hello:app",
            "wsgi-gateway: worker 1 hello:app",
            "wsgi-gateway: worker 2 hello:app"
        ]
    );
}

/// A request does not wait for another one while there is a worker that has nothing to do: not for as long as anybody
/// would notice. A machine that has other things to do may be in the way of that now and then, but not each time.
#[test]
fn nobody_waits_for_a_slow_request_while_another_worker_idles() {
    let mut waits = Vec::new();
    while waits.len() < 5 {
        let longest = longest_wait_beside_a_slow_request();
        assert!(longest < Duration::from_secs(1), "{longest:?}");
        if longest < Duration::from_millis(50) {
            return;
        }
        waits.push(longest);
    }
    panic!("each time somebody waited: {waits:?}");
}

fn longest_wait_beside_a_slow_request() -> Duration {
    let release = Release::new("serves text");
    let gateway = release.start(2, &[]);
    let mut kept: Vec<_> = (0..8).map(|_| Connection::open(gateway.socket())).collect();
    let request = Request::get("/").keep();
    for connection in &mut kept {
        connection.request(&request).expect(200);
    }
    let sleeper = kept.pop().unwrap();
    let sleeper = Held::on(sleeper, &gateway, "fifo");
    let mut latencies = Vec::new();
    for _ in 0..100 {
        for connection in &mut kept {
            let sent = Instant::now();
            connection.request(&request).expect(200);
            latencies.push(sent.elapsed());
        }
        // As web servers: now and then, so that each time the worker has to be found anew.
        thread::sleep(Duration::from_millis(5));
    }
    sleeper.finish();
    let longest = latencies.iter().max().unwrap();
    eprintln!("{} requests, the longest took {longest:?}", latencies.len());
    *longest
}

/// The same when the requests come while the worker is at its first long one, on connections that it has.
#[test]
fn requests_on_the_connections_of_a_busy_worker_are_passed_on() {
    let release = Release::new("serves text");
    let gateway = release.start(2, &[]);
    let mut kept: Vec<_> = (0..8).map(|_| Connection::open(gateway.socket())).collect();
    let request = Request::get("/pid").keep();
    let owners: Vec<String> = kept
        .iter_mut()
        .map(|connection| connection.request(&request).expect(200).text())
        .collect();
    let held = Held::new(&gateway, "fifo");
    for connection in &mut kept {
        connection.write(&request.bytes());
    }
    // Answered, although one of the two workers is not free before all have been.
    let mut answers: Vec<String> = kept
        .iter_mut()
        .map(|connection| connection.response(1).expect(200).text())
        .collect();
    answers.sort();
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}, before it was {owners:?}");
    assert_eq!(held.finish(), "text");
}

const ON_DEMAND: [&str; 6] = [
    "--workers",
    "2",
    "--min-workers",
    "0",
    "--idle-timeout",
    "300ms",
];

fn text(gateway: &Gateway) -> String {
    fetch(gateway.socket(), &Request::get("/"))
        .expect(200)
        .text()
}

/// Longer than a worker may be idle: until one of another gateway, which has been idle for less long, has left for that.
fn idle() {
    let release = Release::new("serves text");
    let other = release.builder().args(ON_DEMAND).ready_by_log().start();
    assert_eq!(text(&other), "text");
    other.wait_for_log("idle for --idle-timeout");
    other.wait_for_workers(0);
}

/// What it has in memory is not on disk any more.
#[test]
fn on_demand_the_last_worker_stays_when_its_code_cannot_be_loaded_again() {
    let release = Release::new("serves old");
    let gateway = release.builder().args(ON_DEMAND).ready_by_log().start();
    assert_eq!(text(&gateway), "old");
    release.deploy("raises");
    assert!(!gateway.reload());
    idle();
    assert_eq!(text(&gateway), "old");
    idle();
    assert_eq!(text(&gateway), "old");
    release.deploy("serves new");
    assert!(gateway.reload());
    gateway.wait_for("the new code", || (text(&gateway) == "new").then_some(()));
    gateway.wait_for_workers(0);
    assert_eq!(text(&gateway), "new");
}

/// It would have had its time before the new code was known to be broken.
#[test]
fn on_demand_the_last_worker_stays_while_new_code_is_loaded() {
    for options in [&[][..], &["--preload"]] {
        let release = Release::new("serves old");
        let builder = release.builder().args(ON_DEMAND).args(options);
        let fifo = Fifo::new(builder.folder().path(), "fifo");
        let gateway = builder.ready_by_log().start();
        assert_eq!(text(&gateway), "old");
        release.deploy(&format!("waits-and-raises {}", fifo.path()));
        gateway.signal(Signal::SIGHUP);
        let word = fifo.entered();
        idle();
        drop(word);
        gateway.wait_for_log("reload: failed");
        assert_eq!(text(&gateway), "old");
    }
}

/// The same found out by a second worker, without a word of the operator's.
#[test]
fn on_demand_the_last_worker_stays_when_another_cannot_be_made() {
    let release = Release::new("serves old");
    let gateway = release.builder().args(ON_DEMAND).ready_by_log().start();
    let held = Held::new(&gateway, "fifo");
    release.deploy("raises");
    let mut waiting = Connection::open(gateway.socket());
    waiting.write(&Request::get("/").bytes());
    gateway.wait_for_log("before it was ready");
    assert_eq!(held.finish(), "old");
    assert_eq!(waiting.response(1).expect(200).text(), "old");
    idle();
    assert_eq!(text(&gateway), "old");
    // As soon as there is another, it may go.
    release.deploy("serves new");
    gateway.wait_for_count(READY, 2);
    gateway.wait_for_workers(0);
    assert_eq!(text(&gateway), "new");
}

fn fallbacks(gateway: &Gateway) -> Vec<u32> {
    let mut found = crate::support::process_table::children(gateway.pid());
    found.retain(|pid| title(*pid).starts_with("wsgi-gateway: fallback "));
    found
}

#[track_caller]
fn expect_unavailable(answer: Response) {
    let answer = answer.expect(503);
    let after: u32 = answer.header("Retry-After").unwrap().parse().unwrap();
    assert!((1..=60).contains(&after), "{answer:?}");
    assert!(!answer.text().contains("released.py"), "{answer:?}");
}

/// Whatever the kind of pool: who asks is told so in time, and served as soon as that is possible.
#[test]
fn nobody_waits_for_a_worker_that_cannot_be_made() {
    const LIMIT: Duration = Duration::from_secs(2);
    for (options, broken) in [
        (
            &["--min-workers", "0", "--idle-timeout", "1s"][..],
            "raises",
        ),
        (&["--min-workers", "0", "--threads", "3"], "hangs"),
        (&[], "raises"),
        (&["--preload"], "raises"),
    ] {
        let release = Release::new("serves text");
        let builder = release.builder().args(["--startup-timeout", "2s"]);
        let gateway = builder.args(options).ready_by_log().start();
        release.deploy(broken);
        for pid in crate::support::process_table::children(gateway.pid()) {
            if title(pid).starts_with("wsgi-gateway: ") {
                crate::support::process_table::send(pid, Signal::SIGKILL);
            }
        }
        gateway.wait_for_workers(0);
        let begun = Instant::now();
        let mut kept = Connection::open(gateway.socket());
        expect_unavailable(kept.request(&Request::get("/").keep()));
        // Half a second for the machine.
        let took = begun.elapsed();
        assert!(took < LIMIT + Duration::from_millis(500), "{took:?}");
        expect_unavailable(fetch(
            gateway.socket(),
            &Request::post("/", &[b'x'; 100_000]),
        ));
        let head = Request::get("/").param("REQUEST_METHOD", "HEAD");
        assert_eq!(fetch(gateway.socket(), &head).expect(503).body, b"");
        assert_eq!(fallbacks(&gateway).len(), 1, "{options:?}");
        release.deploy("serves mended");
        let tally = gateway.wait_for("an answer", || {
            let answer = fetch(gateway.socket(), &Request::get("/"));
            (answer.status == 200).then_some(answer)
        });
        assert_eq!(tally.text(), "mended");
        gateway.wait_for("no fallback", || {
            fallbacks(&gateway).is_empty().then_some(())
        });
        // The connection that it had kept is a worker's now.
        assert_eq!(
            kept.request(&Request::get("/").keep()).expect(200).text(),
            "mended"
        );
        let exit = gateway.terminate();
        assert_eq!(exit.code, 0, "{}", exit.log);
        assert_eq!(
            exit.log.matches("answered with 503").count(),
            1,
            "{}",
            exit.log
        );
    }
}

/// The process that answers then is nobody's but the operator's user.
#[test]
fn who_answers_for_workers_has_no_more_rights_than_they() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not root: nobody can become another user");
        return;
    }
    let release = Release::new("raises");
    let options = [
        "--min-workers",
        "0",
        "--startup-timeout",
        "1s",
        "--user",
        "nobody",
    ];
    let gateway = release.builder().args(options).ready_by_log().start();
    expect_unavailable(fetch(gateway.socket(), &Request::get("/")));
    let uid = crate::support::process_table::status(fallbacks(&gateway)[0], "Uid").unwrap();
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap().uid;
    assert!(
        uid.split_whitespace().all(|uid| uid == nobody.to_string()),
        "{uid}"
    );
    // One that dies is followed by another, and the end is as clean as ever.
    crate::support::process_table::send(fallbacks(&gateway)[0], Signal::SIGKILL);
    expect_unavailable(fetch(gateway.socket(), &Request::get("/")));
    assert_eq!(gateway.terminate().code, 0);
}

/// Within the time that a start may take, and not only when what hangs has ended.
#[test]
fn who_waits_for_a_first_start_that_hangs_is_told_so() {
    for options in [&[][..], &["--preload"]] {
        let release = Release::new("hangs");
        let builder = release.builder().args(["--startup-timeout", "1s"]);
        let gateway = builder.args(options).start();
        expect_unavailable(fetch(gateway.socket(), &Request::get("/")));
        let log = gateway.log();
        assert!(
            !log.contains(") ended") && !log.contains("cannot start"),
            "{log}"
        );
        assert_eq!(gateway.wait().code, 3);
    }
}

/// They came while the application was imported for the first time.
#[test]
fn who_waits_for_a_first_start_that_fails_is_told_so() {
    for options in [&[][..], &["--preload"]] {
        for tcp in [false, true] {
            let release = Release::new("");
            let builder = release.builder().args(options);
            let fifo = Fifo::new(builder.folder().path(), "fifo");
            release.deploy(&format!("waits-and-raises {}", fifo.path()));
            let gateway = if tcp { builder.bind_tcp() } else { builder }.start();
            let word = fifo.entered();
            let mut waiting: Vec<_> = (0..5)
                .map(|_| match tcp {
                    true => Connection::tcp(gateway.address()),
                    false => Connection::open(gateway.socket()),
                })
                .collect();
            for connection in &mut waiting {
                connection.write(&Request::get("/").bytes());
            }
            drop(word);
            for mut connection in waiting {
                expect_unavailable(connection.response(1));
            }
            let exit = gateway.wait();
            assert_eq!(exit.code, 3, "{}", exit.log);
        }
    }
}
