//! What the operator may say, on the command line, in the environment and in a file: its names and its checking, and
//! nothing of what it does.

mod file;
mod process;
mod query;
mod resolve;
mod settings;
mod values;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{ArgAction, Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::{ConfigFile, Invocation, LogFormat, Origin, SettingInForce, SettingOrigins};
use crate::gateway::Mount;
use process::ProcessOptions;
use settings::Settings;
use values::{duration, level, log_format, mode, number, size, switch};

/// CGI and FastCGI gateway between web servers and Python WSGI applications.
///
/// Without a command, as a web server starts it or as a #! interpreter: a listening socket as standard input is served
/// by FastCGI, a REQUEST_METHOD in the environment is answered as CGI.
///
/// Every option may also be an environment variable, WSGI_GATEWAY_MAX_BODY for --max-body, and a key of the file of
/// --config, max-body = "10M"; APP is WSGI_GATEWAY_APP and app. The command line beats the environment, and that the
/// file.
#[derive(Clone, Debug, Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
struct Cli {
    /// The door, when it is not for standard input to tell.
    #[command(subcommand)]
    pub door: Option<DoorCommand>,

    /// package.module:attribute, package.module (its `application` or `app`), package.module:factory(), or a file.
    #[arg(value_name = "APP")]
    pub app: Option<OsString>,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub persistence: PersistenceOptions,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub general: DoorOptions,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub process: ProcessOptions,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub responder: ResponderOptions,

    /// All settings in force and where they were told; none for a CGI request, which is not to wait for that.
    #[arg(skip)]
    pub told: Vec<SettingInForce>,

    /// The file of `--config`.
    #[arg(skip)]
    pub file: Option<ConfigFile>,

    /// What is to be said about the settings when there is a log to say it in.
    #[arg(skip)]
    pub warnings: Vec<String>,
}

/// A way in.
#[derive(Clone, Debug, Subcommand)]
enum DoorCommand {
    /// Answer one request: the environment and standard input in, headers and body out.
    Cgi(Box<CgiOptions>),
    /// Serve FastCGI on sockets until told to stop.
    Fastcgi(Box<FastcgiOptions>),
    /// Import the application, and say what would be served and by which Python. Takes what fastcgi takes.
    Check(Box<CheckOptions>),
    /// Answer one CGI request with what the web server sent, what becomes of it, and what is wrong with the set-up: in an
    /// application's place, without Python. Not for longer than it takes to look. For FastCGI: fastcgi --explain.
    Explain(Box<ExplainOptions>),
    /// Show this user's persistent applications (--persistent).
    Ps,
    /// End persistent applications: what they are at is finished first.
    Stop(StopOptions),
}

/// What is looked at.
#[derive(Args, Clone, Debug)]
struct CheckOptions {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub persistence: PersistenceOptions,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub fastcgi: FastcgiOptions,
}

/// What is to end.
#[derive(Args, Clone, Debug)]
struct StopOptions {
    /// The application, or a part of its name as `ps` shows it [default: the only one].
    #[arg(value_name = "NAME", conflicts_with = "all")]
    pub name: Option<String>,

    /// All of this user's.
    #[arg(long)]
    pub all: bool,
}

/// Which application, and in which Python.
#[derive(Args, Clone, Debug)]
struct ApplicationOptions {
    /// package.module:attribute, package.module (its `application` or `app`), package.module:factory(), or a file.
    #[arg(value_name = "APP")]
    pub app: OsString,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub general: DoorOptions,
}

/// How one request of CGI is answered.
#[derive(Args, Clone, Debug)]
struct CgiOptions {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub persistence: PersistenceOptions,

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

/// Whether the application outlives its request of CGI.
#[derive(Args, Clone, Debug)]
struct PersistenceOptions {
    /// Keep the application alive between requests of CGI: the first starts a responder, and this program only passes requests on
    /// to it. It ends by itself (--idle-timeout). The options of processes and of FastCGI are for it, and have no meaning for
    /// CGI without --persistent.
    #[arg(long, value_name = "YES|NO", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_missing_value = "yes", default_value = "no", hide_default_value = true, value_parser = switch)]
    pub persistent: bool,
}

/// What explains a request.
#[derive(Args, Clone, Debug)]
struct ExplainOptions {
    /// Ignored: what a #! line puts there, the script itself.
    #[arg(value_name = "SCRIPT")]
    pub script: Option<OsString>,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub general: DoorOptions,
}

/// What every door may be told: the Python that the application runs in, and how it tells what goes wrong.
#[derive(Args, Clone, Debug)]
struct DoorOptions {
    /// The interpreter that runs the application, by its path or by a name in PATH [default: that of --venv, else python3].
    #[arg(long, value_name = "FILE")]
    pub python: Option<PathBuf>,

    /// The virtual environment [default: VIRTUAL_ENV, else one around the application, or beside it as .venv or venv, or around this program].
    #[arg(long, value_name = "DIR")]
    pub venv: Option<PathBuf>,

    /// Change to this folder first: every other path is seen from there, those in the file of --config too.
    #[arg(long, value_name = "DIR")]
    pub chdir: Option<PathBuf>,

    /// A folder in front of sys.path; may be given more than once (as a variable, with : between).
    #[arg(long, value_name = "DIR", action = ArgAction::Append)]
    pub pythonpath: Vec<PathBuf>,

    /// The URL path that the application is at, as /shop; / is the whole site. A request for anything else gets 404
    /// [default: the web server's SCRIPT_NAME].
    #[arg(long, value_name = "PREFIX", value_parser = Mount::parse)]
    pub mount: Option<Mount>,

    /// The URL path that a proxy in front takes away before the web server sees it, as /shop: SCRIPT_NAME, whatever the web server
    /// says; what comes is below it [default: the web server's SCRIPT_NAME].
    #[arg(long, value_name = "PREFIX", value_parser = Mount::parse_stripped)]
    pub script_name: Option<Mount>,

    /// Show tracebacks on error pages. Not for a public site.
    #[arg(long, value_name = "YES|NO", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_missing_value = "yes", default_value = "no", hide_default_value = true, value_parser = switch)]
    pub debug: bool,

    /// The least important messages that are logged: error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = level)]
    pub log_level: log::LevelFilter,

    /// The file that messages are appended to [default: standard error].
    #[arg(long, value_name = "FILE")]
    pub log_file: Option<PathBuf>,

    /// What a message is: text, a line for people; or json, a line that is a JSON object with time, level, pid and message.
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = log_format)]
    pub log_format: LogFormat,

    /// A TOML file of options, each a key as workers = 4 or bind = ["/run/a.sock"], which environment and command line
    /// overrule.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Where and how to serve FastCGI.
#[derive(Args, Clone, Debug)]
struct FastcgiOptions {
    /// unix:/path, /path, unix:@name, tcp:host:port, host:port, fd:N or systemd; may be given more than once (as a
    /// variable, with spaces or commas between) [default: standard input, if it is a listening socket].
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

    /// Answer each request with what the web server sent, what becomes of it, and what is wrong with the set-up: in the place
    /// of APP, which may be left out, and without Python. Not for longer than it takes to look.
    #[arg(long, value_name = "YES|NO", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_missing_value = "yes", default_value = "no", hide_default_value = true, value_parser = switch)]
    pub explain: bool,

    /// Connections that may wait to be taken.
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = number::<i32>(1..=65535))]
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
struct ResponderOptions {
    /// Application threads.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = number::<u16>(1..=512))]
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

    /// Bytes of memory for complete responses that web servers have not taken yet; above it, temporary files.
    #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = size)]
    pub max_unsent: u64,

    /// Open connections; above it, 503.
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = number::<u32>(1..=1_000_000))]
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

/// The command line, for who writes its manual.
pub fn command() -> Command {
    Cli::command()
}

/// Reads the command line, the environment and the file of `--config`; on an error says so and ends the process
/// (exit code 2, or 0 for --help).
///
/// Behind APP nothing is read when a web server runs a CGI program: those words are the query's.
pub fn read() -> Invocation {
    let query = std::env::var_os("REQUEST_METHOD")
        .map(|_| std::env::var_os("QUERY_STRING").unwrap_or_default());
    let cli = Cli::of(std::env::args_os(), std::env::vars_os(), query.as_deref());
    resolve::invocation(cli.unwrap_or_else(|error| error.exit()))
}

impl Cli {
    /// Reads what was told; with a query, by a web server.
    fn of(
        words: impl Iterator<Item = OsString>,
        variables: impl Iterator<Item = (OsString, OsString)>,
        query: Option<&OsStr>,
    ) -> Result<Self, clap::Error> {
        let mut words: Vec<OsString> = words.collect();
        let variables = settings::ours(variables);
        let command = Self::command();
        let mut warnings = Vec::new();
        if let Some(query) = query {
            let begin = query::query_begins(&words, query);
            let gather = |words| Settings::gather(&command, words, &variables, &mut Vec::new());
            // Else APP is among the words, or nowhere.
            let explains = words.get(1).is_some_and(|word| word == "explain");
            if begin < words.len() && (explains || gather(&words[..begin])?.has_application()) {
                words.truncate(begin);
            }
            words.truncate(query::after_app(&command, &words));
        }
        let settings = Settings::gather(&command, &words, &variables, &mut warnings)
            .map_err(|error| help_or(error, &words))?;
        let mut told = settings.under(command);
        let is_explain = |word: &OsString| word.to_string_lossy().starts_with("--explain");
        if settings.has("explain") || words.iter().any(is_explain) {
            told = without_application(told, &words);
        }
        let mut matches = told
            .try_get_matches_from_mut(&words)
            .map_err(|error| help_or(error, &words))?;
        let (door, found) = match matches.subcommand() {
            Some((name, found)) => (told.find_subcommand(name).unwrap_or(&told), found),
            None => (&told, &matches),
        };
        let cgi = match matches.subcommand_name() {
            Some(name) => name == "cgi" || name == "explain",
            None => query.is_some(),
        };
        let in_force = match cgi {
            true => Vec::new(),
            false => settings.told(door, found),
        };
        let mut cli = Self::from_arg_matches_mut(&mut matches)?;
        cli.told = in_force;
        cli.warnings = warnings;
        cli.file = settings.file;
        cli.check_place().map_err(settings::wrong)?;
        if !cgi || cli.is_persistent() {
            cli.check().map_err(settings::wrong)?;
        }
        Ok(cli)
    }

    fn is_persistent(&self) -> bool {
        match &self.door {
            Some(DoorCommand::Cgi(options)) => options.persistence.persistent,
            Some(_) => false,
            None => self.persistence.persistent,
        }
    }

    /// Whether only one option says where the application lies, and only one in which Python it runs.
    fn check_place(&self) -> Result<(), String> {
        let general = match &self.door {
            Some(DoorCommand::Cgi(options)) => &options.application.general,
            Some(DoorCommand::Explain(options)) => &options.general,
            Some(DoorCommand::Fastcgi(options)) => &options.application.general,
            Some(DoorCommand::Check(options)) => &options.fastcgi.application.general,
            Some(DoorCommand::Ps | DoorCommand::Stop(_)) => return Ok(()),
            None => &self.general,
        };
        if general.python.is_some() && general.venv.is_some() {
            return Err(SettingOrigins::of(&self.told)
                .put_in("--python and --venv both name a Python: give one of them"));
        }
        if general.mount.is_none() || general.script_name.is_none() {
            return Ok(());
        }
        Err(SettingOrigins::of(&self.told).put_in(
            "--mount and --script-name both say where the application lies: give --script-name alone where a proxy in front takes the \
             prefix away, else --mount alone",
        ))
    }

    /// What no value says by itself.
    fn check(&self) -> Result<(), String> {
        let process = match &self.door {
            Some(DoorCommand::Explain(_) | DoorCommand::Ps | DoorCommand::Stop(_)) => return Ok(()),
            Some(DoorCommand::Cgi(options)) => &options.process,
            Some(DoorCommand::Fastcgi(options)) => &options.process,
            Some(DoorCommand::Check(options)) => &options.fastcgi.process,
            None => &self.process,
        };
        process.check(|key| self.origin(key))
    }

    /// Where the option of this key was told.
    fn origin(&self, key: &str) -> Origin {
        let told = self.told.iter().find(|told| told.key == key);
        told.map_or(Origin::Default, |told| told.origin.clone())
    }
}

/// The command, with no need of an application where `--explain` stands in its place.
fn without_application(command: Command, words: &[OsString]) -> Command {
    let lenient = command.clone().ignore_errors(true);
    let explains = lenient
        .try_get_matches_from(words)
        .ok()
        .and_then(|seen| {
            let door = seen.subcommand()?.1;
            door.try_get_one::<bool>("explain").ok()?.copied()
        })
        .unwrap_or(false);
    if !explains {
        return command;
    }
    command.mut_subcommands(|door| {
        door.mut_args(|option| match option.get_id() == "app" {
            true => option.required(false).default_value("explain"),
            false => option,
        })
    })
}

/// What to say of a command line that cannot be read: where it asks for help, that, and with the defaults that an option
/// has by itself, whatever environment and file say.
fn help_or(error: clap::Error, words: &[OsString]) -> clap::Error {
    use ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    match Cli::command().try_get_matches_from(words) {
        Err(plain)
            if matches!(
                plain.kind(),
                DisplayHelp | DisplayHelpOnMissingArgumentOrSubcommand | DisplayVersion
            ) =>
        {
            plain
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::{Cli, DoorCommand, Origin};
    use clap::{CommandFactory, Parser};
    use std::ffi::{OsStr, OsString};

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn without_a_command_the_first_word_is_the_application() {
        let cli = Cli::try_parse_from(words("gw --debug site:app")).unwrap();
        assert!(cli.door.is_none());
        assert_eq!(cli.app.unwrap(), "site:app");
        assert!(cli.general.debug);
        assert!(Cli::try_parse_from(words("gw fastcgi --bind /run/a.sock")).is_err());
    }

    fn read(line: &str, variables: &[(&str, &str)], query: Option<&str>) -> Result<Cli, String> {
        let variables = variables
            .iter()
            .map(|(name, value)| (name.into(), value.into()));
        Cli::of(words(line).into_iter(), variables, query.map(OsStr::new))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_beats_the_environment() {
        let variables = [
            ("WSGI_GATEWAY_APP", "site:app"),
            ("WSGI_GATEWAY_THREADS", "7"),
            ("WSGI_GATEWAY_BIND", "/a, tcp:h:1"),
            ("WSGI_GATEWAY_DEBUG", "yes"),
            ("WSGI_GATEWAY_VENV", ""),
            ("THREADS", "9"),
        ];
        let cli = read("gw fastcgi --debug=no", &variables, None).unwrap();
        let Some(DoorCommand::Fastcgi(options)) = cli.door else {
            panic!("{cli:?}");
        };
        assert_eq!(options.application.app, "site:app");
        assert_eq!(options.bind, ["/a", "tcp:h:1"]);
        assert_eq!(options.responder.threads, 7);
        assert!(!options.application.general.debug);
        assert_eq!(options.application.general.venv, None);
        let origin = |key| {
            let told = cli.told.iter().find(|told| told.key == key).unwrap();
            told.origin.clone()
        };
        let variable = Origin::Variable("WSGI_GATEWAY_APP".to_owned());
        assert_eq!(origin("app"), variable);
        assert_eq!(origin("debug"), Origin::CommandLine);
        assert_eq!(origin("venv"), Origin::Default);
        let cli = read("gw cgi other:app", &variables, None).unwrap();
        assert!(
            matches!(cli.door, Some(DoorCommand::Cgi(options)) if options.application.app == "other:app")
        );
    }

    #[test]
    fn what_a_request_says_is_neither_option_nor_application() {
        let app = ("WSGI_GATEWAY_APP", "site:app");
        for (line, query, debug, expected) in [
            (
                "gw cgi site:app -h --nonsense",
                "-h+--nonsense",
                false,
                "site:app",
            ),
            ("gw cgi -h", "-h", false, "site:app"),
            (
                "gw cgi --debug evil:app x",
                "--debug+evil:app+x",
                false,
                "site:app",
            ),
            (
                "gw --debug evil:app x",
                "--debug+evil%3Aapp+x",
                false,
                "site:app",
            ),
            (
                "gw --config=/evil.toml",
                "--config%3d/evil.toml",
                false,
                "site:app",
            ),
            ("gw --debug", "a=b", true, "site:app"),
            ("gw --debug /srv/own.cgi", "", true, "/srv/own.cgi"),
            ("gw --debug /srv/own.cgi word", "word", true, "/srv/own.cgi"),
        ] {
            let cli = read(line, &[app], Some(query)).unwrap();
            let (application, general) = match cli.door {
                Some(DoorCommand::Cgi(options)) => {
                    (options.application.app, options.application.general)
                }
                _ => (cli.app.unwrap(), cli.general),
            };
            assert_eq!(application, expected, "{line}");
            assert_eq!(general.debug, debug, "{line}");
        }
    }

    #[test]
    fn options_that_make_no_sense_together_are_told_with_their_origins() {
        let (four, two) = (
            ("WSGI_GATEWAY_MIN_WORKERS", "4"),
            ("WSGI_GATEWAY_WORKERS", "2"),
        );
        let error = read("gw check a --workers 2", &[four], None).unwrap_err();
        for part in [
            "--min-workers 4 (environment variable WSGI_GATEWAY_MIN_WORKERS)",
            "--workers 2 (command line)",
        ] {
            assert!(error.contains(part), "{error}");
        }
        assert!(read("gw check a --workers 4", &[four], None).is_ok());
        assert!(read("gw cgi a", &[four, two], None).is_ok());
        let error = read("gw check a --max-requests-jitter 5", &[], None).unwrap_err();
        assert!(error.contains("give --max-requests too"), "{error}");
        let line = "gw check a --max-requests-jitter 5 --max-requests 5";
        assert!(
            read(line, &[], None)
                .unwrap_err()
                .contains("less than that")
        );
    }
}
