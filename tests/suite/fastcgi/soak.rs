//! Nothing grows: bodies of a gibibyte in both directions, and requests by the thousands.

use std::thread;

use crate::support::client::{Connection, PARAMS, Request, STDIN, STDOUT, fetch, record, stream};
use crate::support::gateway::Gateway;

const GIBIBYTE: u64 = 1 << 30;
const ALLOWED_KIB: u64 = 32 * 1024;

#[test]
fn a_gibibyte_up_in_little_memory() {
    let gateway = Gateway::start("fcgi_count", &[]);
    let block: Vec<u8> = (0..=255).cycle().take(32_768).collect();
    fetch(gateway.socket(), &Request::post("/", &block.repeat(64))).expect(200);
    let before = gateway.rss_kib();

    let request = Request::post("/", b"").param("CONTENT_LENGTH", GIBIBYTE.to_string());
    let mut connection = Connection::open(gateway.socket());
    connection.write(&request.head());
    let batch = record(STDIN, 1, &block, 0).repeat(8);
    let mut writer = connection.writer();
    let response = thread::scope(|scope| {
        scope.spawn(move || {
            for _ in 0..GIBIBYTE / (8 * 32_768) {
                writer.write(&batch);
                assert!(!writer.reset, "the gateway hung up in the upload");
            }
            writer.record(STDIN, 1, b"", 0);
        });
        connection.response(1)
    });
    let checksum = crc32_of_repeated(&block, GIBIBYTE / 32_768);
    assert_eq!(
        response.expect(200).text(),
        format!("{GIBIBYTE} {checksum}")
    );
    let growth = gateway.peak_rss_kib().saturating_sub(before);
    eprintln!("memory growth {growth} KiB");
    assert!(growth < ALLOWED_KIB, "{growth} KiB more");
}

/// CRC-32 as zlib counts it, by table: the application's figure is compared with one of our own.
fn crc32_of_repeated(block: &[u8], times: u64) -> u32 {
    // Linear in the bytes, a state machine over one block: the state after each block depends only on
    // the state before it, so a table of the block's effect on each bit replaces 2^30 steps.
    let step = |mut state: u32| {
        for byte in block {
            state ^= u32::from(*byte);
            for _ in 0..8 {
                state = (state >> 1) ^ (0xEDB8_8320 & (state & 1).wrapping_neg());
            }
        }
        state
    };
    // CRC is affine: step(a ^ b) = step(a) ^ step(b) ^ step(0).
    let zero = step(0);
    let bits: Vec<u32> = (0..32).map(|bit| step(1 << bit) ^ zero).collect();
    let mut state = u32::MAX;
    for _ in 0..times {
        let effect = (0..32).filter(|bit| (state >> bit) & 1 == 1);
        state = effect.fold(zero, |sum, bit| sum ^ bits[bit]);
    }
    !state
}

#[test]
fn the_checksum_of_this_test_is_right() {
    // The check value that every description of CRC-32 gives.
    assert_eq!(crc32_of_repeated(b"123456789", 1), 0xCBF4_3926);
    assert_eq!(crc32_of_repeated(b"ab", 3), crc32_of_repeated(b"ababab", 1));
}

#[test]
fn a_gibibyte_down_in_little_memory() {
    let gateway = Gateway::start("fcgi_large", &[]);
    fetch(gateway.socket(), &Request::get("/?2000000")).expect(200);
    let before = gateway.rss_kib();

    let mut connection = Connection::open(gateway.socket());
    connection.write(&Request::get(&format!("/?{GIBIBYTE}")).bytes());
    let pattern: Vec<u8> = (0..=255).cycle().take(65_536 + 256).collect();
    let mut received = 0;
    let mut in_body = false;
    loop {
        let record = connection.read_record().expect("a whole response");
        if record.kind != STDOUT || record.content.is_empty() {
            break;
        }
        let mut content = &record.content[..];
        if !in_body {
            // The whole head is in the first record.
            let head = content.windows(4).position(|four| four == b"\r\n\r\n");
            content = &content[head.unwrap() + 4..];
            in_body = true;
        }
        let phase = received % 256;
        assert!(*content == pattern[phase..phase + content.len()]);
        received += content.len();
    }
    assert_eq!(u64::try_from(received).unwrap(), GIBIBYTE);
    let end = connection.read_record().unwrap().end_request();
    assert_eq!((end.app_status, end.protocol_status), (0, 0));
    let growth = gateway.peak_rss_kib().saturating_sub(before);
    eprintln!("memory growth {growth} KiB");
    assert!(growth < ALLOWED_KIB, "{growth} KiB more");
}

/// A web server that stops reading stops the application; it does not fill the gateway.
#[test]
fn an_answer_that_nobody_reads_is_not_collected() {
    let gateway = Gateway::start("fcgi_large", &["--threads", "4"]);
    fetch(gateway.socket(), &Request::get("/?2000000")).expect(200);
    let before = gateway.rss_kib();
    let mut unread = Vec::new();
    for _ in 0..3 {
        let mut connection = Connection::open(gateway.socket());
        connection.write(&Request::get("/?1000000000").bytes());
        connection.read_record().unwrap();
        unread.push(connection);
    }
    for _ in 0..200 {
        fetch(gateway.socket(), &Request::get("/?100000")).expect(200);
    }
    let growth = gateway.peak_rss_kib().saturating_sub(before);
    assert!(growth < ALLOWED_KIB, "{growth} KiB more");
}

/// A request head that never ends is answered or cut, not collected.
#[test]
fn params_without_end_are_not_collected() {
    let gateway = Gateway::start("fcgi_unread", &[]);
    fetch(gateway.socket(), &Request::get("/")).expect(200);
    let before = gateway.rss_kib();
    let mut connection = Connection::open(gateway.socket());
    let mut wire = Request::get("/").head();
    // Without the empty record.
    wire.truncate(wire.len() - 8);
    connection.write(&wire);
    let mut pair = vec![1, 0x80, 0, 0xFF, 0, b'N'];
    pair.resize(6 + 0xFF00, b'v');
    let batch = record(PARAMS, 1, &pair, 0);
    for _ in 0..4_000 {
        connection.write(&batch);
    }
    fetch(gateway.socket(), &Request::get("/")).expect(200);
    let growth = gateway.peak_rss_kib().saturating_sub(before);
    assert!(growth < ALLOWED_KIB, "{growth} KiB more");
}

#[test]
fn memory_and_descriptors_stay_flat() {
    const ROUNDS: usize = 2_000;
    // What an allocator and an interpreter may still take in such a stretch; 150 bytes leaked a
    // request would show.
    const ALLOWED_KIB: u64 = 512;
    let gateway = Gateway::start("fcgi_echo", &[]);
    let socket = gateway.socket();
    let body = vec![b'x'; 3_000];
    let post = Request::post("/", &body).keep();
    let mut kept = Connection::open(socket);
    let mut round = || {
        assert_eq!(kept.request(&post).expect(200).body, body);
        fetch(socket, &Request::get("/")).expect(200);
    };
    for _ in 0..ROUNDS / 4 {
        round();
    }
    let (memory, descriptors) = (gateway.rss_kib(), gateway.fd_count());
    for _ in 0..ROUNDS {
        round();
    }
    let growth = gateway.rss_kib().saturating_sub(memory);
    eprintln!("{} requests: {growth} KiB more", 2 * ROUNDS);
    assert!(growth < ALLOWED_KIB, "{growth} KiB more");
    // One more may be the last connection, which the gateway is about to close.
    let now = gateway.fd_count();
    assert!(
        now <= descriptors + 1,
        "{now} descriptors after {descriptors}"
    );
}

/// Requests that fail, break off or are left by their web server leave nothing behind.
#[test]
fn failures_leave_nothing_behind() {
    const ALLOWED_KIB: u64 = 1024;
    let gateway = Gateway::start("fcgi_silent", &[]);
    let half = Request::post("/", &[b'x'; 1_000]).bytes();
    let round = || {
        fetch(gateway.socket(), &Request::get("/raises")).expect(500);
        let mut left = Connection::open(gateway.socket());
        left.write(&half[..half.len() / 2]);
        let mut garbage = Connection::open(gateway.socket());
        garbage.write(b"GET / HTTP/1.1\r\n\r\n");
        garbage.read_to_eof();
        let mut long = Connection::open(gateway.socket());
        long.write(&stream(PARAMS, 1, &[0; 100], 1));
    };
    for _ in 0..300 {
        round();
    }
    let (memory, descriptors) = (gateway.rss_kib(), gateway.fd_count());
    for _ in 0..500 {
        round();
    }
    fetch(gateway.socket(), &Request::get("/speaks")).expect(200);
    let growth = gateway.rss_kib().saturating_sub(memory);
    eprintln!("500 rounds: {growth} KiB more");
    assert!(growth < ALLOWED_KIB, "{growth} KiB more");
    let now = gateway.fd_count();
    // The connections of the last round may still be about to be closed.
    assert!(
        now <= descriptors + 4,
        "{now} descriptors after {descriptors}"
    );
}
