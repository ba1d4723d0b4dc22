//! What a responder counts, and who has waited how long.

use std::sync::atomic::Ordering;

use super::rig::{ApplicationPlan, DEADLINE, ServedWorker, Socket, request_of, until};
use crate::gateway::Refusal;

/// Nanoseconds of a millisecond.
const MS: u64 = 1_000_000;

#[test]
fn who_waits_while_all_threads_are_busy_is_known_to_have_waited() {
    let socket = Socket::bind();
    let worker = ServedWorker::start(ApplicationPlan {
        listeners: socket.share(),
        ..ApplicationPlan::of("a")
    });
    let (mut busy, mut kept) = (socket.connect(), socket.connect());
    assert_eq!(kept.ask("/first"), "a");
    busy.request("/wait");
    worker.until_inside(1);
    kept.request("/kept");
    let mut new = socket.connect();
    new.request("/new");
    // The watchdog has seen them: it tells that all threads are busy every 50 ms, each time after a look.
    let full = worker.full.load(Ordering::SeqCst);
    until("the watchdog has looked", || {
        worker.full.load(Ordering::SeqCst) > full + 1
    });
    worker.gate.open();
    for client in [&mut busy, &mut kept, &mut new] {
        assert_eq!(client.answer(), "a");
    }
    // They are written down once the answer has left.
    until("all four are written down", || {
        worker.figures.lock().unwrap().len() == 4
    });
    let figures = worker.figures.lock().unwrap().clone();
    let waited: Vec<u64> = figures.iter().map(|it| it.waited).collect();
    assert_eq!(waited[..2], [0, 0]);
    assert!(waited[2..].iter().all(|&it| it >= 40 * MS), "{waited:?}");
    let bound = u64::try_from(DEADLINE.as_nanos()).unwrap();
    assert!(figures.iter().all(|it| it.waited < bound), "{figures:?}");
    assert_eq!((figures[3].status, figures[3].sent), (Some(200), 1));
    assert!(!figures[3].was_left && figures[3].failure.is_none());
    assert_eq!(worker.tally.open.load(Ordering::SeqCst), 3);
    drop((busy, kept, new));
    let tally = std::sync::Arc::clone(&worker.tally);
    worker.end();
    assert_eq!(tally.open.load(Ordering::SeqCst), 0);
    assert_eq!(tally.left.load(Ordering::SeqCst), 0);
}

#[test]
fn refusals_are_counted_with_their_answers() {
    let socket = Socket::bind();
    let worker = ServedWorker::start(ApplicationPlan {
        listeners: socket.share(),
        connections: 1,
        ..ApplicationPlan::of("a")
    });
    let mut kept = socket.connect();
    assert_eq!(kept.ask("/"), "a");
    let mut refused = socket.connect();
    refused.request("/");
    assert!(refused.answer().starts_with("503"));
    drop((kept, refused));
    worker.until_connections(0);
    let mut large = socket.connect();
    let long = "x".repeat(65_000);
    large.write(&request_of(&[("A", &long), ("B", "")])[..60_000]);
    drop(large);
    until("a request that is not whole is left", || {
        worker.tally.left.load(Ordering::SeqCst) == 1
    });
    let refused = worker.tally.refused.lock().unwrap().clone();
    assert_eq!(refused, [(Refusal::Connections, 503)]);
    worker.end();
}
