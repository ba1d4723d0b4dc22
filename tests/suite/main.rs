//! The end-to-end tests: the real binary, driven from outside as a web server would drive it.
//!
//! One test target for all of it, because linking is what a test crate costs. Nothing here knows the
//! insides of `src/`: the FastCGI client and the CGI runner (`support`) are the tests' own, so that a mistake in
//! the protocol cannot hide by being made on both sides.
#![allow(clippy::unwrap_used)]

mod cgi;
mod control;
mod documents;
mod fastcgi;
mod options;
mod persistent;
mod processes;
mod python;
mod servers;
mod sources;
mod support;
mod wsgi;
