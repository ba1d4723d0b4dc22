//! Persistent CGI: the program that a web server starts for a request passes it on to a responder, which lives on with the application
//! between requests, and which the first of them starts.
//!
//! Nobody has to install, start or end it: its socket lies in a directory that only this user can use, under a name that says which
//! application it is for and of what state of its files. Who finds nobody there binds the socket, starts the responder and connects
//! as everybody does; their requests wait in the socket's queue while the application is imported.
//!
//! What the responder is, the floor above says: here is only who finds it, starts it and speaks to it. Knows no Python.

mod environment;
mod find;
mod listing;
mod name;
mod relay;

pub use find::{NotFound, ResponderSocket, ResponderStart, clear_left, connect};
pub use listing::{Living, living};
pub use name::{InstanceName, Traits};
pub use relay::{Outcome, PassedOn, pass_on};
