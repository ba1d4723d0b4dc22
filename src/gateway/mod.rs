//! What CGI and FastCGI have in common (RFC 3875), and the seam between a transport and the application core.
//!
//! This floor stands on the standard library alone, but for what derives the sentences of its errors: it does no I/O, but for
//! the words about what is closed, and has never heard of Python.

pub mod closed;
mod exchange;
pub mod forked;
mod head;
pub mod html;
mod interrupts;
mod meta;
mod mount;
mod page;
mod path_rule;
mod path_variables;
mod paths;
mod progress;
mod request_id;
mod span;
mod tally;
mod url;
mod variables;

pub use exchange::{Exchange, FileSpan, KeptBytes, Pushed, RequestBody, ResponseWriter};
pub use head::{Head, HeadError};
pub use interrupts::{interrupted, run_handlers_by};
pub use meta::{Circumstances, Meta, Request, Rule};
pub use mount::{Mount, MountError};
pub use page::Page;
pub use path_rule::PathRule;
pub use progress::{Portion, ResponseProgress, StartError};
pub use request_id::{MadeId, sent_id};
pub use span::TimeSpan;
pub use tally::{Bookkeeper, FailureKind, Refusal, RequestFigures};
pub use url::decoded as url_decoded;
pub use variables::Variables;
