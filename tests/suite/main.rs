//! The end-to-end tests: the real binary, driven from outside as a web server would drive it.
//!
//! One test target for all of it, because linking is what a test crate costs. Nothing here knows the
//! insides of `src/`: the FastCGI client and the CGI runner are the tests' own, so that a mistake in
//! the protocol cannot hide by being made on both sides.
#![allow(clippy::unwrap_used)]

mod access_log;
mod application_files;
mod browser;
mod captures;
mod checks;
mod client;
mod control;
mod costs;
mod gateway;
mod load;
mod logs;
mod names;
mod process_table;

mod explain;
mod fairness;
mod fastcgi_aborts;
mod fastcgi_client_check;
mod fastcgi_cuts;
mod fastcgi_limits;
mod fastcgi_phases;
mod fastcgi_smuggling;
mod fastcgi_soak;
mod fastcgi_sockets;
mod fastcgi_spec;
mod fastcgi_streaming;
mod get;
mod slow_peers;

mod floors;
mod forks;
mod http;
mod imports;
mod leadership;
mod messages;
mod options;
mod packages;
mod paths_rules;
mod paths_servers;
mod persistent;
mod resilience;
mod servers;

mod cgi_bytes;
mod cgi_door;
mod python_choice;
mod python_interpreter;
mod python_versions;
mod wsgi_applications;
mod wsgi_doors;
mod wsgi_environ;
mod wsgi_environ_odd;
mod wsgi_files_odd;
mod wsgi_lengths;
mod wsgi_pep3333;

mod processes_closed;
mod processes_combined;
mod processes_crashes;
mod processes_deadlines;
mod processes_folders;
mod processes_hostile;
mod processes_interrupted;
mod processes_killed;
mod processes_logging;
mod processes_meddled;
mod processes_output;
mod processes_pool;
mod processes_preload;
mod processes_recycling;
mod processes_releases;
mod processes_reload;
mod processes_signals;
mod processes_systemd;
mod processes_watching;
mod release;
