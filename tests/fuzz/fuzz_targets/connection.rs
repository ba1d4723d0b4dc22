//! Drives a connection by what the fuzzer makes up: see `src/fastcgi/connection/model.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|script: &[u8]| wsgi_gateway::fastcgi::drive_connection(script));
