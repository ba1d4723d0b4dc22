//! FastCGI 1.0: the protocol, its connections and sockets, and who is served when.

mod aborts;
mod client_check;
mod costs;
mod cuts;
mod fairness;
mod leadership;
mod limits;
mod phases;
mod slow_peers;
mod smuggling;
mod soak;
mod sockets;
mod spec;
mod streaming;

/// The ways of `fcgi_readers.py` to read a body, and to answer where that fails.
const READERS: [&str; 8] = [
    "at_once",
    "in_pieces",
    "in_large_pieces",
    "read1",
    "in_lines",
    "readinto",
    "stubbornly",
    "in_a_thread",
];
const ANSWERS: [&str; 4] = ["raised", "caught", "begun", "begun_and_caught"];
