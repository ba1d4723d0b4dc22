//! CGI/1.1 (RFC 3875): one request a process.

mod bytes;
