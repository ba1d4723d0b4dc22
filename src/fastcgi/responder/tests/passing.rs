//! Connections that go from one worker to another.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use nix::sys::socket::{setsockopt, sockopt::SndBuf};

use super::rig::{ApplicationPlan, Client, ServedWorker, Socket, until};
use super::{kept, pair};
use crate::fastcgi::{Handoff, Idle};

/// A worker `a` and its channel, which is full after a few connections.
fn with_a_small_channel() -> (Socket, ServedWorker) {
    let (socket, handoff) = (Socket::bind(), Handoff::pair().unwrap());
    setsockopt(&handoff.to, SndBuf, &1).unwrap();
    let a = ServedWorker::start(ApplicationPlan {
        listeners: socket.share(),
        handoff: Some(&handoff),
        ..ApplicationPlan::of("a")
    });
    (socket, a)
}

#[test]
fn a_draining_worker_passes_its_idle_connections_on() {
    for threads in [1, 4] {
        let (socket, a, b) = pair(threads);
        let mut clients = kept(&socket, 20);
        clients.extend((0..5).map(|_| socket.connect()));
        a.until_connections(25);
        a.responder.stop(Idle::Pass);
        let served = a.ended();
        assert_eq!(served.len(), 20);
        b.until_connections(25);
        until("those that were used are known as such", || {
            let table = b.responder.table();
            let used = table.waiting.iter().filter(|it| it.used).count();
            (table.waiting.len(), used) == (25, 20)
        });
        for client in &mut clients {
            assert_eq!(client.ask("/"), "b");
        }
        assert_eq!(b.connections(), 25);
        b.end();
    }
}

#[test]
fn what_waits_at_the_listener_is_left_to_the_others_or_served_at_the_end_of_all() {
    for (idle, expected) in [(Idle::Pass, "b"), (Idle::Close, "a")] {
        let (socket, a, b) = pair(1);
        let mut slow = socket.connect();
        slow.request("/wait");
        a.until_inside(1);
        until("nothing new is accepted", || {
            a.full.load(Ordering::SeqCst) > 0
        });
        let mut client = socket.connect();
        client.request("/");
        a.responder.stop(idle);
        // At the end of all what has connected stays until there is a thread.
        if idle == Idle::Pass {
            until("the drain begins while all are busy", || {
                a.responder.table().acceptor.listeners.is_empty()
            });
            b.responder.replace_listeners(socket.share());
        }
        a.gate.open();
        assert_eq!(client.answer(), expected);
        assert_eq!(slow.answer(), "a");
        a.ended();
        b.end();
    }
}

#[test]
fn connections_are_passed_on_at_once_and_also_those_that_become_idle_later() {
    for threads in [1, 4] {
        let (socket, a, b) = pair(threads);
        let mut clients = kept(&socket, 8 + threads);
        let mut slow = clients.split_off(8);
        slow.iter_mut().for_each(|client| client.request("/wait"));
        a.until_inside(threads);
        a.responder.stop(Idle::Pass);
        b.until_connections(8);
        for client in &mut clients {
            assert_eq!(client.ask("/"), "b");
        }
        a.gate.open();
        for client in &mut slow {
            assert_eq!(client.answer(), "a");
            assert_eq!(client.ask("/"), "b");
        }
        a.ended();
        b.end();
    }
}

#[test]
fn a_full_channel_is_tried_again_and_meanwhile_requests_are_served() {
    let (socket, handoff) = (Socket::bind(), Handoff::pair().unwrap());
    setsockopt(&handoff.to, SndBuf, &1).unwrap();
    let plan = || ApplicationPlan {
        handoff: Some(&handoff),
        ..ApplicationPlan::of("a")
    };
    let a = ServedWorker::start(ApplicationPlan {
        listeners: socket.share(),
        ..plan()
    });
    let mut clients = kept(&socket, 100);
    a.responder.stop(Idle::Pass);
    until("the channel is full", || {
        a.responder.table().retry.is_some()
    });
    let left = a.connections();
    assert!((50..100).contains(&left), "{left} connections are left");
    clients.iter_mut().for_each(|client| client.request("/"));
    until("those that are left are served", || {
        a.served.lock().unwrap().len() == 100 + left
    });
    assert_eq!(a.connections(), left);
    let b = ServedWorker::start(ApplicationPlan {
        name: "b",
        ..plan()
    });
    a.ended();
    let answers: Vec<String> = clients.iter_mut().map(Client::answer).collect();
    let here = answers.iter().filter(|answer| *answer == "a").count();
    assert_eq!(here, left);
    for client in &mut clients {
        assert_eq!(client.ask("/"), "b");
    }
    b.end();
}

#[test]
fn a_busy_worker_with_a_full_channel_keeps_its_connections() {
    let (socket, a) = with_a_small_channel();
    let mut clients = kept(&socket, 51);
    let mut slow = clients.remove(0);
    slow.request("/wait");
    a.until_inside(1);
    clients.iter_mut().for_each(|client| client.request("/"));
    until("the channel is full", || {
        let table = a.responder.table();
        table.disarmed.len() == table.waiting.len() && table.retry.is_some()
    });
    a.gate.open();
    for client in &mut clients {
        assert_eq!(client.answer(), "a");
    }
    assert_eq!(slow.answer(), "a");
    a.end();
}

#[test]
fn passing_may_turn_into_closing() {
    let (socket, a) = with_a_small_channel();
    let mut clients = kept(&socket, 50);
    a.responder.stop(Idle::Pass);
    until("the channel is full", || {
        a.responder.table().retry.is_some()
    });
    clients[0].request("/");
    a.responder.stop(Idle::Close);
    // It takes back what is in the channel, and answers what has been asked.
    assert_eq!(clients[0].answer(), "a");
    a.ended();
    assert!(
        clients
            .iter_mut()
            .all(|client| client.try_answer().is_none())
    );
}

#[test]
fn what_is_received_counts_and_above_the_limit_nothing_is() {
    let (socket, handoff) = (Socket::bind(), Handoff::pair().unwrap());
    let plan = || ApplicationPlan {
        handoff: Some(&handoff),
        ..ApplicationPlan::of("a")
    };
    let a = ServedWorker::start(ApplicationPlan {
        listeners: socket.share(),
        ..plan()
    });
    let clients = kept(&socket, 4);
    a.responder.stop(Idle::Pass);
    a.ended();
    let b = ServedWorker::start(ApplicationPlan {
        name: "b",
        connections: 2,
        ..plan()
    });
    b.until_connections(2);
    assert!(!b.responder.table().acceptor.is_receiving());
    std::thread::scope(|scope| {
        for mut client in clients {
            // Only two are there at a time, but each that ends makes room.
            scope.spawn(move || assert_eq!(client.ask("/"), "b"));
        }
    });
    b.end();
}

/// Generations of workers come and go under clients that keep their connections and make workers busy: every request is
/// answered, and none is served twice.
#[test]
fn no_request_is_lost_or_served_twice_over_many_generations() {
    const CLIENTS: usize = 8;
    for threads in [1, 3] {
        let (socket, handoff) = (Socket::bind(), Handoff::pair().unwrap());
        let start = || {
            ServedWorker::start(ApplicationPlan {
                listeners: socket.share(),
                handoff: Some(&handoff),
                threads,
                ..ApplicationPlan::of("a")
            })
        };
        let (over, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
        let served = Arc::<Mutex<Vec<String>>>::default();
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    let mut client = socket.connect();
                    while !over.load(Ordering::Relaxed) {
                        let number = asked.fetch_add(1, Ordering::Relaxed);
                        let time = match number % 50 {
                            0 => 30,
                            1..5 => 7,
                            _ => 0,
                        };
                        assert_eq!(client.ask(&format!("/sleep/{time}?{number}")), "a");
                        if number % 97 == 0 {
                            client = socket.connect();
                        }
                    }
                });
            }
            let mut generation = [start(), start()];
            for _ in 0..20 {
                let goal = asked.load(Ordering::Relaxed) + 100;
                until("clients are served", || {
                    asked.load(Ordering::Relaxed) > goal
                });
                let old = std::mem::replace(&mut generation, [start(), start()]);
                for worker in &old {
                    worker.responder.stop(Idle::Pass);
                }
                for worker in old {
                    served.lock().unwrap().extend(worker.ended());
                }
            }
            over.store(true, Ordering::Relaxed);
            let goal = asked.load(Ordering::Relaxed);
            until("all is answered", || {
                let done: usize = generation
                    .iter()
                    .map(|it| it.served.lock().unwrap().len())
                    .sum();
                served.lock().unwrap().len() + done >= goal
            });
            for worker in generation {
                served.lock().unwrap().extend(worker.end());
            }
        });
        let mut served = served.lock().unwrap().clone();
        let count = served.len();
        served.sort_unstable();
        served.dedup();
        assert_eq!(
            (served.len(), count),
            (asked.load(Ordering::Relaxed), served.len())
        );
    }
}
