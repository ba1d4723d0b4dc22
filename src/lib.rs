//! A gateway between web servers that speak CGI/1.1 (RFC 3875) or FastCGI 1.0 and Python WSGI applications (PEP 3333),
//! with CPython inside.
//!
//! # Layout
//!
//! Floors: a module imports from the floors below its own and from no other module on it (a test reads the `use` lines).
//!
//! | floor | module | what it does |
//! |---|---|---|
//! | top | [`serve`] | joins transport, application and processes: one function a door |
//! | | [`cli`] | what the operator may say, and nothing of what it does |
//! | | [`config`] | what the operator has decided, as plain values |
//! | middle | [`cgi`] | this process's environment and descriptors as one request |
//! | | [`explain`] | answers a request with what the web server sent, in the application's place; needs no Python |
//! | | [`fastcgi`] | the FastCGI protocol and a responder; has never heard of Python |
//! | | [`wsgi`] | Python and PEP 3333; has never heard of FastCGI |
//! | | [`process`] | sockets to listen on, signals; knows neither |
//! | ground | [`gateway`] | what CGI and FastCGI share, and the seam between a transport and the core |
//!
//! One request: a transport makes an [`gateway::Exchange`] of it, [`wsgi::Caller::call`] has the application answer
//! through that, and the transport ends it.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod cgi;
pub mod cli;
pub mod config;
pub mod explain;
pub mod fastcgi;
pub mod gateway;
pub mod process;
pub mod serve;
pub mod wsgi;
