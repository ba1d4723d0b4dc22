//! The core of the gateway: what runs inside Python. An extension module, loaded by the program `wsgi-gateway` in the Python that
//! it has become, and by nobody else.
//!
//! `entry` is where Python calls it, and does what the program says; `wsgi` has Python and PEP 3333, and has never heard of
//! FastCGI.

use wsgi_gateway::{cgi, config, exit, fastcgi, gateway, logging, process, worker};

mod entry;
mod wsgi;

include!(concat!(env!("OUT_DIR"), "/module.rs"));
