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
