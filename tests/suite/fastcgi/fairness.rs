//! Who has waited longest is served next, where there is one thread and many who wait. It is the order that is looked at, as the
//! application sees it, and never the time.

use std::collections::HashMap;
use std::thread;

use crate::support::client::{Connection, Request, fetch};
use crate::support::gateway::{Fifo, Gateway};

/// Who waits, of each sort.
const MANY: usize = 20;

/// How often each asks.
const TIMES: usize = 4;

/// Has all of them ask while the only thread is in a request, and each again as soon as it was answered: in which order
/// they were served. `told`: only once the master has said that they wait, and
/// so after they were handed over.
fn order(kept: usize, new: usize, told: bool) -> Vec<String> {
    let gateway = Gateway::start("turns.py", &[]);
    let fifo = Fifo::new(gateway.folder(), "fifo");
    let mut connections: Vec<Connection> = (0..kept)
        .map(|_| {
            let mut connection = Connection::open(gateway.socket());
            connection
                .request(&Request::get("/order").keep())
                .expect(200);
            connection
        })
        .collect();
    let mut holding = Connection::open(gateway.socket());
    let held = Request::get(&format!("/hold?{}", fifo.path()));
    holding.write(&held.bytes());
    let entered = fifo.entered();
    let asks = |at: usize| Request::get(&format!("/?{at}"));
    for (at, connection) in connections.iter_mut().enumerate() {
        connection.write(&asks(at).keep().bytes());
    }
    let mut arrived: Vec<Connection> = Vec::new();
    for at in kept..kept + new {
        let mut connection = Connection::open(gateway.socket());
        connection.write(&asks(at).bytes());
        arrived.push(connection);
    }
    if told {
        gateway.wait_for_log("workers are busy");
    }
    thread::scope(|scope| {
        for (at, mut connection) in connections.into_iter().enumerate() {
            let request = asks(at).keep();
            scope.spawn(move || {
                connection.response(request.id).expect(200);
                for _ in 1..TIMES {
                    connection.request(&request).expect(200);
                }
            });
        }
        for (at, mut connection) in (kept..).zip(arrived) {
            let (request, socket) = (asks(at), gateway.socket());
            scope.spawn(move || {
                connection.response(request.id).expect(200);
                drop(connection);
                for _ in 1..TIMES {
                    fetch(socket, &request).expect(200);
                }
            });
        }
        drop(entered);
    });
    let order = fetch(gateway.socket(), &Request::get("/order")).expect(200);
    order.text().split(' ').map(str::to_owned).collect()
}

/// How often the one who was served most often was, when the last of all was served for the first time.
fn most(order: &[String], all: usize) -> usize {
    let mut served: HashMap<&str, usize> = HashMap::new();
    for name in order {
        *served.entry(name).or_default() += 1;
        if served.len() == all {
            return served.values().copied().max().unwrap_or_default();
        }
    }
    panic!("not all were served: {order:?}");
}

#[test]
fn nobody_is_served_twice_before_everybody_was_once() {
    for told in [true, false] {
        let order = order(MANY, 0, told);
        assert_eq!(order.len(), MANY * TIMES);
        assert_eq!(most(&order, MANY), 1, "{order:?}");
    }
}

#[test]
fn nor_are_new_connections_kept_waiting_by_kept_ones() {
    let order = order(MANY, MANY, true);
    assert_eq!(order.len(), 2 * MANY * TIMES);
    // Who of the two sorts was first, nobody can know.
    let most = most(&order, 2 * MANY);
    assert!(most <= 2, "one was served {most} times: {order:?}");
}

/// FastCGI section 3.3 has one request after the other on a connection, and nothing keeps a web server from sending the next
/// one ahead.
#[test]
fn nor_by_one_who_asks_ahead() {
    let gateway = Gateway::start("turns.py", &[]);
    let fifo = Fifo::new(gateway.folder(), "fifo");
    let mut ahead = Connection::open(gateway.socket());
    let mut others: Vec<Connection> = (0..MANY)
        .map(|_| Connection::open(gateway.socket()))
        .collect();
    for connection in others.iter_mut().chain([&mut ahead]) {
        connection
            .request(&Request::get("/order").keep())
            .expect(200);
    }
    let hold = Request::get(&format!("/hold?{}", fifo.path())).keep();
    let mut bytes = hold.bytes();
    for _ in 0..3 {
        bytes.extend(Request::get("/?ahead").keep().bytes());
    }
    ahead.write(&bytes);
    let entered = fifo.entered();
    for (at, connection) in others.iter_mut().enumerate() {
        connection.write(&Request::get(&format!("/?{at}")).keep().bytes());
    }
    drop(entered);
    for _ in 0..4 {
        ahead.response(1).expect(200);
    }
    for connection in &mut others {
        connection.response(1).expect(200);
    }
    let order = fetch(gateway.socket(), &Request::get("/order")).expect(200);
    let order: Vec<String> = order.text().split(' ').map(str::to_owned).collect();
    assert!(most(&order, MANY + 1) <= 2, "{order:?}");
}
