//! Responders that share a channel, as the workers of one service do, but in one process.

mod rig;

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{setsockopt, sockopt::SndBuf};

use crate::fastcgi::{Handoff, Idle};
use rig::{Client, Plan, Socket, Worker, request, until};

/// A worker `a` that has the listeners and a worker `b` that gets only what `a` hands on.
fn pair(threads: usize) -> (Socket, Worker, Worker) {
    let (socket, handoff) = (Socket::bind(), Handoff::pair().unwrap());
    let a = Worker::start(Plan {
        listeners: socket.share(),
        handoff: Some(&handoff),
        threads,
        ..Plan::of("a")
    });
    let b = Worker::start(Plan {
        handoff: Some(&handoff),
        threads,
        ..Plan::of("b")
    });
    (socket, a, b)
}

fn kept(socket: &Socket, count: usize) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..count).map(|_| socket.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.ask("/"), "a");
    }
    clients
}

#[test]
fn a_request_on_a_kept_connection_does_not_wait_for_a_slow_one() {
    for threads in [1, 4] {
        let (socket, a, b) = pair(threads);
        let mut clients = kept(&socket, 8 + threads);
        let mut slow = clients.split_off(8);
        slow.iter_mut().for_each(|client| client.request("/wait"));
        a.until_inside(threads);
        for _ in 0..3 {
            for client in &mut clients {
                assert_eq!(client.ask("/"), "b");
            }
        }
        a.until_connections(threads);
        b.until_connections(8);
        a.gate.open();
        for client in &mut slow {
            assert_eq!(client.answer(), "a");
            // By whom, depends on whether the watchdog is still at it.
            client.ask("/");
        }
        drop((slow, clients));
        a.until_connections(0);
        b.until_connections(0);
        a.end();
        b.end();
    }
}

#[test]
fn a_connection_that_ends_while_all_are_busy_is_closed() {
    let (socket, a, b) = pair(1);
    let mut clients = kept(&socket, 3);
    clients[0].request("/wait");
    a.until_inside(1);
    clients.truncate(1);
    a.until_connections(1);
    assert_eq!(b.connections(), 0);
    a.end();
    b.end();
}

#[test]
fn what_is_partly_read_stays_and_does_not_make_the_watchdog_spin() {
    let (socket, a, b) = pair(1);
    let mut clients = kept(&socket, 2);
    let whole = request("/");
    let (front, back) = whole.split_at(20);
    clients[0].write(front);
    until("the front is read", || {
        let table = a.responder.table();
        table.waiting.values().any(|waiting| !waiting.is_idle())
    });
    clients[1].request("/wait");
    a.until_inside(1);
    clients[0].write(back);
    let benched = || a.responder.table().benched.len();
    until("it is taken out of the set", || benched() == 1);
    assert_eq!((benched(), b.connections()), (1, 0));
    a.gate.open();
    assert_eq!(clients[0].answer(), "a");
    assert_eq!(clients[1].answer(), "a");
    a.end();
    b.end();
}

#[test]
fn new_connections_are_left_to_who_is_free() {
    let (socket, handoff) = (Socket::bind(), Handoff::pair().unwrap());
    let [a, b] = ["a", "b"].map(|name| {
        Worker::start(Plan {
            listeners: socket.share(),
            handoff: Some(&handoff),
            ..Plan::of(name)
        })
    });
    let mut client = socket.connect();
    for _ in 0..20 {
        // On both ways, so that the new ones are often reported to a worker together with the slow one.
        client.request("/wait");
        let mut others: Vec<Client> = (0..4).map(|_| socket.connect()).collect();
        others.iter_mut().for_each(|other| other.request("/"));
        until("the slow one runs", || {
            a.gate.inside.load(Ordering::SeqCst) + b.gate.inside.load(Ordering::SeqCst) == 1
        });
        for other in &mut others {
            other.answer();
        }
        for worker in [&a, &b] {
            worker.gate.open();
        }
        client.answer();
        for worker in [&a, &b] {
            worker.until_inside(0);
            worker.gate.shut();
        }
    }
    a.end();
    b.end();
}

#[test]
fn a_nudge_tells_of_connections_that_another_was_woken_for() {
    let (socket, handoff) = (Socket::bind(), Handoff::pair().unwrap());
    // A worker that dies after it was woken. First in the queue, so that it alone is woken once it waits.
    let dead = Epoll::new(EpollCreateFlags::empty()).unwrap();
    let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE, 0);
    let listeners = socket.share();
    dead.add(&listeners[0].socket, event).unwrap();
    let waiting = std::thread::spawn(move || {
        let woken = dead.wait(&mut [EpollEvent::empty()], EpollTimeout::from(30_000u16));
        assert_eq!(woken, Ok(1));
    });
    let worker = Worker::start(Plan {
        listeners: socket.share(),
        handoff: Some(&handoff),
        ..Plan::of("a")
    });
    let mut clients = Vec::new();
    until("the other is woken", || {
        let mut client = socket.connect();
        client.request("/");
        clients.push(client);
        waiting.is_finished()
    });
    waiting.join().unwrap();
    handoff.nudge();
    for client in &mut clients {
        assert_eq!(client.answer(), "a");
    }
    drop(listeners);
    worker.end();
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
        until("the doors are shut", || a.full.load(Ordering::SeqCst) > 0);
        let mut client = socket.connect();
        client.request("/");
        a.responder.stop(idle);
        // At the end of all what has connected stays until there is a thread.
        if idle == Idle::Pass {
            until("the drain begins while all are busy", || {
                a.responder.table().listeners.is_empty()
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
    let plan = || Plan {
        handoff: Some(&handoff),
        ..Plan::of("a")
    };
    let a = Worker::start(Plan {
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
    let b = Worker::start(Plan {
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
    let (socket, handoff) = (Socket::bind(), Handoff::pair().unwrap());
    setsockopt(&handoff.to, SndBuf, &1).unwrap();
    let a = Worker::start(Plan {
        listeners: socket.share(),
        handoff: Some(&handoff),
        ..Plan::of("a")
    });
    let mut clients = kept(&socket, 51);
    let mut slow = clients.remove(0);
    slow.request("/wait");
    a.until_inside(1);
    clients.iter_mut().for_each(|client| client.request("/"));
    until("the channel is full", || {
        let table = a.responder.table();
        table.benched.len() == table.waiting.len() && table.retry.is_some()
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
    let (socket, handoff) = (Socket::bind(), Handoff::pair().unwrap());
    setsockopt(&handoff.to, SndBuf, &1).unwrap();
    let a = Worker::start(Plan {
        listeners: socket.share(),
        handoff: Some(&handoff),
        ..Plan::of("a")
    });
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
    let plan = || Plan {
        handoff: Some(&handoff),
        ..Plan::of("a")
    };
    let a = Worker::start(Plan {
        listeners: socket.share(),
        ..plan()
    });
    let clients = kept(&socket, 4);
    a.responder.stop(Idle::Pass);
    a.ended();
    let b = Worker::start(Plan {
        name: "b",
        connections: 2,
        ..plan()
    });
    b.until_connections(2);
    assert!(!b.responder.table().receiving);
    std::thread::scope(|scope| {
        for mut client in clients {
            // Only two are there at a time, but each that ends makes room.
            scope.spawn(move || assert_eq!(client.ask("/"), "b"));
        }
    });
    b.end();
}

#[test]
fn a_held_worker_takes_nothing_and_passes_on_what_comes() {
    let (socket, a, b) = pair(1);
    let mut clients = kept(&socket, 3);
    a.responder.hold(true);
    let mut new = socket.connect();
    new.request("/");
    for client in &mut clients {
        assert_eq!(client.ask("/"), "b");
    }
    a.until_connections(0);
    b.until_connections(3);
    a.responder.hold(false);
    assert_eq!(new.answer(), "a");
    b.responder.hold(true);
    for client in &mut clients {
        assert_eq!(client.ask("/"), "a");
    }
    a.end();
    b.end();
}

#[test]
fn listeners_are_replaced_and_nobody_at_the_old_ones_is_lost() {
    let (socket, a, b) = pair(1);
    let mut slow = socket.connect();
    slow.request("/wait");
    a.until_inside(1);
    until("the doors are shut", || a.full.load(Ordering::SeqCst) > 0);
    let mut old: Vec<Client> = (0..3).map(|_| socket.connect()).collect();
    let next = Socket::bind();
    a.responder.replace_listeners(next.share());
    drop(socket);
    old.iter_mut().for_each(|client| client.request("/"));
    for client in &mut old {
        assert_eq!(client.answer(), "b");
    }
    a.gate.open();
    assert_eq!(slow.answer(), "a");
    assert_eq!(next.connect().ask("/"), "a");
    a.end();
    b.end();
}

#[test]
fn it_is_told_when_all_threads_are_busy_and_again_while_they_are() {
    for threads in [1, 3] {
        let (socket, a, b) = pair(threads);
        let mut clients: Vec<Client> = (0..threads).map(|_| socket.connect()).collect();
        clients[0].request("/wait");
        for client in clients.iter_mut().skip(1) {
            assert_eq!(client.ask("/"), "a");
            assert_eq!(a.full.load(Ordering::SeqCst), 0);
            client.request("/wait");
        }
        let begun = Instant::now();
        until("it is told three times", || {
            a.full.load(Ordering::SeqCst) >= 3
        });
        assert!(begun.elapsed() > Duration::from_millis(90));
        a.end();
        b.end();
    }
}

#[test]
fn an_idle_worker_does_not_wake_up() {
    let (socket, a, b) = pair(1);
    let mut client = socket.connect();
    assert_eq!(client.ask("/sleep/20"), "a");
    drop(client);
    a.until_connections(0);
    // The threads of this test's workers are those that were started by it; others may come and go meanwhile.
    let switches = |worker: &Worker| -> Vec<String> {
        let all = worker.tasks.lock().unwrap();
        let of = |task: &i32| fs::read_to_string(format!("/proc/self/task/{task}/status")).unwrap();
        let line = |text: String| {
            let mut lines = text.lines().filter(|line| line.starts_with("voluntary"));
            lines.next().unwrap().to_owned()
        };
        all.iter().map(of).map(line).collect()
    };
    let mut before = switches(&a);
    until("nothing has happened for 200 ms", || {
        std::thread::sleep(Duration::from_millis(200));
        let now = switches(&a);
        let quiet = now == before;
        before = now;
        quiet
    });
    a.end();
    b.end();
}

#[test]
fn a_request_that_came_in_time_and_found_all_threads_busy_is_not_late() {
    let socket = Socket::bind();
    let idle_timeout = Duration::from_millis(100);
    let a = Worker::start(Plan {
        listeners: socket.share(),
        idle_timeout,
        ..Plan::of("a")
    });
    let mut clients = kept(&socket, 2);
    clients[0].request("/wait");
    a.until_inside(1);
    clients[1].request("/");
    let swept = a.responder.table().next_sweep;
    until("deadlines are looked at", || {
        let table = a.responder.table();
        table.next_sweep > swept && table.next_sweep > Instant::now() + idle_timeout
    });
    a.gate.open();
    assert_eq!(clients[1].answer(), "a");
    assert_eq!(clients[0].answer(), "a");
    a.end();
}

#[test]
fn idle_connections_are_closed_in_time_while_all_threads_are_busy() {
    let socket = Socket::bind();
    let a = Worker::start(Plan {
        listeners: socket.share(),
        idle_timeout: Duration::from_millis(100),
        ..Plan::of("a")
    });
    let mut clients = kept(&socket, 2);
    clients[0].request("/wait");
    a.until_inside(1);
    assert_eq!(clients[1].try_answer(), None);
    a.until_inside(1);
    a.end();
}

/// Generations of workers come and go under clients that keep their connections and make workers busy: every request is
/// answered, and none is served twice.
#[test]
fn no_request_is_lost_or_served_twice_over_many_generations() {
    const CLIENTS: usize = 8;
    for threads in [1, 3] {
        let (socket, handoff) = (Socket::bind(), Handoff::pair().unwrap());
        let start = || {
            Worker::start(Plan {
                listeners: socket.share(),
                handoff: Some(&handoff),
                threads,
                ..Plan::of("a")
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
