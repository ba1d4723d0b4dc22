//! Where messages go and what they look like: standard error, one line an event.

use std::io::Write;

use crate::cli::{Cli, Door};

/// Starts logging as the command line says. A web server puts time and program in front of what a CGI program says, so
/// that only a responder's lines have them.
pub fn start(cli: &Cli) {
    let (options, alone) = match &cli.door {
        Some(Door::Cgi(options)) => (&options.general, false),
        Some(Door::Check(options)) => (&options.application.general, false),
        Some(Door::Fastcgi(options)) => (&options.application.general, true),
        None => (&cli.general, std::env::var_os("REQUEST_METHOD").is_none()),
    };
    let level = options.log_level;
    let pid = std::process::id();
    env_logger::Builder::new()
        .filter_level(level)
        .format(move |out, record| {
            let level = record.level().as_str().to_ascii_lowercase();
            if alone {
                let now = out.timestamp_millis();
                writeln!(out, "{now} wsgi-gateway[{pid}] {level}: {}", record.args())
            } else {
                writeln!(out, "wsgi-gateway: {level}: {}", record.args())
            }
        })
        .init();
}
