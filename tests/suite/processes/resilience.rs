//! What a worker has to outlive: web servers that break off, applications that take all they can get, signals at the
//! wrong moment. After each of them the next request is answered, by the same process.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket,
};
use tempfile::TempDir;

use crate::support::client::{
    CANT_MPX_CONN, Connection, END_REQUEST, Request, Response, STDIN, fetch, record,
    wait_until_read,
};
use crate::support::gateway::{DEADLINE, Exit, Fifo, Gateway};

const APP: &str = "resilience.py";

/// The worker that began serves on.
#[track_caller]
fn lives_on(gateway: &mut Gateway) {
    let answer = fetch(gateway.socket(), &Request::get("/"));
    assert!(gateway.is_unharmed(), "it has ended: {}", gateway.log());
    let alive = format!("alive {}", gateway.worker());
    assert_eq!(answer.expect(200).text(), alive, "{}", gateway.log());
}

/// A request whose client leaves when the first of the response has come; the application learns it from the FIFO.
fn left_by_the_client(gateway: &Gateway, path: &str) {
    let fifo = Fifo::new(gateway.folder(), "left");
    let mut connection = Connection::open(gateway.socket());
    connection.write(&Request::get(&format!("{path}?{}", fifo.path())).bytes());
    assert!(connection.read_record().is_some(), "{}", gateway.log());
    drop(connection);
    fifo.release(b"");
}

// ---- The request's body

/// A second request on a busy connection is refused (section 3.3: a responder need not multiplex), and its STDIN is
/// nobody's: least of all the body of the first.
#[test]
fn the_stdin_of_a_refused_request_never_enters_the_open_one() {
    // The application is called at the first byte, so that all else arrives while it reads.
    for (buffer, app) in [
        ("1", "fcgi_echo"),
        ("64K", "fcgi_echo"),
        ("1", "fcgi_count"),
    ] {
        let gateway = Gateway::start(app, &["--buffer", buffer]);
        let size = 60_000;
        let body = vec![b'a'; 5 * size];
        let request = Request::post("/", &body);
        let mut connection = Connection::open(gateway.socket());
        connection.write(&request.head());
        for _ in 0..2 {
            connection.record(STDIN, 1, &body[..size], 0);
        }
        wait_until_read(&connection);
        connection.write(&Request::post("/second", &body).id(2).head());
        wait_until_read(&connection);
        for padding in [0, 7] {
            let own = record(STDIN, 1, &body[..size], padding);
            let foreign = record(STDIN, 2, &vec![b'B'; size], padding);
            let wire = [own, foreign].concat();
            // First the foreign header comes in one piece with the rest of an open record, then by itself.
            let cuts = match padding {
                0 => [100, size / 2, size / 2 + 1],
                _ => [100, size + 8 + 7, size + 8 + 7 + 100],
            };
            let mut begin = 0;
            for end in cuts.into_iter().chain([wire.len()]) {
                connection.write(&wire[begin..end]);
                wait_until_read(&connection);
                begin = end;
            }
        }
        connection.write(&record(STDIN, 2, b"", 0));
        connection.record(STDIN, 1, &body[..size], 0);
        connection.record(STDIN, 1, b"", 0);
        let refused = connection.read_record().unwrap();
        assert_eq!((refused.kind, refused.id), (END_REQUEST, 2));
        assert_eq!(refused.end_request().protocol_status, CANT_MPX_CONN);
        let answer = connection.response(1).expect(200);
        let expected = fetch(gateway.socket(), &request).expect(200);
        assert!(
            answer.body == expected.body,
            "foreign bytes in the body, --buffer {buffer}"
        );
    }
}

/// RLIMIT_AS, as `ulimit -v` and memory limits of web servers set it: what does not fit is Python's MemoryError.
#[test]
fn a_body_that_does_not_fit_into_memory_fails_its_request_only() {
    let mut gateway = Gateway::start(APP, &[]);
    let limit = fetch(gateway.socket(), &Request::get("/limit-memory?32"));
    assert_eq!(limit.expect(200).text(), "limited");
    let body = vec![b'x'; 48 << 20];
    for path in ["/read", "/read-some", "/line", "/lines"] {
        // Nobody said how much it would be.
        let request = Request::post(path, &body).without("CONTENT_LENGTH");
        let answer = Connection::open(gateway.socket()).request(&request);
        assert_eq!(answer.text(), "MemoryError", "{path}: {}", gateway.log());
        lives_on(&mut gateway);
    }
    // An announced length does not help a line without an end.
    let answer = Connection::open(gateway.socket()).request(&Request::post("/line", &body));
    assert_eq!(answer.text(), "MemoryError", "{}", gateway.log());
    lives_on(&mut gateway);
    // Nor does it take more than the request where nobody catches it.
    let request = Request::post("/line", &body).param("QUERY_STRING", "uncaught");
    let answer = Connection::open(gateway.socket()).request(&request);
    assert_eq!(answer.status, 500, "{}", gateway.log());
    gateway.wait_for_log("MemoryError");
    lives_on(&mut gateway);
}

/// Nobody does that but the slowest of uploads; a body is not to take quadratic time for it.
#[test]
fn a_body_in_records_of_one_byte_is_read() {
    let gateway = Gateway::start("fcgi_count", &[]);
    let body: Vec<u8> = (0..400_000u32).map(|number| (number % 251) as u8).collect();
    let request = Request::post("/", &body);
    let mut wire = request.head();
    for byte in &body {
        wire.extend(record(STDIN, 1, &[*byte], 0));
    }
    wire.extend(record(STDIN, 1, b"", 0));
    let mut connection = Connection::open(gateway.socket());
    let mut writer = connection.writer();
    let answer = thread::scope(|scope| {
        scope.spawn(move || writer.write(&wire));
        connection.response(1)
    });
    let whole = fetch(gateway.socket(), &request).expect(200);
    assert!(whole.text().starts_with("400000 "));
    assert_eq!(answer.expect(200).text(), whole.text());
}

// ---- Time limits and size limits, and who is told

/// The page is for the client; the operator reads which option it was.
#[track_caller]
fn told(gateway: &Gateway, answer: Response, status: u16, option: &str) {
    let answer = answer.expect(status);
    assert_eq!(
        answer.header("Content-Type"),
        Some("text/plain; charset=utf-8")
    );
    gateway.wait_for_log(option);
    let log = gateway.log();
    let line = log.lines().find(|line| line.contains(option)).unwrap();
    assert!(
        line.contains("wsgi-gateway["),
        "not the gateway's own line: {line}"
    );
}

#[test]
fn a_body_that_stops_coming_is_answered_with_408() {
    let mut gateway = Gateway::start(APP, &["--io-timeout", "300ms"]);
    let mut connection = Connection::open(gateway.socket());
    connection.write(&Request::post("/read", &[b'x'; 1_000_000]).head());
    // More than is waited for before the application is called.
    for _ in 0..2 {
        connection.record(STDIN, 1, &[b'x'; 65_535], 0);
    }
    told(&gateway, connection.response(1), 408, "--io-timeout");
    lives_on(&mut gateway);
}

#[test]
fn the_log_names_the_limit_of_a_413_and_of_a_431() {
    let options = ["--max-body", "1000", "--max-params", "4K"];
    let gateway = Gateway::start(APP, &options);
    let large = Request::post("/read", &[b'x'; 2_000]);
    told(&gateway, fetch(gateway.socket(), &large), 413, "--max-body");
    let large = Request::get("/").param("HTTP_COOKIE", "c".repeat(8_000));
    told(
        &gateway,
        fetch(gateway.socket(), &large),
        431,
        "--max-params",
    );
    // Where the length was not announced, the application is in the middle of it.
    let gateway = Gateway::start(APP, &options);
    let large = Request::post("/read", &[b'x'; 200_000]).without("CONTENT_LENGTH");
    told(&gateway, fetch(gateway.socket(), &large), 413, "--max-body");
}

/// With several threads a connection may begin to wait while the thread that waits for events waits for ever.
#[test]
fn an_idle_connection_is_closed_when_it_is_the_only_one() {
    let options = ["--threads", "2", "--idle-connection-timeout", "1s"];
    let gateway = Gateway::start(APP, &options);
    let mut connection = Connection::open(gateway.socket());
    // Long enough for the requests to be served beside the waiting.
    for _ in 0..4 {
        connection
            .request(&Request::get("/slow?0.02").keep())
            .expect(200);
    }
    // Waits for the close.
    assert_eq!(connection.read_to_eof(), b"");
}

// ---- The end

/// Waits until the worker has been told to end, which it will hear of when its request is over.
fn wait_until_told(gateway: &Gateway) {
    gateway.wait_for_log("told to end");
    // The word itself comes a moment behind the line. An eventfd shows it; where there is none, the line has to do.
    let deadline = Instant::now() + Duration::from_secs(1);
    while Instant::now() < deadline {
        let infos = fs::read_dir(format!("/proc/{}/fdinfo", gateway.worker())).unwrap();
        let counts: Vec<String> = infos
            .filter_map(|info| fs::read_to_string(info.unwrap().path()).ok())
            .filter_map(|info| Some(info.split_once("eventfd-count:")?.1.to_owned()))
            .collect();
        let is_zero = |count: &String| count.split_whitespace().next() == Some("0");
        if !counts.iter().all(is_zero) || counts.is_empty() {
            return;
        }
        thread::yield_now();
    }
}

/// A web server sends on an idle connection for as long as it does not see it closed.
#[test]
fn a_request_that_was_sent_before_the_end_is_answered() {
    for before_the_signal in [true, false] {
        let gateway = Gateway::start(APP, &[]);
        let worker = gateway.worker();
        let fifo = Fifo::new(gateway.folder(), "fifo");
        let mut kept = Connection::open(gateway.socket());
        kept.request(&Request::get("/").keep()).expect(200);
        let mut running = Connection::open(gateway.socket());
        running.write(&Request::get(&format!("/waiting?{}", fifo.path())).bytes());
        // The only thread is in the application.
        let word = fifo.entered();
        let request = Request::get("/").keep().bytes();
        if before_the_signal {
            kept.write(&request);
        }
        gateway.begin_to_terminate();
        wait_until_told(&gateway);
        if !before_the_signal {
            kept.write(&request);
        }
        drop(word);
        assert_eq!(running.response(1).expect(200).text(), "waited");
        let answer = kept.response(1).expect(200);
        assert_eq!(answer.text(), format!("alive {worker}"));
        assert_eq!(kept.read_to_eof(), b"");
        assert_eq!(gateway.wait().code, 0);
    }
}

// ---- Clients that leave

/// Reporting an error runs the application's code, which may have something to say on the same request.
#[test]
fn an_error_that_reports_on_itself_does_not_hang_the_worker() {
    for level in ["info", "debug"] {
        let mut gateway = Gateway::start(APP, &["--log-level", level]);
        left_by_the_client(&gateway, "/talkative");
        lives_on(&mut gateway);
    }
}

/// Python sets SIGPIPE to be ignored, and programs set it back.
#[test]
fn a_client_that_leaves_ends_no_worker_whatever_became_of_sigpipe() {
    for path in ["/list", "/generator", "/write", "/file"] {
        let mut gateway = Gateway::start("deadly_sigpipe.py", &[]);
        for _ in 0..3 {
            let mut connection = Connection::open(gateway.socket());
            connection.write(&Request::get(path).bytes());
            // More than the socket holds is still to come.
            assert!(connection.read_record().is_some());
            drop(connection);
            let answer = fetch(gateway.socket(), &Request::get("/"));
            assert!(gateway.is_unharmed(), "{path}: the worker has died");
            assert_eq!(answer.expect(200).text(), "alive");
        }
    }
}

/// What nobody will be sent is not kept.
#[test]
fn reports_to_a_client_that_has_left_take_no_memory() {
    let mut gateway = Gateway::builder(APP)
        .shell(r#"exec "$@" 2>/dev/null"#)
        .start();
    lives_on(&mut gateway);
    let before = gateway.peak_rss_kib();
    left_by_the_client(&gateway, "/reporting-on");
    // One worker thread: this is answered when all has been written.
    lives_on(&mut gateway);
    let grown = gateway.peak_rss_kib() - before;
    assert!(grown < 16 * 1024, "grown by {grown} KiB");
}

// ---- Applications that go far

#[test]
fn an_application_may_write_single_characters_to_errors() {
    for threads in ["1", "2"] {
        let gateway = Gateway::start(APP, &["--threads", threads]);
        let answer = fetch(gateway.socket(), &Request::get("/dots?40000")).expect(200);
        assert_eq!(answer.text(), "done");
        assert!(
            answer.stderr == [b'.'; 40_000],
            "{} dots",
            answer.stderr.len()
        );
    }
}

/// Threads have stacks as large as the main thread's, which is what Python code is written for.
#[test]
fn recursion_is_as_deep_on_each_thread() {
    let mut gateway = Gateway::start(APP, &["--threads", "2"]);
    let request = Request::get("/deep?9000");
    // Each of the two waits for the other one to be on its thread.
    let socket = gateway.socket();
    let answers = thread::scope(|scope| {
        let asked = [(); 2].map(|()| scope.spawn(|| fetch(socket, &request)));
        asked.map(|answer| answer.join().unwrap())
    });
    assert!(
        gateway.is_unharmed(),
        "the worker has died: {}",
        gateway.log()
    );
    let [one, other] = answers.map(|answer| answer.expect(200).text());
    assert!(one.starts_with("there") && other.starts_with("there"));
    assert_ne!(one, other, "the same thread twice");
    lives_on(&mut gateway);
}

/// Blocks leave in several ways, by their size and by how they follow each other. What each way has not sent yet must
/// leave before the next one sends, and once.
#[test]
fn blocks_of_all_sizes_arrive_in_order_and_once() {
    let fast_small = ["y100"; 50].join(".");
    let sequences = [
        "w3,y3.y20000".to_owned(),
        "w3,y3.y3.y20000.y3".to_owned(),
        "w3,y3.y20000.y3.y20000.y3.y3".to_owned(),
        "w3,y3.y3.w3.y3.w20000.y3.y20000".to_owned(),
        "w3.w3.w3.w20000,y3.w3.y3.w3.w3.y3".to_owned(),
        "w20000,y1.y16384.y1.y16385.y1.y4096.y1.y4097.y1".to_owned(),
        format!("w10,{fast_small}.y70000.{fast_small}.w10.{fast_small}.w70000.{fast_small}"),
        format!("w10,{fast_small}.y5000.{fast_small}.y5000.w5000.{fast_small}.y200000"),
    ];
    for threads in ["1", "2"] {
        let gateway = Gateway::start(APP, &["--threads", threads]);
        let mut connection = Connection::open(gateway.socket());
        for sequence in sequences.iter().cycle().take(5 * sequences.len()) {
            let request = Request::get(&format!("/mixed?{sequence}")).keep();
            let answer = connection.request(&request).expect(200);
            assert_eq!(runs(&answer.body), expected_runs(sequence), "{sequence}");
        }
    }
}

/// A body as the characters that it repeats and how often: `a3 b20000`.
fn runs(body: &[u8]) -> String {
    body.chunk_by(|one, other| one == other)
        .fold(String::new(), |mut text, run| {
            write!(text, "{}{} ", char::from(run[0]), run.len()).unwrap();
            text
        })
}

fn expected_runs(sequence: &str) -> String {
    let words = sequence.split([',', '.']);
    (1..)
        .zip(words)
        .fold(String::new(), |mut text, (number, word)| {
            let letter = char::from(b'a' + number % 26);
            write!(text, "{letter}{} ", &word[1..]).unwrap();
            text
        })
}

// ---- The log

/// A line of the log is the gateway's word; what a client sends must not be able to imitate one.
#[test]
fn a_client_writes_no_lines_into_the_log() {
    let forged = "2026-01-01T00:00:00.000Z wsgi-gateway[1] error: forged";
    let path = format!("/failing\n{forged}\r{forged}\u{2028}\u{1b}[2K\n");
    let base = Request::get("/failing");
    let requests = [
        base.clone().param("REQUEST_URI", &path),
        base.clone()
            .param("PATH_INFO", &path)
            .without("REQUEST_URI"),
        base.clone()
            .param("REQUEST_METHOD", format!("GET\n{forged}")),
        base.param("SCRIPT_NAME", &path).without("REQUEST_URI"),
    ];
    let gateway = Gateway::start(APP, &["--log-level", "debug"]);
    for request in requests {
        let answer = fetch(gateway.socket(), &request).expect(500);
        // Nor into the web server's.
        let errors = String::from_utf8_lossy(&answer.stderr).into_owned();
        assert!(errors.contains("this page fails"), "{errors}");
        assert!(
            !errors.lines().any(|line| line.starts_with("2026-01-01")),
            "{errors}"
        );
    }
    let log = gateway.terminate().log;
    assert!(
        log.matches("forged").count() >= 4,
        "the requests are not told: {log}"
    );
    for line in log.split(['\n', '\r', '\u{2028}']) {
        assert!(!line.starts_with("2026-01-01"), "{log}");
    }
    assert!(!log.contains('\u{1b}'), "{log}");
}

// ---- Starts that must fail

#[track_caller]
fn refused(exit: Exit, code: i32, words: &[&str]) {
    assert_eq!(exit.code, code, "{}", exit.log);
    for word in words {
        assert!(exit.log.contains(word), "{word:?} is not in: {}", exit.log);
    }
    assert!(!exit.log.contains("panicked"), "{}", exit.log);
}

/// A list of hosts that cannot be read is no list of none, which would let everyone in.
#[test]
fn a_list_of_hosts_that_cannot_be_read_is_refused() {
    for bytes in [&b"127.0.0.1,\xff"[..], b"\xff", b"nonsense"] {
        let gateway = Gateway::builder("hello").bind_tcp();
        let gateway = gateway.env("FCGI_WEB_SERVER_ADDRS", OsStr::from_bytes(bytes));
        refused(gateway.run(), 2, &["FCGI_WEB_SERVER_ADDRS"]);
    }
    for list in [",", " ", "", ",,"] {
        let gateway = Gateway::builder("hello").bind_tcp();
        refused(gateway.args(["--allow", list]).run(), 2, &["--allow"]);
    }
}

/// A connect to a socket whose queue is full waits until somebody accepts, which may be never.
#[test]
fn a_socket_that_does_not_accept_is_somebody_elses_all_the_same() {
    let folder = TempDir::with_prefix("wsgi-gateway-test-").unwrap();
    let path = folder.path().join("full.sock");
    let make = |flags| socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
    let address = UnixAddr::new(&path).unwrap();
    let listener = make(SockFlag::SOCK_CLOEXEC);
    bind(listener.as_raw_fd(), &address).unwrap();
    listen(&listener, Backlog::new(1).unwrap()).unwrap();
    let mut waiting = Vec::new();
    let deadline = Instant::now() + DEADLINE;
    loop {
        let client = make(SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK);
        match connect(client.as_raw_fd(), &address) {
            Ok(()) => waiting.push(client),
            Err(error) => {
                assert_eq!(error, Errno::EAGAIN);
                break;
            }
        }
        assert!(Instant::now() < deadline, "the queue is never full");
    }
    let exit = Gateway::builder("hello").socket(&path).run();
    refused(exit, 1, &["already listens there", path.to_str().unwrap()]);
    assert!(path.exists());
}
