//! FastCGI 1.0, clause by clause: what a web server sees when it talks to the gateway. A test's name
//! begins with the section of the specification that it holds the gateway to. Where the specification
//! leaves a choice, the name says what the gateway does and a comment says for whom.

mod connections;
mod hostile;
mod management;
mod pairs;
mod records;
mod requests;
mod roles;
mod streams;

use std::os::fd::AsRawFd;
use std::thread;
use std::time::Instant;

use crate::support::client::{
    ABORT_REQUEST, AUTHORIZER, BEGIN_REQUEST, CANT_MPX_CONN, Connection, DATA, END_REQUEST,
    EndRequest, FILTER, GET_VALUES, GET_VALUES_RESULT, PARAMS, Pair, REQUEST_COMPLETE, RESPONDER,
    Request, Response, STDIN, STDOUT, UNKNOWN_ROLE, UNKNOWN_TYPE, begin, fetch, long_length, pairs,
    parse_pairs, record, stream,
};
use crate::support::gateway::{DEADLINE, Fifo, Gateway};

const FINE: EndRequest = EndRequest {
    app_status: 0,
    protocol_status: REQUEST_COMPLETE,
};

/// A variable as `fcgi_environ` shows it.
fn variable<'a>(response: &'a Response, name: &str) -> Option<&'a [u8]> {
    let mut lines = response.body.split(|byte| *byte == b'\n');
    lines.find_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

fn pair(name: &str, value: &str) -> Pair {
    (name.into(), value.into())
}

/// A GET whose PARAMS records are the test's own.
fn with_params(socket: &std::path::Path, params: &[u8]) -> Response {
    let mut connection = Connection::open(socket);
    connection.write(&begin(1, RESPONDER, 0));
    connection.write(params);
    connection.write(&stream(STDIN, 1, b"", 1));
    connection.response(1).expect(200)
}
