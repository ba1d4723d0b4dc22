//! The access log on the command line.

use std::path::PathBuf;

use clap::{ArgAction, Args};

use super::values::{access_format, line_target};
use crate::config::{AccessFormat, AccessLogSettings, LineTarget};

/// A line for each request, which the web server usually has already. Not for a request of CGI without --persistent.
#[derive(Args, Clone, Debug)]
pub(super) struct AccessLogOptions {
    /// Where a line for each request goes: a file, - for standard output, or syslog: (/dev/log; syslog:/path is another Unix
    /// socket). What only the gateway knows stands in it. Files are opened anew on SIGUSR1. Not for CGI without --persistent
    /// [default: nowhere].
    #[arg(long, value_name = "FILE|-|syslog:", value_parser = line_target)]
    pub access_log: Option<LineTarget>,

    /// What stands in a line: time (how long it waited, until the first byte, on the processor), common or combined as Apache has
    /// them, json, or letters as Apache and php-fpm have them: '%h %u %t "%r" %s %b %{milli}d %{kilo}M %C', and %{queue}d,
    /// %{first}d, %W (worker), %{id}x.
    #[arg(long, value_name = "FORMAT", default_value = "time", value_parser = access_format)]
    pub access_log_format: AccessFormat,

    /// A path that has no line, as /ping; /static/* is all below that. May be given more than once (as a variable, with spaces or
    /// commas between).
    #[arg(long, value_name = "PATH", action = ArgAction::Append)]
    pub access_log_skip: Vec<String>,

    /// The file that --slow-log writes to [default: where messages go].
    #[arg(long, value_name = "FILE")]
    pub slow_log_file: Option<PathBuf>,
}

impl AccessLogOptions {
    pub(super) fn settings(&self) -> AccessLogSettings {
        AccessLogSettings {
            to: self.access_log.clone(),
            format: self.access_log_format.clone(),
            skip: self.access_log_skip.clone(),
            slow: self.slow_log_file.clone(),
        }
    }
}
