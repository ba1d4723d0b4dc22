//! PEP 3333: the application, and the call of it for each request.
//!
//! `interpreter` prepares Python for it and ends it, `venv` looks whether its parts fit together, `load` finds the application,
//! `script` runs it where it is a file, with `runners` out of its way, `caller` is one request's life from `environ` to `close()`
//! and `body` its last part, `response`, `input`, `errors` and `file_wrapper` are the objects that the application is given.
//! `stacks` tells where Python is stuck, `timeout` has the exception that gets it out of there. This floor has never heard of FastCGI, and it is the only one with PyO3.

mod body;
mod caller;
mod ending;
mod environ;
mod errors;
mod exchange;
mod file_wrapper;
mod input;
mod interpreter;
mod load;
mod load_hints;
mod response;
mod runners;
mod script;
mod signals;
mod stacks;
mod timeout;
mod venv;

pub(crate) use caller::{Application, Caller};
pub(crate) use ending::end;
pub(crate) use environ::Mode;
pub(crate) use interpreter::Interpreter;
pub(crate) use signals::{run_handlers_here, tell_of_handlers};
pub(crate) use stacks::{imported_count, imported_files, lock_is_free, write_stacks_on};
pub(crate) use timeout::{forget_timeout, raise_timeout, raise_timeout_on, this_thread};
