//! The tests' FastCGI client, checked before it judges anything: against the responder of the
//! `fastcgi` crate, which is somebody else's reading of the specification, and against the exchanges
//! that the specification itself prints (Appendix B). Only what that crate gets right is asked of it.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread::{self, JoinHandle};

use nix::sys::socket::{Shutdown, shutdown};
use tempfile::TempDir;

use crate::support::client::{
    ABORT_REQUEST, BEGIN_REQUEST, CANT_MPX_CONN, Connection, EndRequest, FILTER, GET_VALUES,
    GET_VALUES_RESULT, PARAMS, REQUEST_COMPLETE, RESPONDER, Request, STDIN, STDOUT, UNKNOWN_ROLE,
    UNKNOWN_TYPE, begin, fetch, long_length, pairs, parse_pairs, record, stream,
};

/// The crate's responder in a thread of this process.
struct Responder {
    socket: PathBuf,
    listener: UnixListener,
    thread: Option<JoinHandle<()>>,
    _folder: TempDir,
}

impl Responder {
    fn start() -> Responder {
        let folder = TempDir::with_prefix("wsgi-gateway-test-").unwrap();
        let socket = folder.path().join("responder.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let fd = listener.as_raw_fd();
        let thread = thread::spawn(move || fastcgi::run_raw(answer, fd));
        Responder {
            socket,
            listener,
            thread: Some(thread),
            _folder: folder,
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        // The crate has no way to stop; what it does have is a panic of its own thread when accept()
        // fails, and accept() fails once the listener is shut down.
        shutdown(self.listener.as_raw_fd(), Shutdown::Both).unwrap();
        assert!(self.thread.take().unwrap().join().is_err());
    }
}

/// The variables in order of their names, then the body backwards, so that an echo of the request's
/// own bytes could not pass for it.
fn answer(mut request: fastcgi::Request) {
    let mut body = Vec::new();
    if request.stdin().read_to_end(&mut body).is_err() {
        return;
    }
    let mut params: Vec<_> = request.params().collect();
    params.sort();
    let mut page = Vec::new();
    write!(page, "X-Role: {:?}\r\n\r\n", request.role()).unwrap();
    for (name, value) in params {
        writeln!(page, "{name}={value}").unwrap();
    }
    page.extend(body.iter().rev());
    request.stdout().write_all(&page).unwrap();
    if let Some(complaint) = request.param("COMPLAINT") {
        request.stderr().write_all(complaint.as_bytes()).unwrap();
    }
    if let Some(code) = request.param("EXIT") {
        request.exit(code.parse().unwrap());
    }
}

fn bare() -> Request {
    let mut request = Request::get("/");
    request.params.clear();
    request
}

const FINE: EndRequest = EndRequest {
    app_status: 0,
    protocol_status: REQUEST_COMPLETE,
};

#[test]
fn variables_and_body_arrive_and_the_answer_comes_back() {
    let responder = Responder::start();
    let mut request = bare().param("ONE", "1").param("TWO", "");
    request.stdin = b"abc".to_vec();
    let response = fetch(&responder.socket, &request);
    assert_eq!(response.text(), "ONE=1\nTWO=\ncba");
    assert_eq!(response.header("x-role"), Some("Responder"));
    assert_eq!(response.status, 200);
    assert_eq!(response.end, Some(FINE));
    assert!(response.stdout_ended && response.stderr_ended && response.closed && !response.reset);
}

#[test]
fn the_default_request_is_what_nginx_sends() {
    let responder = Responder::start();
    let text = fetch(&responder.socket, &Request::get("/a%20b?c=%64")).text();
    for line in [
        "REQUEST_URI=/a%20b?c=%64",
        "PATH_INFO=/a b",
        "SCRIPT_NAME=",
        "QUERY_STRING=c=%64",
        "CONTENT_LENGTH=",
        "REQUEST_METHOD=GET",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
}

#[test]
fn a_variable_is_replaced_added_and_removed() {
    let request = bare().param("A", "1").param("B", "2").param("A", "3");
    let request = request.add_param("A", "4").without("B");
    let expected = [
        (b"A".to_vec(), b"3".to_vec()),
        (b"A".to_vec(), b"4".to_vec()),
    ];
    assert_eq!(request.params, expected);
}

#[test]
fn lengths_of_four_bytes_and_streams_of_many_records() {
    let responder = Responder::start();
    let long = "v".repeat(300);
    let huge = "h".repeat(200_000);
    let mut request = bare().param("LONG", &long).param("VERY_LONG", &huge);
    request.stdin = (0..1_000_000u32).flat_map(u32::to_be_bytes).collect();
    let response = fetch(&responder.socket, &request);
    let mut expected = format!("LONG={long}\nVERY_LONG={huge}\n").into_bytes();
    expected.extend(request.stdin.iter().rev());
    assert!(response.body == expected);
    assert!(response.stdout_records.len() > 60);
    assert_eq!(response.end, Some(FINE));
}

#[test]
fn the_error_stream_is_told_from_the_output() {
    let responder = Responder::start();
    let response = fetch(&responder.socket, &bare().param("COMPLAINT", "a word"));
    assert_eq!(response.stderr, b"a word");
    assert_eq!(response.stderr_records, [6]);
    assert_eq!(response.text(), "COMPLAINT=a word\n");
}

#[test]
fn the_exit_code_comes_in_the_end_record() {
    let responder = Responder::start();
    let end = fetch(&responder.socket, &bare().param("EXIT", "70000")).end;
    assert_eq!(end.map(|end| end.app_status), Some(70_000));
}

#[test]
fn a_kept_connection_serves_one_request_after_another() {
    let responder = Responder::start();
    let mut connection = Connection::open(&responder.socket);
    for id in [1, 3, 65_535, 1] {
        let request = bare().param("ID", id.to_string()).keep().id(id);
        let response = connection.request(&request);
        assert_eq!(response.text(), format!("ID={id}\n"));
        assert!(!response.closed);
    }
    assert!(connection.request(&bare()).closed);
}

#[test]
fn two_requests_in_one_write_are_answered_in_order() {
    let responder = Responder::start();
    let mut connection = Connection::open(&responder.socket);
    let mut wire = bare().param("N", "1").keep().id(1).bytes();
    wire.extend(bare().param("N", "2").id(2).bytes());
    connection.write(&wire);
    assert_eq!(connection.response(1).text(), "N=1\n");
    assert_eq!(connection.response(2).text(), "N=2\n");
    assert_eq!(connection.read_to_eof(), b"");
}

#[test]
fn padding_and_pairs_split_over_records_are_understood() {
    let responder = Responder::start();
    let mut connection = Connection::open(&responder.socket);
    let params = pairs(&[(b"NAME".to_vec(), b"value".to_vec())]);
    connection.write(&begin(1, RESPONDER, 0));
    for (byte, padding) in params.iter().zip([0, 1, 7, 255].iter().cycle()) {
        connection.record(PARAMS, 1, &[*byte], *padding);
    }
    connection.record(PARAMS, 1, b"", 3);
    connection.record(STDIN, 1, b"xyz", 5);
    connection.record(STDIN, 1, b"", 8);
    assert_eq!(connection.response(1).text(), "NAME=value\nzyx");
}

#[test]
fn management_records_are_answered() {
    let responder = Responder::start();
    let mut connection = Connection::open(&responder.socket);
    let asked = pairs(&[
        (b"FCGI_MPXS_CONNS".to_vec(), b"".to_vec()),
        (b"FCGI_MAX_REQS".to_vec(), b"".to_vec()),
    ]);
    connection.record(GET_VALUES, 0, &asked, 0);
    let result = connection.read_record().unwrap();
    assert_eq!((result.kind, result.id), (GET_VALUES_RESULT, 0));
    let expected = [
        (b"FCGI_MPXS_CONNS".to_vec(), b"0".to_vec()),
        (b"FCGI_MAX_REQS".to_vec(), b"1".to_vec()),
    ];
    assert_eq!(parse_pairs(&result.content), expected);
    connection.record(200, 0, b"", 0);
    let unknown = connection.read_record().unwrap();
    assert_eq!((unknown.kind, unknown.id), (UNKNOWN_TYPE, 0));
    assert_eq!(unknown.content, [200, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn refusals_come_as_end_records() {
    let responder = Responder::start();
    let mut connection = Connection::open(&responder.socket);
    connection.write(&begin(7, 9, 0));
    let refusal = connection.read_record().unwrap();
    assert_eq!(refusal.id, 7);
    assert_eq!(refusal.end_request().protocol_status, UNKNOWN_ROLE);
    connection.write(&begin(1, FILTER, 0));
    connection.write(&begin(2, RESPONDER, 0));
    let refusal = connection.read_record().unwrap();
    assert_eq!(refusal.id, 2);
    assert_eq!(refusal.end_request().protocol_status, CANT_MPX_CONN);
    connection.write(&stream(PARAMS, 1, b"", 1));
    connection.write(&stream(STDIN, 1, b"", 1));
    assert_eq!(connection.response(1).header("X-Role"), Some("Filter"));
}

#[test]
fn an_aborted_request_ends_without_output() {
    let responder = Responder::start();
    let mut connection = Connection::open(&responder.socket);
    connection.write(&bare().head());
    connection.record(STDIN, 1, b"some", 0);
    connection.record(ABORT_REQUEST, 1, b"", 0);
    let response = connection.response(1);
    assert_eq!(response.raw_stdout, b"");
    assert_eq!(response.status, 0);
    assert_eq!(response.end, Some(FINE));
}

/// Section 3.4: what the encoder writes, byte by byte.
#[test]
fn pairs_are_written_as_the_specification_draws_them() {
    let short = (b"\x01".repeat(127), b"\x02".to_vec());
    let mut expected = vec![127, 1];
    expected.extend([1; 127]);
    expected.push(2);
    assert_eq!(pairs(&[short]), expected);
    let long = (b"n".to_vec(), b"v".repeat(128));
    let mut expected = vec![1, 0x80, 0, 0, 128, b'n'];
    expected.extend([b'v'; 128]);
    assert_eq!(pairs(std::slice::from_ref(&long)), expected);
    assert_eq!(parse_pairs(&expected), [long]);
    assert_eq!(long_length(3), [0x80, 0, 0, 3]);
}

/// Section 3.3: what the encoder writes, byte by byte.
#[test]
fn records_are_written_as_the_specification_draws_them() {
    assert_eq!(
        record(STDIN, 0x0102, b"abc", 2),
        [1, 5, 1, 2, 0, 3, 2, 0, b'a', b'b', b'c', 0xA5, 0xA5]
    );
    assert_eq!(
        begin(1, RESPONDER, 1),
        [1, BEGIN_REQUEST, 0, 1, 0, 8, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]
    );
}

/// Appendix B, the first exchange: what the Web server sends and what it must understand.
#[test]
fn the_first_exchange_of_appendix_b() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let mut client = Connection::over(ours);
    let request = bare()
        .param("SERVER_PORT", "80")
        .param("SERVER_ADDR", "199.170.183.42");
    let mut wire = vec![1, 1, 0, 1, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let params = b"\x0b\x02SERVER_PORT80\x0b\x0eSERVER_ADDR199.170.183.42";
    wire.extend([1, 4, 0, 1, 0, 42, 6, 0]);
    wire.extend(params);
    wire.extend([0xA5; 6]);
    wire.extend([1, 4, 0, 1, 0, 0, 0, 0]);
    wire.extend([1, 5, 0, 1, 0, 0, 0, 0]);
    assert_eq!(request.bytes(), wire);
    let page = b"Content-type: text/html\r\n\r\n<html>\n<head> ... ";
    theirs.write_all(&record(STDOUT, 1, page, 0)).unwrap();
    theirs.write_all(&[1, 6, 0, 1, 0, 0, 0, 0]).unwrap();
    theirs
        .write_all(&[1, 3, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        .unwrap();
    let response = client.response(1);
    assert_eq!(response.header("Content-Type"), Some("text/html"));
    assert_eq!(response.text(), "<html>\n<head> ... ");
    assert_eq!(response.end, Some(FINE));
}

/// Appendix B, the third exchange: output and errors interleaved, an exit code.
#[test]
fn the_third_exchange_of_appendix_b() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let mut client = Connection::over(ours);
    let mut wire = record(STDOUT, 1, b"Content-type: text/html\r\n\r\n<ht", 3);
    wire.extend(record(7, 1, b"config error: missing SI_UID\n", 0));
    wire.extend(record(STDOUT, 1, b"ml>\n<head> ... ", 0));
    wire.extend(record(STDOUT, 1, b"", 0));
    wire.extend(record(7, 1, b"", 0));
    wire.extend(record(3, 1, &[0, 0, 3, 0xAA, 0, 0, 0, 0], 0));
    theirs.write_all(&wire).unwrap();
    let response = client.response(1);
    assert_eq!(response.text(), "<html>\n<head> ... ");
    assert_eq!(response.stderr, b"config error: missing SI_UID\n");
    assert_eq!(response.end.map(|end| end.app_status), Some(938));
    assert_eq!(response.stdout_records, [30, 15]);
}

#[test]
#[should_panic(expected = "a record after the end of its stream")]
fn output_after_the_end_of_the_stream_is_noticed() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let mut wire = record(STDOUT, 1, b"", 0);
    wire.extend(record(STDOUT, 1, b"late", 0));
    theirs.write_all(&wire).unwrap();
    Connection::over(ours).response(1);
}

#[test]
#[should_panic(expected = "a record of another request")]
fn a_record_of_another_request_is_noticed() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(&record(STDOUT, 2, b"", 0)).unwrap();
    Connection::over(ours).response(1);
}

#[test]
#[should_panic(expected = "ends inside a record")]
fn a_record_that_is_cut_is_noticed() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs
        .write_all(&record(STDOUT, 1, b"whole", 0)[..10])
        .unwrap();
    drop(theirs);
    Connection::over(ours).response(1);
}

#[test]
fn a_close_without_an_end_is_told() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let head = record(STDOUT, 1, b"Status: 404 Not here\r\nA: b\r\n\r\nhalf", 0);
    theirs.write_all(&head).unwrap();
    drop(theirs);
    let response = Connection::over(ours).response(1);
    assert_eq!((response.status, response.end), (404, None));
    assert_eq!(response.reason, "Not here");
    assert_eq!(response.headers, [("A".to_owned(), "b".to_owned())]);
    assert!(response.closed && !response.reset);
}
