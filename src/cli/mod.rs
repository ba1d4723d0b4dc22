//! What the operator may say: the command line and its checking, and nothing of what it does.

mod process;
mod values;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand};

pub use process::ProcessOptions;

use values::{duration, mode, mount, size};

/// CGI and FastCGI gateway between web servers and Python WSGI applications.
///
/// Without a command, as a web server starts it or as a #! interpreter: a listening socket as standard input is served
/// by FastCGI, a REQUEST_METHOD in the environment is answered as CGI.
#[derive(Clone, Debug, Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub struct Cli {
    /// The door, when it is not for standard input to tell.
    #[command(subcommand)]
    pub door: Option<Door>,

    /// package.module:attribute, package.module (its `application` or `app`), package.module:factory(), or a file.
    #[arg(value_name = "APP")]
    pub app: Option<OsString>,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub general: DoorOptions,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub process: ProcessOptions,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub responder: ResponderOptions,
}

/// A way in.
#[derive(Clone, Debug, Subcommand)]
pub enum Door {
    /// Answer one request: the environment and standard input in, headers and body out.
    Cgi(ApplicationOptions),
    /// Serve FastCGI on sockets until told to stop.
    Fastcgi(Box<FastcgiOptions>),
    /// Import the application, and say what would be served and by which Python. Takes what fastcgi takes.
    Check(Box<FastcgiOptions>),
}

/// Which application, and in which Python.
#[derive(Args, Clone, Debug)]
pub struct ApplicationOptions {
    /// package.module:attribute, package.module (its `application` or `app`), package.module:factory(), or a file.
    #[arg(value_name = "APP")]
    pub app: OsString,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub general: DoorOptions,
}

/// What every door may be told: the Python that the application runs in, and how it tells what goes wrong.
#[derive(Args, Clone, Debug)]
pub struct DoorOptions {
    /// The virtual environment [default: VIRTUAL_ENV, else the one that the application lies in].
    #[arg(long, value_name = "DIR")]
    pub venv: Option<PathBuf>,

    /// Change to this folder first: every other path is seen from there.
    #[arg(long, value_name = "DIR")]
    pub chdir: Option<PathBuf>,

    /// A folder in front of sys.path; may be given more than once.
    #[arg(long, value_name = "DIR", action = ArgAction::Append)]
    pub pythonpath: Vec<PathBuf>,

    /// The URL path that the application is at, as /shop; / is the whole site. A request for anything else gets 404
    /// [default: the web server's SCRIPT_NAME].
    #[arg(long, value_name = "PREFIX", value_parser = mount)]
    pub mount: Option<String>,

    /// Show tracebacks on error pages. Not for a public site.
    #[arg(long)]
    pub debug: bool,

    /// The least important messages that are logged: error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log_level: log::LevelFilter,

    /// The file that messages are appended to [default: standard error].
    #[arg(long, value_name = "FILE")]
    pub log_file: Option<PathBuf>,

    /// A TOML file of options, which the command line and the environment overrule.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Where and how to serve FastCGI.
#[derive(Args, Clone, Debug)]
pub struct FastcgiOptions {
    /// unix:/path, /path, unix:@name, tcp:host:port, host:port, fd:N or systemd; may be given more than once
    /// [default: standard input, if it is a listening socket].
    #[arg(long, value_name = "ADDR", action = ArgAction::Append)]
    pub bind: Vec<String>,

    /// Permission bits of a Unix socket.
    #[arg(long, value_name = "MODE", default_value = "0660", value_parser = mode)]
    pub socket_mode: u32,

    /// The user who owns a Unix socket.
    #[arg(long, value_name = "USER")]
    pub socket_user: Option<String>,

    /// The group that owns a Unix socket: the web server's, so that it may connect.
    #[arg(long, value_name = "GROUP")]
    pub socket_group: Option<String>,

    /// Connections that may wait to be taken.
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(i32).range(1..=65535))]
    pub backlog: i32,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub process: ProcessOptions,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub responder: ResponderOptions,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub application: ApplicationOptions,
}

/// How a FastCGI responder serves, wherever it listens.
#[derive(Args, Clone, Debug)]
pub struct ResponderOptions {
    /// Application threads.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=512))]
    pub threads: u16,

    /// Bytes of a request's body that are read before a thread is given to it.
    #[arg(long, value_name = "SIZE", default_value = "64K", value_parser = size)]
    pub buffer: u64,

    /// Bytes of a request's variables, its headers among them; above it, 431.
    #[arg(long, value_name = "SIZE", default_value = "1M", value_parser = size)]
    pub max_params: u64,

    /// Bytes of a request's body; above it, 413 [default: no limit].
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub max_body: Option<u64>,

    /// Open connections; above it, 503.
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,

    /// Time for a request's variables to come whole; above it, 408.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub header_timeout: Duration,

    /// Time that a connection may be open without a request.
    #[arg(long, value_name = "TIME", default_value = "90s", value_parser = duration)]
    pub idle_connection_timeout: Duration,

    /// Time for each wait within a body or a response.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub io_timeout: Duration,

    /// Hosts or networks that may connect over TCP, with commas.
    #[arg(long, value_name = "ADDR,...")]
    pub allow: Option<String>,
}

impl Cli {
    /// The application, named without a command.
    pub fn application(&self) -> Option<ApplicationOptions> {
        self.app.clone().map(|app| ApplicationOptions {
            app,
            general: self.general.clone(),
        })
    }

    /// Reads the command line; on an error says so and ends the process (exit code 2, or 0 for --help).
    ///
    /// A web server that runs a CGI program may put words of the URL's query on its command line (RFC 3875 section 4.4:
    /// `?-h` is `-h`). They stand behind APP, so that nothing behind APP is read there.
    pub fn read(words: impl Iterator<Item = OsString>, by_web_server: bool) -> Self {
        let mut words: Vec<OsString> = words.collect();
        if by_web_server {
            words.truncate(Self::after_app(&words));
        }
        Self::parse_from(words)
    }

    /// Where the words behind APP begin.
    fn after_app(words: &[OsString]) -> usize {
        let mut command = Self::command();
        let mut at = 1;
        while let Some(word) = words.get(at) {
            at += 1;
            if word == "--" {
                return at + 1;
            }
            match word.to_str().and_then(|word| word.strip_prefix("--")) {
                Some(option) => at += usize::from(takes_value(&command, option)),
                None if word.to_str().is_some_and(|word| word.starts_with('-')) => {}
                None => match find_command(&command, word) {
                    Some(found) => command = found,
                    None => return at,
                },
            }
        }
        words.len()
    }
}

fn takes_value(command: &clap::Command, option: &str) -> bool {
    let mut arguments = command.get_arguments();
    arguments
        .any(|argument| argument.get_long() == Some(option) && argument.get_action().takes_values())
}

fn find_command(command: &clap::Command, word: &OsStr) -> Option<clap::Command> {
    command.find_subcommand(word).cloned()
}

#[cfg(test)]
mod tests {
    use super::{Cli, Door};
    use clap::{CommandFactory, Parser};
    use std::ffi::OsString;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn words_behind_app_are_the_query_s_under_a_web_server() {
        for (line, kept) in [
            ("gw app.py -h foo", 2),
            ("gw cgi app:app --debug", 3),
            ("gw cgi --venv /v --debug app:app -h", 6),
            ("gw --venv=/v app.py --version", 3),
            ("gw -- app.py -h", 3),
            ("gw --debug", 2),
        ] {
            assert_eq!(Cli::after_app(&words(line)), kept, "{line}");
        }
        let cli = Cli::read(words("gw cgi site:app -h --nonsense").into_iter(), true);
        assert!(matches!(cli.door, Some(Door::Cgi(options)) if options.app == "site:app"));
    }

    #[test]
    fn without_a_command_the_first_word_is_the_application() {
        let cli = Cli::try_parse_from(words("gw --debug site:app")).unwrap();
        assert!(cli.door.is_none());
        assert_eq!(cli.application().unwrap().app, "site:app");
        assert!(cli.general.debug);
        assert!(Cli::try_parse_from(words("gw fastcgi --bind /run/a.sock")).is_err());
    }
}
