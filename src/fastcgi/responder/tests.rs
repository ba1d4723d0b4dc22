//! Responders that share a channel, as the workers of one service do, but in one process.

mod figures;
mod passing;
mod rig;

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::unistd::gettid;

use crate::fastcgi::clock::lately;
use crate::fastcgi::handoff::{HandoffReceived, Note};
use crate::fastcgi::{AllowList, Handoff, Responder};
use rig::{ApplicationPlan, Client, ServedWorker, Socket, request, until};

/// A worker `a` that has the listeners and a worker `b` that gets only what `a` hands on.
fn pair(threads: usize) -> (Socket, ServedWorker, ServedWorker) {
    let (socket, handoff) = (Socket::bind(), Handoff::pair().unwrap());
    let a = ServedWorker::start(ApplicationPlan {
        listeners: socket.share(),
        handoff: Some(&handoff),
        threads,
        ..ApplicationPlan::of("a")
    });
    let b = ServedWorker::start(ApplicationPlan {
        handoff: Some(&handoff),
        threads,
        ..ApplicationPlan::of("b")
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
        table.waiting.iter().any(|waiting| !waiting.is_idle())
    });
    clients[1].request("/wait");
    a.until_inside(1);
    clients[0].write(back);
    let disarmed = || a.responder.table().disarmed.len();
    until("it is taken out of the set", || disarmed() == 1);
    assert_eq!((disarmed(), b.connections()), (1, 0));
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
        ServedWorker::start(ApplicationPlan {
            listeners: socket.share(),
            handoff: Some(&handoff),
            ..ApplicationPlan::of(name)
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

/// A worker that does not come to take what it was woken for wakes another.
#[test]
fn who_shuts_the_doors_tells_the_others_of_those_who_wait() {
    let handoff = Handoff::pair().unwrap();
    let used = (true, Note::USED);
    let look = (false, Note::LOOK);
    for (connects, sent, expected) in [
        (false, None, vec![]),
        (true, None, vec![look]),
        // What was passed on keeps its place.
        (false, Some(Note::USED), vec![used, (false, Note::NOTHING)]),
        (true, Some(Note::USED), vec![used, look]),
    ] {
        let socket = Socket::bind();
        let (clone, limits) = (handoff.try_clone().unwrap(), rig::limits());
        let responder = Responder::new(
            socket.share(),
            Some(clone),
            limits,
            AllowList::default(),
            1,
            false,
            std::sync::Arc::new(()),
        );
        let responder = responder.unwrap();
        let _client = connects.then(|| socket.connect());
        if let Some(note) = sent {
            let (_, ours) = UnixStream::pair().unwrap();
            handoff.send(Some(ours.as_fd()), note).unwrap();
        }
        responder.hold(true);
        responder.hold(true);
        let mut found = Vec::new();
        while let HandoffReceived::Message(message) = handoff.receive() {
            found.push((message.socket.is_some(), message.note));
        }
        assert_eq!(found, expected);
    }
}

#[test]
fn a_wakeup_tells_of_connections_that_another_was_woken_for() {
    let (socket, handoff) = (Socket::bind(), Handoff::pair().unwrap());
    let worker = ServedWorker::start(ApplicationPlan {
        listeners: socket.share(),
        handoff: Some(&handoff),
        ..ApplicationPlan::of("a")
    });
    for _ in 0..5 {
        // A worker that dies after it was woken. First in the queue and waiting, so that it alone is woken.
        worker.responder.hold(true);
        let dead = Epoll::new(EpollCreateFlags::empty()).unwrap();
        let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE, 0);
        let listeners = socket.share();
        dead.add(&listeners[0].socket, event).unwrap();
        let (tell, task) = mpsc::channel();
        let waiting = std::thread::spawn(move || {
            tell.send(gettid()).unwrap();
            dead.wait(&mut [EpollEvent::empty()], EpollTimeout::NONE)
        });
        let state = format!("/proc/self/task/{}/stat", task.recv().unwrap());
        until("it waits", || {
            fs::read_to_string(&state).unwrap().contains(") S ")
        });
        worker.responder.hold(false);
        let mut client = socket.connect();
        client.request("/");
        assert_eq!(waiting.join().unwrap(), Ok(1));
        handoff.wake_to_look();
        assert_eq!(client.answer(), "a");
    }
    worker.end();
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
    until("nothing new is accepted", || {
        a.full.load(Ordering::SeqCst) > 0
    });
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
    let switches = |worker: &ServedWorker| -> Vec<String> {
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
    let a = ServedWorker::start(ApplicationPlan {
        listeners: socket.share(),
        idle_timeout,
        ..ApplicationPlan::of("a")
    });
    let mut clients = kept(&socket, 2);
    clients[0].request("/wait");
    a.until_inside(1);
    clients[1].request("/");
    let swept = a.responder.table().next_sweep;
    until("deadlines are looked at", || {
        let table = a.responder.table();
        table.next_sweep > swept && table.next_sweep > lately() + idle_timeout
    });
    a.gate.open();
    assert_eq!(clients[1].answer(), "a");
    assert_eq!(clients[0].answer(), "a");
    a.end();
}

#[test]
fn idle_connections_are_closed_in_time_while_all_threads_are_busy() {
    let socket = Socket::bind();
    let a = ServedWorker::start(ApplicationPlan {
        listeners: socket.share(),
        idle_timeout: Duration::from_millis(100),
        ..ApplicationPlan::of("a")
    });
    let mut clients = kept(&socket, 2);
    clients[0].request("/wait");
    a.until_inside(1);
    assert_eq!(clients[1].try_answer(), None);
    a.until_inside(1);
    a.end();
}

#[test]
fn a_thread_that_panics_does_not_leave_the_others_behind() {
    for threads in [1, 3] {
        let (socket, a, b) = pair(threads);
        let mut others: Vec<Client> = (1..threads).map(|_| socket.connect()).collect();
        others.iter_mut().for_each(|client| client.request("/wait"));
        a.until_inside(threads - 1);
        socket.connect().request("/panic");
        until("a thread has ended", || {
            a.threads.iter().any(|it| it.is_finished())
        });
        a.gate.open();
        for client in &mut others {
            assert_eq!(client.answer(), "a");
        }
        let ends = a.threads.into_iter().map(|thread| {
            until("a thread ends", || thread.is_finished());
            thread.join()
        });
        assert_eq!(ends.filter(Result::is_err).count(), 1);
        b.end();
    }
}

#[test]
fn the_request_line_is_that_of_the_open_request() {
    for (pairs, expected) in [
        (
            &[("REQUEST_URI", "/a?b"), ("SCRIPT_NAME", "/c")][..],
            "/a?b",
        ),
        (
            &[
                ("REQUEST_URI", ""),
                ("SCRIPT_NAME", "/c"),
                ("PATH_INFO", "/d"),
            ],
            "/c/d",
        ),
        (&[("PATH_INFO", "/d")], "/d"),
        (&[], ""),
    ] {
        let socket = Socket::bind();
        let a = ServedWorker::start(ApplicationPlan {
            listeners: socket.share(),
            ..ApplicationPlan::of("a")
        });
        let mut client = socket.connect();
        client.write(&rig::request_of(pairs));
        client.answer();
        assert_eq!(a.end(), [expected]);
    }
}
