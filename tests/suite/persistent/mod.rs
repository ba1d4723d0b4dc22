//! Persistent CGI: the same answers as one request a process, by processes that live on.

mod home;

mod lives;
mod relays;
mod trusts;

pub(crate) use home::Home;
