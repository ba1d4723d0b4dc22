//! Sockets to listen on and signals to obey; knows neither FastCGI nor Python.

mod address;
mod forks;
mod listener;
mod signals;

pub use address::Address;
pub use forks::{close_in_children, keep_in_children, watch_forks};
pub use listener::{
    Bound, SocketFile, SocketOwner, bind, inherited, is_listening, raise_descriptor_limit,
};
pub use signals::{Signal, Signals, end_at_once};
