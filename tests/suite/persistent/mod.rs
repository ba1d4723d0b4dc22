//! Persistent CGI: the same answers as one request a process, by processes that live on.

mod lives;
mod relays;
mod trusts;
