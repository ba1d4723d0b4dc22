//! What CGI and FastCGI have in common (RFC 3875), and the seam between a transport and the application core.
//!
//! This floor stands on the standard library alone: it does no I/O and has never heard of Python.

mod exchange;
pub mod forked;
mod head;
mod meta;
mod mount;
mod page;
mod paths;
mod sent;
mod url;
mod variables;

pub use exchange::{Arrival, Exchange, FileError, FileSpan};
pub use head::{Head, HeadError};
pub use meta::{Circumstances, Meta, Request, Rule};
pub use mount::{Mount, MountError};
pub use page::Page;
pub use paths::PathRule;
pub use variables::Variables;
