//! PEP 3333, and what becomes of the web server's variables in `environ`, behind every door.

mod applications;
mod environ;
mod environ_odd;
mod files_odd;
mod lengths;
mod paths_rules;
mod paths_servers;
mod pep3333;
