//! Limits, deadlines and the end: what the gateway does with too much, too slow and "stop". Every
//! limit answers with a page, because silence tells a web server nothing (mod_proxy_fcgi makes an empty
//! 200 of a request that ends without output, HAProxy waits for ever).

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::client::{
    Connection, PARAMS, RESPONDER, Request, Response, STDIN, begin, fetch, pairs, record, stream,
    wait_until_read,
};
use crate::support::gateway::{DEADLINE, Fifo, Gateway};

/// A page of the gateway's own: whole, with a type, and short.
#[track_caller]
fn page(response: Response, status: u16) -> Response {
    let response = response.expect(status);
    assert!(!response.reason.is_empty(), "{response:?}");
    let kind = response.header("Content-Type");
    assert_eq!(kind, Some("text/plain; charset=utf-8"));
    assert!(!response.body.is_empty() && response.body.len() < 500);
    response
}

/// A request that has begun and goes no further.
fn begun(gateway: &Gateway) -> (Connection, Vec<u8>) {
    let mut connection = Connection::open(gateway.socket());
    let mut wire = Request::get("/later").keep().bytes();
    let rest = wire.split_off(50);
    connection.write(&wire);
    wait_until_read(&connection);
    (connection, rest)
}

// ---- 431

#[test]
fn too_many_params_are_answered_with_431() {
    let gateway = Gateway::start("fcgi_unread", &["--max-params", "4K"]);
    let base = pairs(&Request::get("/").params).len();
    // A pair of a one-byte name and a long value has a frame of six bytes.
    let filled = |total: usize| Request::get("/").add_param("N", "v".repeat(total - base - 6));
    fetch(gateway.socket(), &filled(4_096)).expect(200);
    for total in [4_097, 5_000, 70_000, 3_000_000] {
        page(fetch(gateway.socket(), &filled(total)), 431);
    }
    // A web server that goes on with a body all the same still gets to see the page.
    let mut request = filled(100_000).param("REQUEST_METHOD", "POST");
    request = request.param("CONTENT_LENGTH", "1000000");
    request.stdin = vec![b'x'; 1_000_000];
    page(fetch(gateway.socket(), &request), 431);
    assert_eq!(
        fetch(gateway.socket(), &Request::get("/on"))
            .expect(200)
            .text(),
        "/on"
    );
}

#[test]
fn a_mebibyte_of_params_is_the_limit_unless_told_otherwise() {
    let gateway = Gateway::start("fcgi_unread", &[]);
    let request = |size: usize| Request::get("/").add_param("N", "v".repeat(size));
    fetch(gateway.socket(), &request(1_000_000)).expect(200);
    page(fetch(gateway.socket(), &request(1_048_577)), 431);
}

#[test]
fn one_value_that_claims_too_much_is_answered_at_once() {
    let gateway = Gateway::start("fcgi_unread", &["--max-params", "4K"]);
    let mut connection = Connection::open(gateway.socket());
    connection.write(&begin(9, RESPONDER, 0));
    // More params than allowed, and the stream has not ended: no need to wait for its end.
    connection.record(PARAMS, 9, &record(0, 0, &[b'n'; 9_000], 0), 0);
    page(connection.response(9), 431);
}

// ---- 413

#[test]
fn too_large_a_body_is_answered_with_413() {
    let gateway = Gateway::start("fcgi_echo", &["--max-body", "1000"]);
    let allowed = vec![b'x'; 1_000];
    assert_eq!(
        fetch(gateway.socket(), &Request::post("/", &allowed))
            .expect(200)
            .body,
        allowed
    );
    for size in [1_001, 100_000, 3_000_000] {
        let body = vec![b'x'; size];
        page(fetch(gateway.socket(), &Request::post("/", &body)), 413);
    }
    // Refused by what is announced, before anything of it has come.
    let mut connection = Connection::open(gateway.socket());
    connection.write(&Request::post("/", &[b'x'; 5_000]).head());
    page(connection.response(1), 413);
    fetch(gateway.socket(), &Request::post("/", &allowed)).expect(200);
}

#[test]
fn too_large_a_body_of_unknown_length_is_answered_with_413() {
    let gateway = Gateway::start("fcgi_echo", &["--max-body", "1000"]);
    let request = |size: usize| Request::post("/", &vec![b'x'; size]).without("CONTENT_LENGTH");
    fetch(gateway.socket(), &request(1_000)).expect(200);
    for size in [1_001, 50_000] {
        page(fetch(gateway.socket(), &request(size)), 413);
    }
}

#[test]
fn a_refused_body_ends_a_kept_connection_without_a_reset() {
    let gateway = Gateway::start("fcgi_echo", &["--max-body", "1000"]);
    let mut connection = Connection::open(gateway.socket());
    let small = connection.request(&Request::post("/", b"small").keep());
    assert_eq!(small.expect(200).text(), "small");
    let large = Request::post("/", &[b'x'; 2_000_000]).keep();
    page(connection.request(&large), 413);
    // Reading on for megabytes that nobody wants would be a gift: the web server is told to connect
    // anew, but not before it has the page.
    assert_eq!(connection.read_to_eof(), b"");
    assert!(!connection.reset);
}

#[test]
fn a_body_of_unknown_length_that_grows_too_large_fails_the_read() {
    let mut gateway = Gateway::start("fcgi_echo", &["--max-body", "200000"]);
    let request = Request::post("/", &[b'x'; 1_000_000]).without("CONTENT_LENGTH");
    // The application has been called with the first 64 KiB of it when the limit is reached.
    let response = fetch(gateway.socket(), &request);
    assert!(matches!(response.status, 413 | 500), "{response:?}");
    assert!(response.end.is_some());
    assert!(gateway.is_unharmed());
    fetch(gateway.socket(), &Request::post("/", b"small")).expect(200);
}

// ---- 503

#[test]
fn a_full_gateway_answers_with_503_and_serves_again_when_there_is_room() {
    let gateway = Gateway::start("fcgi_unread", &["--max-connections", "4"]);
    gateway.wait_for_log("ready");
    let mut open: Vec<_> = (0..4).map(|_| begun(&gateway)).collect();
    for number in 0..20u16 {
        // With and without a body, and with any id: the answer must be one for this request.
        let request = Request::post("/", &vec![b'x'; usize::from(number) * 1_000]).id(7 + number);
        let response = page(fetch(gateway.socket(), &request), 503);
        let seconds = response.header("Retry-After").expect("Retry-After");
        assert!(seconds.parse::<u32>().unwrap() > 0);
        assert!(response.closed);
    }
    gateway.wait_for_log("--max-connections");
    // Those that were there first are served.
    for (connection, rest) in &mut open {
        connection.write(rest);
        assert_eq!(connection.response(1).expect(200).text(), "/later");
    }
    drop(open);
    let deadline = Instant::now() + DEADLINE;
    while fetch(gateway.socket(), &Request::get("/room")).status != 200 {
        assert!(Instant::now() < deadline, "still full");
    }
}

#[test]
fn a_full_gateway_keeps_its_descriptors() {
    let gateway = Gateway::start("fcgi_unread", &["--max-connections", "2"]);
    gateway.wait_for_log("ready");
    let open: Vec<_> = (0..2).map(|_| begun(&gateway)).collect();
    let before = gateway.fd_count();
    for _ in 0..300 {
        page(fetch(gateway.socket(), &Request::get("/")), 503);
    }
    assert!(gateway.fd_count() <= before + 2);
    drop(open);
}

// ---- Deadlines

#[test]
fn a_begun_request_that_does_not_go_on_is_closed() {
    let gateway = Gateway::start("fcgi_echo", &["--header-timeout", "300ms"]);
    let request = Request::post("/", b"0123456789");
    let whole = request.bytes();
    let head = request.head().len();
    // In a record's header, in the begin record, between records, in the params.
    for sent in [4, 12, 16, 20, 100, head - 4] {
        let mut connection = Connection::open(gateway.socket());
        connection.write(&whole[..sent]);
        let started = Instant::now();
        connection.read_to_eof();
        // The deadline of an idle connection is 90 seconds: this was the other one.
        assert!(started.elapsed() < DEADLINE, "{sent}");
    }
    fetch(gateway.socket(), &request).expect(200);
}

#[test]
fn a_head_that_comes_byte_by_byte_has_no_more_time() {
    let gateway = Gateway::start("fcgi_unread", &["--header-timeout", "500ms"]);
    let mut connection = Connection::open(gateway.socket());
    let wire = Request::get("/").param("LONG", "x".repeat(5_000)).bytes();
    let mut reader = connection.writer();
    let closed = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            reader.read_to_eof();
            closed.store(true, Ordering::Relaxed);
        });
        for byte in &wire {
            if closed.load(Ordering::Relaxed) {
                return;
            }
            connection.write(&[*byte]);
            // The pace of the slow sender: this is the load, not a wait for anything.
            thread::sleep(Duration::from_millis(10));
        }
        panic!("{} slow bytes and no deadline", wire.len());
    });
}

#[test]
fn idle_connections_are_closed_and_begun_requests_are_not_idle() {
    let gateway = Gateway::start("fcgi_unread", &["--idle-connection-timeout", "300ms"]);
    let (mut arriving, rest) = begun(&gateway);
    let mut kept = Connection::open(gateway.socket());
    kept.request(&Request::get("/").keep()).expect(200);
    let mut silent = Connection::open(gateway.socket());
    for connection in [&mut kept, &mut silent] {
        assert_eq!(connection.read_to_eof(), b"");
        assert!(!connection.reset);
    }
    assert!(arriving.is_quiet());
    arriving.write(&rest);
    assert_eq!(arriving.response(1).expect(200).text(), "/later");
}

#[test]
fn a_connection_in_use_is_not_idle() {
    let gateway = Gateway::start("fcgi_unread", &["--idle-connection-timeout", "2s"]);
    let mut busy = Connection::open(gateway.socket());
    let mut idle = Connection::open(gateway.socket());
    idle.request(&Request::get("/").keep()).expect(200);
    let mut reader = idle.writer();
    let closed = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            reader.read_to_eof();
            closed.store(true, Ordering::Relaxed);
        });
        let deadline = Instant::now() + DEADLINE;
        while !closed.load(Ordering::Relaxed) {
            assert!(Instant::now() < deadline, "the idle one is never closed");
            busy.request(&Request::get("/").keep()).expect(200);
        }
    });
    // The idle one is gone; this one has the same age.
    busy.request(&Request::get("/").keep()).expect(200);
}

/// The leading thread answers management records itself; a peer that takes no answers must not hold it.
#[test]
fn a_peer_that_asks_and_never_reads_stalls_nobody() {
    let gateway = Gateway::start("fcgi_unread", &["--io-timeout", "1000s"]);
    let asking = Connection::open(gateway.socket());
    let mut writer = asking.writer();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let questions = record(99, 0, b"", 0).repeat(1_000);
            // Until the gateway reads no more of it, or has hung up.
            while !stop.load(Ordering::Relaxed) && !writer.reset {
                writer.write_some(&questions);
            }
        });
        // In a thread of its own, so that a stall, which panics there, still ends the questions.
        let served = scope.spawn(|| {
            for _ in 0..200 {
                fetch(gateway.socket(), &Request::get("/")).expect(200);
            }
        });
        let served = served.join();
        stop.store(true, Ordering::Relaxed);
        assert!(served.is_ok(), "nobody else was served");
    });
}

#[test]
fn a_body_that_stops_coming_fails_the_read_and_frees_the_thread() {
    let gateway = Gateway::start("fcgi_echo", &["--io-timeout", "300ms"]);
    let mut connection = Connection::open(gateway.socket());
    connection.write(&Request::post("/", &[b'x'; 1_000_000]).head());
    connection.record(STDIN, 1, &[b'x'; 65_535], 0);
    connection.record(STDIN, 1, &[b'x'; 65_535], 0);
    // The only thread waits in it; then the application's read() raises.
    let next = fetch(gateway.socket(), &Request::post("/", b"next"));
    assert_eq!(next.expect(200).text(), "next");
    let response = connection.response(1);
    assert!(
        response.status == 0 || response.status >= 400,
        "{response:?}"
    );
}

#[test]
fn an_answer_that_nobody_takes_is_given_up() {
    let gateway = Gateway::start("fcgi_large", &["--io-timeout", "300ms"]);
    let mut connection = Connection::open(gateway.socket());
    connection.write(&Request::get("/?10000000").bytes());
    // The only thread waits for us, and then no longer.
    let next = fetch(gateway.socket(), &Request::get("/?1000")).expect(200);
    assert_eq!(next.body.len(), 1_000);
    // Cut, in the middle of a record if that is where it was: there is no room for an end.
    assert!(connection.read_to_eof().len() < 10_000_000);
}

// ---- Many connections

/// 1,000 kept connections that are idle and 100 that send one byte now and then, while 8 clients are
/// served by the one thread.
#[test]
fn idle_and_slow_connections_occupy_no_thread() {
    const IDLE: usize = 1_000;
    const SLOW: usize = 100;
    const CLIENTS: usize = 8;
    const SLOW_BYTES: u32 = 3;
    const MEANWHILE: u32 = 400;
    raise_descriptor_limit(4_096);
    let gateway = Gateway::start(
        "fcgi_unread",
        &["--max-connections", "2000", "--header-timeout", "300s"],
    );
    let mut idle: Vec<_> = (0..IDLE)
        .map(|_| Connection::open(gateway.socket()))
        .collect();
    for connection in &mut idle {
        connection
            .request(&Request::get("/idle").keep())
            .expect(200);
    }
    let wire = Request::get("/slow").keep().bytes();
    let mut slow: Vec<_> = (0..SLOW)
        .map(|_| Connection::open(gateway.socket()))
        .collect();
    let sent = AtomicU32::new(0);
    let served = AtomicU32::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for at in 0..SLOW_BYTES {
                for connection in &mut slow {
                    connection.write(&wire[at as usize..at as usize + 1]);
                }
                // The slow senders go on when the clients have had many an answer.
                let (begun, enough) = (Instant::now(), served.load(Ordering::Relaxed) + MEANWHILE);
                while served.load(Ordering::Relaxed) < enough && begun.elapsed() < DEADLINE {
                    thread::sleep(Duration::from_millis(1));
                }
            }
            sent.store(u32::MAX, Ordering::Relaxed);
        });
        for client in 0..CLIENTS {
            let (sent, served, gateway) = (&sent, &served, &gateway);
            scope.spawn(move || {
                let mut kept = Connection::open(gateway.socket());
                let mut longest = Duration::ZERO;
                while sent.load(Ordering::Relaxed) != u32::MAX {
                    let started = Instant::now();
                    if client % 2 == 0 {
                        let response = kept.request(&Request::get("/kept").keep());
                        assert_eq!(response.expect(200).text(), "/kept");
                    } else {
                        let response = fetch(gateway.socket(), &Request::get("/new"));
                        assert_eq!(response.expect(200).text(), "/new");
                    }
                    served.fetch_add(1, Ordering::Relaxed);
                    longest = longest.max(started.elapsed());
                }
                eprintln!("client {client}: longest {longest:?}");
                // A thread held by one slow sender would be a stall of minutes.
                assert!(longest < Duration::from_secs(10), "stalled for {longest:?}");
            });
        }
    });
    let served = served.into_inner();
    assert!(served >= SLOW_BYTES * MEANWHILE, "{served} requests served");
    // Nobody was forgotten or thrown out.
    for connection in &mut slow {
        assert!(connection.is_quiet());
        connection.write(&wire[SLOW_BYTES as usize..]);
        assert_eq!(connection.response(1).expect(200).text(), "/slow");
    }
    for connection in &mut idle {
        let response = connection.request(&Request::get("/idle").keep());
        assert_eq!(response.expect(200).text(), "/idle");
    }
    eprintln!("{} KiB resident", gateway.rss_kib());
}

/// For this process and, by inheritance, for the gateway.
fn raise_descriptor_limit(wanted: u64) {
    let mut limit = nix::libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both calls are given a valid `rlimit` and a resource that Linux knows.
    unsafe {
        assert_eq!(
            nix::libc::getrlimit(nix::libc::RLIMIT_NOFILE, &raw mut limit),
            0
        );
        if limit.rlim_cur < wanted {
            limit.rlim_cur = wanted.min(limit.rlim_max);
            assert_eq!(
                nix::libc::setrlimit(nix::libc::RLIMIT_NOFILE, &raw const limit),
                0
            );
        }
    }
}

// ---- The end

/// Everything that tells a process to wait for ever if it waits for the wrong thing.
const PATIENT: [&str; 6] = [
    "--graceful-timeout",
    "1000s",
    "--idle-connection-timeout",
    "1000s",
    "--header-timeout",
    "1000s",
];

#[test]
fn sigterm_finishes_what_is_in_flight() {
    let gateway = Gateway::start("fcgi_wait", &PATIENT);
    let fifo = Fifo::new(gateway.folder(), "fifo");
    let mut idle = Connection::open(gateway.socket());
    idle.request(&Request::get("/").keep()).expect(200);
    let mut connection = Connection::open(gateway.socket());
    let request = Request::get(&format!("/?{}", fifo.path())).keep();
    connection.write(&request.bytes());
    let mut file = fifo.entered();
    gateway.begin_to_terminate();
    assert!(connection.is_quiet());
    std::io::Write::write_all(&mut file, b"finished").unwrap();
    drop(file);
    assert_eq!(connection.response(1).expect(200).text(), "finished");
    // Kept or not: the process is on its way out.
    assert_eq!(connection.read_to_eof(), b"");
    assert_eq!(idle.read_to_eof(), b"");
    let socket = gateway.socket().to_owned();
    let folder = gateway.folder().to_owned();
    let exit = gateway.wait();
    assert_eq!(exit.code, 0, "{}", exit.log);
    assert!(!socket.exists(), "the socket is left behind in {folder:?}");
}

#[test]
fn sigterm_finishes_a_body_that_is_still_coming() {
    let gateway = Gateway::start("fcgi_echo", &PATIENT);
    let body = vec![b'b'; 300_000];
    let mut connection = Connection::open(gateway.socket());
    connection.write(&Request::post("/", &body).head());
    connection.record(STDIN, 1, &body[..60_000], 0);
    connection.record(STDIN, 1, &body[60_000..120_000], 0);
    // The application has been called with what fits into the buffer, and reads.
    wait_until_read(&connection);
    gateway.begin_to_terminate();
    let mut writer = connection.writer();
    let rest = stream(STDIN, 1, &body[120_000..], 32_768);
    let response = thread::scope(|scope| {
        scope.spawn(move || writer.write(&rest));
        connection.response(1)
    });
    assert!(response.expect(200).body == body);
    drop(connection);
    assert_eq!(gateway.wait().code, 0);
}

#[test]
fn sigterm_does_not_wait_for_idle_connections() {
    let gateway = Gateway::start("fcgi_unread", &PATIENT);
    let mut idle: Vec<_> = (0..20)
        .map(|_| Connection::open(gateway.socket()))
        .collect();
    for connection in idle.iter_mut().skip(10) {
        connection.request(&Request::get("/").keep()).expect(200);
    }
    assert_eq!(gateway.terminate().code, 0);
    for connection in &mut idle {
        assert_eq!(connection.read_to_eof(), b"");
    }
}

#[test]
fn sigterm_with_nothing_to_do_ends_at_once() {
    for threads in ["1", "4"] {
        let gateway = Gateway::start("fcgi_unread", &["--threads", threads]);
        fetch(gateway.socket(), &Request::get("/")).expect(200);
        assert_eq!(gateway.terminate().code, 0);
    }
    // And before the first request.
    let gateway = Gateway::start("fcgi_unread", &[]);
    gateway.wait_for_log("ready");
    assert_eq!(gateway.terminate().code, 0);
}

#[test]
fn the_graceful_timeout_ends_what_does_not_end() {
    let gateway = Gateway::start("fcgi_wait", &["--graceful-timeout", "300ms"]);
    let fifo = Fifo::new(gateway.folder(), "fifo");
    let mut connection = Connection::open(gateway.socket());
    connection.write(&Request::get(&format!("/?{}", fifo.path())).bytes());
    let file = fifo.entered();
    // `terminate` gives up after its own deadline.
    let exit = gateway.terminate();
    drop(file);
    assert_eq!(connection.response(1).end, None);
    assert!(exit.log.lines().count() >= 2, "it says so: {}", exit.log);
}

#[test]
fn a_request_that_arrives_in_the_last_moment_is_served_or_cleanly_refused() {
    // Nothing that was read may be dropped: a web server retries only what was never begun.
    for _ in 0..10 {
        let gateway = Gateway::start("fcgi_unread", &PATIENT);
        let mut connections: Vec<_> = (0..8).map(|_| Connection::open(gateway.socket())).collect();
        for connection in &mut connections {
            connection.request(&Request::get("/").keep()).expect(200);
        }
        let (signal, requests) = (&gateway, &mut connections);
        thread::scope(|scope| {
            scope.spawn(move || signal.signal(Signal::SIGTERM));
            for connection in requests {
                let response = connection.request(&Request::get("/last").keep());
                if response.end.is_some() {
                    assert_eq!(response.expect(200).text(), "/last");
                } else {
                    assert_eq!(response.raw_stdout, b"", "cut in the middle");
                }
            }
        });
        drop(connections);
        assert_eq!(gateway.wait().code, 0);
    }
}
