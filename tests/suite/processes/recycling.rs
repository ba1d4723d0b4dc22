//! Limits at which a worker is replaced: the replacement is ready before the old one leaves, and nothing is lost.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::client::{Connection, Request, fetch};
use crate::support::gateway::{Fifo, Gateway, READY};
use crate::support::load::Load;
use crate::support::process_table::{cpu_ticks, status_kib};
use crate::support::release::Release;

/// Reads in the log that from the first moment with so many ready workers on there were never fewer; gives how many have
/// ended.
#[track_caller]
fn never_fewer_than(least: usize, log: &str) -> usize {
    let mut ready = 0;
    let mut full = false;
    let mut ended = 0;
    for line in log.lines() {
        if line.contains(READY) {
            ready += 1;
            full |= ready >= least;
        } else if line.contains(") ended after") {
            ready -= 1;
            ended += 1;
            assert!(!full || ready >= least, "{ready} workers at: {line}\n{log}");
        }
        assert!(!line.contains("ended: "), "{line}");
    }
    assert!(full, "{log}");
    ended
}

#[test]
fn max_requests_loses_nothing_and_never_leaves_too_few_workers() {
    let release = Release::new("serves text");
    let options = ["--max-requests", "50", "--max-requests-jitter", "10"];
    let gateway = release.start(2, &options);
    let tally = Load::on(&gateway, "/").requests(3_000).run();
    eprintln!("{tally}");
    tally.expect_none_lost();
    assert_eq!(tally.served, 3_000);
    let ended = never_fewer_than(2, &gateway.log());
    eprintln!("{ended} workers were replaced");
    assert!(ended >= 5, "{ended}");
    assert_eq!(gateway.terminate().code, 0);
}

/// Where requests are rare, each worker serves as many as it may and no more.
#[test]
fn max_requests_counts() {
    let release = Release::new("serves text");
    let gateway = release.start(1, &["--max-requests", "5"]);
    let mut served = BTreeMap::new();
    for round in 1..=3 {
        for _ in 0..5 {
            let pid = fetch(gateway.socket(), &Request::get("/pid")).expect(200);
            *served.entry(pid.text()).or_insert(0) += 1;
        }
        gateway.wait_for_count(") ended after", round);
    }
    assert_eq!(served.into_values().collect::<Vec<_>>(), [5, 5, 5]);
    assert!(
        gateway.log().contains("--max-requests"),
        "{}",
        gateway.log()
    );
}

#[test]
fn an_application_that_leaks_is_held_in_bounds() {
    let gateway = Gateway::start("leaking.py", &["--workers", "2", "--max-rss", "200M"]);
    gateway.wait_until_ready(2);
    let end = AtomicBool::new(false);
    let mut peaks: BTreeMap<u32, u64> = BTreeMap::new();
    let tally = thread::scope(|scope| {
        let load = scope.spawn(|| {
            let tally = Load::on(&gateway, "/").clients(4).requests(2_000).run();
            end.store(true, Ordering::Release);
            tally
        });
        while !end.load(Ordering::Acquire) {
            for worker in gateway.workers() {
                if let Some(peak) = status_kib(worker, "VmHWM") {
                    peaks.insert(worker, peak);
                }
            }
            thread::sleep(Duration::from_millis(3));
        }
        load.join().unwrap()
    });
    eprintln!("{tally}");
    let largest = peaks.values().max().unwrap() / 1024;
    eprintln!("{} workers, the largest had {largest} MiB", peaks.len());
    tally.expect_none_lost();
    assert!(peaks.len() > 5, "{peaks:?}");
    assert!(largest <= 220, "{peaks:?}");
    never_fewer_than(2, &gateway.log());
    assert!(gateway.log().contains("--max-rss"), "{}", gateway.log());
}

#[test]
fn a_worker_is_replaced_when_it_has_lived_long_enough() {
    let release = Release::new("serves text");
    let gateway = release.start(2, &["--max-lifetime", "500ms"]);
    let (_, tally) = Load::on(&gateway, "/")
        .pause(Duration::from_millis(1))
        .during(|_| gateway.wait_for_count(") ended after", 4));
    tally.expect_none_lost();
    never_fewer_than(2, &gateway.log());
    // Idle ones as well.
    let before = gateway.log().matches(") ended after").count();
    gateway.wait_for_count(") ended after", before + 2);
    assert!(
        gateway.log().contains("--max-lifetime"),
        "{}",
        gateway.log()
    );
}

/// Requests that wait while the application is imported, as those of a busy site do after a restart: they are answered from
/// the first moment on, by all threads, and each limit may be reached with the first of them.
fn requests_that_wait_for_the_import(options: &[&str], count: usize) -> (Release, Gateway) {
    let release = Release::new("serves text");
    let builder = release.builder().args(["--threads", "64"]).args(options);
    let fifo = Fifo::new(builder.folder().path(), "fifo");
    release.deploy(&format!("waits {}", fifo.path()));
    let gateway = builder.start();
    let word = fifo.entered();
    let mut waiting: Vec<_> = (0..count)
        .map(|_| Connection::open(gateway.socket()))
        .collect();
    for connection in &mut waiting {
        connection.write(&Request::get("/").bytes());
    }
    release.deploy("serves text");
    drop(word);
    for mut connection in waiting {
        connection.response(1).expect(200);
    }
    (release, gateway)
}

#[test]
fn a_limit_that_is_reached_with_the_first_requests_is_not_forgotten() {
    let (_release, gateway) = requests_that_wait_for_the_import(&["--max-requests", "1"], 24);
    gateway.wait_for_log("has reached --max-requests");
    gateway.wait_for_count(READY, 2);
    gateway.wait_for_count(") ended after", 1);
    // And so on.
    for round in 2..=4 {
        fetch(gateway.socket(), &Request::get("/")).expect(200);
        gateway.wait_for_count(") ended after", round);
    }
}

/// No worker can keep to it: the operator is told so, once, and the site is as well as it can be.
#[test]
fn less_memory_than_the_application_takes_is_told_and_does_not_shut_the_doors() {
    for preload in [&[][..], &["--preload"]] {
        let options = [&["--max-rss", "1M"][..], preload].concat();
        let (_release, gateway) = requests_that_wait_for_the_import(&options, 24);
        let tally = Load::on(&gateway, "/").requests(200).run();
        tally.expect_none_lost();
        gateway.wait_for_count(READY, 2);
        Load::on(&gateway, "/")
            .requests(200)
            .run()
            .expect_none_lost();
        let log = gateway.log();
        let told: Vec<&str> = log
            .lines()
            .filter(|line| line.contains("--max-rss") && line.contains("warn"))
            .collect();
        assert_eq!(told.len(), 1, "{log}");
        assert!(
            told[0].contains("--max-rss 1 MiB") && told[0].contains("give"),
            "{told:?}"
        );
        // As when workers die one after another.
        assert!(log.matches(READY).count() < 10, "{log}");
    }
}

/// The application's import is none of the time that a worker may serve, or none would be young enough to.
#[test]
fn a_lifetime_begins_when_a_worker_can_serve() {
    let options = ["--max-lifetime", "300ms"];
    let release = Release::new("serves text");
    let builder = release.builder().args(options);
    let fifo = Fifo::new(builder.folder().path(), "fifo");
    release.deploy(&format!("waits {}", fifo.path()));
    let gateway = builder.start();
    let word = fifo.entered();
    let worker = gateway.worker();
    let before = cpu_ticks(worker);
    // The time passes: another one that has been started later reaches it.
    let other = Release::new("serves text").start(1, &options);
    other.wait_for_line(&["has reached --max-lifetime"]);
    let used = cpu_ticks(worker) - before;
    assert!(used < 20, "{used} ticks of the processor while it waits");
    release.deploy("serves text");
    drop(word);
    gateway.wait_for_count(READY, 1);
    let begun = Instant::now();
    gateway.wait_for_line(&["has reached --max-lifetime"]);
    assert!(
        begun.elapsed() > Duration::from_millis(150),
        "{:?}",
        begun.elapsed()
    );
    gateway.wait_for_count(") ended after", 2);
}

/// The new code on disk is broken: who would be replaced is the only one that can serve.
#[test]
fn a_worker_that_nobody_can_follow_serves_on_whatever_it_has_reached() {
    for options in [
        &["--max-requests", "3"][..],
        &["--max-lifetime", "300ms"],
        &["--max-rss", "60M"],
    ] {
        let release = Release::new("serves old");
        let gateway = release.start(1, options);
        fetch(gateway.socket(), &Request::get("/")).expect(200);
        release.deploy("raises");
        for _ in 0..8 {
            fetch(gateway.socket(), &Request::get("/grows?80")).expect(200);
        }
        gateway.wait_for_count("before it was ready", 2);
        Load::on(&gateway, "/")
            .requests(50)
            .run()
            .expect_none_lost();
        release.deploy("serves new");
        gateway.wait_for_count(READY, 2);
        gateway.wait_for("the new code", || {
            let answer = fetch(gateway.socket(), &Request::get("/"));
            (answer.expect(200).text() == "new").then_some(())
        });
    }
}

/// Web hosts limit the processor time of a CGI program, which a worker of persistent CGI inherits, and the kernel kills what is above.
#[test]
fn no_request_is_lost_to_a_limit_of_processor_time() {
    let line = "ulimit -t 1; exec \"$@\"";
    let gateway = Gateway::builder("burning.py").shell(line).start();
    let mut served = BTreeMap::new();
    for _ in 0..10 {
        let pid = fetch(gateway.socket(), &Request::get("/"))
            .expect(200)
            .text();
        let count = served.entry(pid).or_insert(0);
        *count += 1;
        // With its import it has used half of what it may. How long it takes to start another is not what this is about.
        if *count == 5 {
            gateway.wait_for_count(") ended after", served.len());
        }
    }
    assert!(served.len() >= 2, "{served:?}");
}
