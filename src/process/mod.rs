//! Sockets to listen on and signals to obey; knows neither FastCGI nor Python.

mod address;
mod listener;
mod signals;

pub use address::Address;
pub use listener::{
    Bound, SocketFile, SocketOwner, bind, inherited, is_listening, raise_descriptor_limit,
};
pub use signals::{Signal, Signals, end_at_once};
