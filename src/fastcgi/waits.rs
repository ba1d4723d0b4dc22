//! What `leader` waits by: the standard library's. A test (`tests/suite/fastcgi/leadership.rs`) compiles that file with what a
//! scheduler of its own decides instead, which tries many orders of what the threads do.

pub(super) use std::sync::{Condvar, Mutex, MutexGuard};
pub(super) use std::thread::sleep;
