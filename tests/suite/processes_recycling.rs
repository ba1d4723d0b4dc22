//! Limits at which a worker is replaced: the replacement is ready before the old one leaves, and nothing is lost.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::client::{Request, fetch};
use crate::gateway::{Gateway, READY};
use crate::load::Load;
use crate::process_table::status_kib;
use crate::release::Release;

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
    let tally = Load::on(&gateway, "/").requests(10_000).run();
    eprintln!("{tally}");
    tally.expect_none_lost();
    assert_eq!(tally.served, 10_000);
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
