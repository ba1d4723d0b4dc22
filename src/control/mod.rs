//! The control socket of a gateway: who answers there, and who asks.
//!
//! The **observer** is a process of the master's own, without privileges and without Python: it maps the scoreboard without the
//! right to write to it, is told by the master what only that knows, and answers whoever has connected. So it answers when all
//! workers are busy, stuck, importing or dead; what a stranger sends is read by a process that can do nothing; and the master
//! has no parser. It speaks what people have: FastCGI (by the responder that workers have, so that a web server can show the
//! status page) and HTTP (for `curl --unix-socket`, Prometheus and health checks), and the first byte tells which.
//!
//! What somebody wants done ([`Command`](crate::process::Command)) comes by FastCGI only, in a variable that no web server sends
//! and no client can name, and goes on to the master with the connection, of which the kernel tells that who is there.
//!
//! `observer` is the process, `intake` takes connections and speaks HTTP, `knowledge` is what is known, `queue` who waits at the
//! sockets, `answer` who is shown what, and `status`, `text` and others a form of it. `place` knows where control sockets
//! lie, `client` asks there.

mod answer;
mod client;
mod history;
mod html;
mod intake;
mod knowledge;
mod metrics;
mod observer;
mod place;
mod queue;
mod status;
mod text;

pub use client::{ClientError, ControlReply, ask, ask_command};
pub use knowledge::About;
pub use observer::observe;
pub use place::{ControlPlace, Found, PlaceError, found_sockets};
pub use status::{
    ReloadStatus, RequestStatus, Status, TimesStatus, WaitingAt, WorkerCounts, WorkerStatus,
};
pub use text::{age, table};

/// The variable of FastCGI that says what is to be done: no client can have a web server send one of this name, since headers
/// are those that begin with HTTP_.
const COMMAND: &str = "WSGI_GATEWAY_COMMAND";
