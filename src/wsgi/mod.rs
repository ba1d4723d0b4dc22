//! PEP 3333: Python inside this process, the application, and the call of one for each request.
//!
//! `interpreter` and `venv` start CPython, `target` and `load` find the application, `script` runs it where it is a file, with
//! `runners` out of its way, `caller` is one request's life from
//! `environ` to `close()` and `body` its last part, `response`, `input`, `errors` and `file_wrapper` are the objects that the application is
//! given. `stacks` tells where Python is stuck. This floor has never heard of FastCGI, and it is the only one with PyO3.

mod body;
mod caller;
mod environ;
mod errors;
mod exchange;
mod file_wrapper;
mod input;
mod interpreter;
mod load;
mod response;
mod runners;
mod script;
mod stacks;
mod target;
mod venv;

pub use caller::{Application, Caller};
pub use environ::Mode;
pub use interpreter::{Description, Interpreter, Python};
pub use load::LoadError;
pub use stacks::{imported_count, imported_files, lock_is_free, write_stacks_on};
pub use target::Target;
