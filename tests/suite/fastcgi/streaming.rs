//! Blocks that an application yields faster than they could leave one by one: none is held back while it computes the
//! next one (PEP 3333, "Buffering and Streaming"), none is lost, and their order stays.

use nix::sys::socket::{getsockopt, sockopt::SndBuf};

use crate::support::client::{Connection, Request, fetch};
use crate::support::gateway::{Fifo, Gateway};

fn burst(count: usize, size: usize) -> Vec<u8> {
    let blocks = (0..count).map(|number| format!("{number:0size$}"));
    blocks.collect::<Vec<_>>().concat().into_bytes()
}

/// Reads STDOUT records of the open response until so many bytes of body have come.
fn read_body(connection: &mut Connection, length: usize) -> Vec<u8> {
    let mut stdout = Vec::new();
    let body_of = |stdout: &[u8]| {
        let end = stdout.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        end.map_or(Vec::new(), |end| stdout[end + 4..].to_vec())
    };
    while body_of(&stdout).len() < length {
        let record = connection.read_record().expect("the response goes on");
        stdout.extend(record.content);
    }
    body_of(&stdout)
}

/// The application waits for the test's word, which comes when the test has all the blocks before it.
#[test]
fn a_burst_arrives_whole_while_the_application_computes_the_next_block() {
    let gateway = Gateway::start("fcgi_burst", &[]);
    let fifo = Fifo::new(gateway.folder(), "fifo");
    for (count, size) in [(2, 10), (50, 100), (200, 100), (300, 4_000), (20, 5_000)] {
        let query = format!("/?count={count}&size={size}&fifo={}", fifo.path());
        let mut connection = Connection::open(gateway.socket());
        connection.write(&Request::get(&query).bytes());
        assert_eq!(read_body(&mut connection, count * size), burst(count, size));
        fifo.release(b"");
        let rest = connection.response(1);
        assert_eq!(rest.raw_stdout, b"end");
        assert!(rest.end.is_some());
    }
}

/// More than the socket's buffers hold: what the web server does not take at once leaves when it does.
#[test]
fn a_burst_that_finds_no_room_leaves_when_there_is_some() {
    let gateway = Gateway::start("fcgi_burst", &["--threads", "2"]);
    let fifo = Fifo::new(gateway.folder(), "fifo");
    let (count, size) = (5_000, 130);
    let query = format!("/?count={count}&size={size}&fifo={}", fifo.path());
    let mut connection = Connection::open(gateway.socket());
    connection.write(&Request::get(&query).bytes());
    // Nothing of it is read while others are served.
    for _ in 0..50 {
        fetch(gateway.socket(), &Request::get("/?count=20&size=10")).expect(200);
    }
    let body = read_body(&mut connection, count * size);
    assert_eq!(body, burst(count, size));
    fifo.release(b"");
    assert_eq!(connection.response(1).raw_stdout, b"end");
}

#[test]
fn bursts_follow_one_another_on_a_kept_connection_and_beside_each_other() {
    let gateway = Gateway::start("fcgi_burst", &["--threads", "4"]);
    let socket = gateway.socket();
    std::thread::scope(|scope| {
        for client in 1..=4 {
            scope.spawn(move || {
                let mut connection = Connection::open(socket);
                for round in 0..50 {
                    let (count, size) = (10 + round, 10 * client);
                    let request = Request::get(&format!("/?count={count}&size={size}")).keep();
                    let response = connection.request(&request).expect(200);
                    assert_eq!(response.body, [&burst(count, size)[..], b"end"].concat());
                }
            });
        }
    });
}

/// A failure behind a burst cuts the response, behind the blocks that were yielded.
#[test]
fn a_failure_behind_a_burst_cuts_behind_its_blocks() {
    let gateway = Gateway::start("fcgi_burst", &[]);
    let response = fetch(
        gateway.socket(),
        &Request::get("/?count=100&size=50&fail=1").keep(),
    );
    assert_eq!(response.body, burst(100, 50));
    assert!(response.end.is_none() && response.broken);
}

/// nginx takes a mere close for the end of the response, so the word that it is none has to come also when the web server reads
/// so slowly that there is no room for it when the application fails.
#[test]
fn a_failure_is_told_however_much_waits_to_be_read() {
    let gateway = Gateway::start("breaking_site", &[]);
    for number in 1..=64 {
        let mut connection = Connection::open(gateway.socket());
        // About as much as the kernel takes without a reader, the traceback for the web server's log included.
        let length = getsockopt(&connection, SndBuf).unwrap() - 1024 - 128 * number;
        let request = Request::get(&format!("/breaks?{length}"));
        connection.write(&request.bytes());
        gateway.wait_for_count("RuntimeError: broke on purpose", number);
        let response = connection.response(1);
        assert_eq!(response.body.len(), length);
        assert!(response.broken, "after {length} bytes");
    }
}

/// Section 3: each connection is closed once, also by the thread that sends.
#[test]
fn clients_that_leave_in_a_burst_cost_no_descriptor() {
    let gateway = Gateway::start("fcgi_burst", &[]);
    let request = Request::get("/?count=5000&size=1000");
    fetch(gateway.socket(), &Request::get("/?count=50&size=10")).expect(200);
    let before = gateway.fd_count();
    for _ in 0..20 {
        let mut connection = Connection::open(gateway.socket());
        connection.write(&request.bytes());
        assert!(connection.read_record().is_some());
    }
    // One worker thread: this answer comes after all of them.
    fetch(gateway.socket(), &Request::get("/?count=50&size=10")).expect(200);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while gateway.fd_count() > before {
        assert!(
            std::time::Instant::now() < deadline,
            "{} descriptors",
            gateway.fd_count()
        );
        std::thread::yield_now();
    }
}
