//! A gateway between web servers that speak CGI/1.1 (RFC 3875) or FastCGI 1.0 and Python WSGI applications (PEP 3333),
//! which the site's own CPython runs.
//!
//! # Layout
//!
//! Floors: a module imports from the floors below its own and from no other module on it (a test reads the `use` lines).
//!
//! | floor | module | what it does |
//! |---|---|---|
//! | top | [`serve`] | the program: one function a door; becomes the Python that runs the application |
//! | | `src/python` | the core, which that Python loads: a package of its own, one a version of Python, and the only one with PyO3 |
//! | | [`top`] | the screen of `top` |
//! | | [`cli`] | what the operator may say, and nothing of what it does |
//! | middle | [`control`] | the control socket of a gateway: who answers there without being one of its workers, and who asks |
//! | | [`persistent`] | finds the responder that keeps an application of CGI alive, or starts it; passes requests on to it |
//! | | [`worker`] | the threads of a process that serves FastCGI; knows Python by a trait |
//! | | [`cgi`] | this process's environment and descriptors as one request |
//! | | [`explain`] | answers a request with what the web server sent, in the application's place; needs no Python |
//! | | [`webserver`] | what web servers are configured with to reach the gateway |
//! | | [`help`] | what there is to read: topics, for a terminal and the manual |
//! | | [`logging`] | where messages go |
//! | | [`fastcgi`] | the FastCGI protocol and a responder; has never heard of Python |
//! | | [`process`] | sockets to listen on, signals, the master; knows neither |
//! | ground | [`config`] | what the operator has decided, as plain values |
//! | | [`exit`] | exit codes |
//! | | [`gateway`] | what CGI and FastCGI share, and the seam between a transport and the core |
//!
//! One request: a transport makes an [`gateway::Exchange`] of it, [`worker::RequestHandler::handle`] has the application answer
//! through that, and the transport ends it.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod cgi;
pub mod cli;
pub mod config;
pub mod control;
pub mod exit;
pub mod explain;
pub mod fastcgi;
pub mod gateway;
pub mod help;
pub mod logging;
pub mod persistent;
pub mod process;
pub mod serve;
pub mod top;
pub mod webserver;
pub mod worker;
