//! What the operator may say, on the command line, in the environment and in a file: its names and its checking, and
//! nothing of what it does.

mod access_log;
mod answer;
mod control;
mod file;
mod generated;
mod help;
mod mistakes;
mod options;
mod options_page;
mod peers;
mod process;
mod query;
mod resolve;
mod settings;
mod tools;
mod topics;
mod values;

use std::ffi::{OsStr, OsString};

use clap::error::ErrorKind;
use clap::{Args as _, Command, CommandFactory, FromArgMatches, Subcommand as _};

use crate::config::{Invocation, Origin, SettingOrigins};
pub use answer::CommandLineAnswer;
use options::{CgiOptions, Cli, DoorCommand};
use settings::Settings;

/// Reads the command line, the environment and the file of `--config`.
///
/// Behind APP nothing is read when a web server runs a CGI program: those words are the query's.
///
/// # Errors
/// What is to be said in place of serving: help, or what is wrong.
pub fn read() -> Result<Invocation, CommandLineAnswer> {
    let query = std::env::var_os("REQUEST_METHOD")
        .map(|_| std::env::var_os("QUERY_STRING").unwrap_or_default());
    let words: Vec<OsString> = std::env::args_os().collect();
    if query.is_none() && words.get(1).is_some_and(|word| word == "help") {
        if let Some(answer) = topics::asked(&words, &Cli::command()) {
            return Err(answer);
        }
    }
    let cli = match Cli::of(&words, std::env::vars_os(), query.as_deref()) {
        Ok(cli) => cli,
        Err(error) if error.kind() == ErrorKind::DisplayVersion => return Ok(Invocation::Version),
        Err(error) => return Err(answer(error, &words)),
    };
    match &cli.door {
        Some(DoorCommand::Completions(options)) => {
            let script = generated::completions(Cli::command(), options.shell);
            Err(CommandLineAnswer::text(script))
        }
        Some(DoorCommand::Manual(options)) => {
            let written =
                generated::write_all(&help::whole(&Cli::command()), &options.folder, &options.day);
            Err(match written {
                Ok(()) => CommandLineAnswer::text(Vec::new()),
                Err(error) => CommandLineAnswer::wrong(format!(
                    "the manual cannot be written to {}: {error}",
                    options.folder.display()
                )),
            })
        }
        _ => Ok(resolve::invocation(cli)),
    }
}

/// What is said of what clap has to say: where it is help, that, and with the defaults that an option has by itself, whatever
/// environment and file say.
fn answer(error: clap::Error, words: &[OsString]) -> CommandLineAnswer {
    match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => CommandLineAnswer::bare(help::BARE),
        ErrorKind::DisplayHelp => {
            let command = Cli::command();
            let shown = match words.iter().any(|word| word == "-h") {
                true => help::short(&command),
                false => help::whole(&command),
            };
            let shown = shown.try_get_matches_from(words);
            CommandLineAnswer::help(shown.err().unwrap_or(error))
        }
        _ => CommandLineAnswer::wrong(mistakes::told(&error, &Cli::command(), words)),
    }
}

impl Cli {
    /// Reads what was told; with a query, by a web server.
    fn of(
        words: &[OsString],
        variables: impl Iterator<Item = (OsString, OsString)>,
        query: Option<&OsStr>,
    ) -> Result<Self, clap::Error> {
        let variables = settings::ours(variables);
        if let Some(cli) = Self::light(words, &variables, query) {
            cli.check_all().map_err(settings::wrong)?;
            return Ok(cli);
        }
        let mut words = words.to_owned();
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
        let passed = tools::passed_on(&told, door, found);
        let mut cli = Self::from_arg_matches_mut(&mut matches)?;
        match &mut cli.door {
            Some(DoorCommand::Get(options)) => options.passed = passed,
            Some(DoorCommand::Try(options)) => options.passed = passed,
            _ => {}
        }
        cli.told = in_force;
        cli.warnings = warnings;
        if let (None, None, Some(app)) = (query, &cli.door, &cli.app) {
            cli.mistyped = mistakes::mistyped(&app.to_string_lossy(), &Self::command());
        }
        cli.file = settings.file;
        cli.check_all().map_err(settings::wrong)?;
        Ok(cli)
    }

    /// Reads what most requests of CGI are started with: options and APP, and no more. The whole command line takes longer to set
    /// up than the rest of a relay's work does. Nothing where it may be something else, or is wrong.
    fn light(
        words: &[OsString],
        variables: &[(OsString, OsString)],
        query: Option<&OsStr>,
    ) -> Option<Self> {
        let is_plain = |word: &OsString| !settings::names_config(word);
        let begin = query::query_begins(words, query?);
        if !variables.is_empty() || begin < words.len() || !words.iter().all(is_plain) {
            return None;
        }
        let first = words.get(1)?.to_str()?;
        let is_cgi = first == "cgi";
        if !is_cgi && (first == "help" || DoorCommand::has_subcommand(first)) {
            return None;
        }
        let command = CgiOptions::augment_args(Command::new("cgi").args_override_self(true));
        let words = &words[usize::from(is_cgi)..];
        let words = &words[..query::after_app(&command, words)];
        let mut matches = command.try_get_matches_from(words).ok()?;
        let options = CgiOptions::from_arg_matches_mut(&mut matches).ok()?;
        let told = options.clone();
        Some(Self {
            app: (!is_cgi).then_some(told.application.app),
            persistence: told.persistence,
            general: told.application.general,
            process: told.process,
            responder: told.responder,
            door: is_cgi.then(|| DoorCommand::Cgi(Box::new(options))),
            told: Vec::new(),
            file: None,
            warnings: Vec::new(),
            mistyped: None,
        })
    }

    /// What no value says by itself.
    fn check_all(&self) -> Result<(), String> {
        self.check_place()?;
        // A request of CGI without --persistent is nothing to those that say which processes there are.
        match &self.door {
            Some(DoorCommand::Cgi(options)) if !options.persistence.persistent => Ok(()),
            _ => self.check(),
        }
    }

    /// Whether only one option says where the application lies, and only one in which Python it runs.
    fn check_place(&self) -> Result<(), String> {
        let general = match &self.door {
            Some(DoorCommand::Cgi(options)) => &options.application.general,
            Some(DoorCommand::Explain(options)) => &options.general,
            Some(DoorCommand::Fastcgi(options)) => &options.application.general,
            Some(DoorCommand::Check(options)) => &options.fastcgi.application.general,
            Some(DoorCommand::Get(options)) => &options.general,
            Some(DoorCommand::Try(options)) => &options.fastcgi.application.general,
            Some(_) => return Ok(()),
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

    /// Whether the options of processes make sense together.
    fn check(&self) -> Result<(), String> {
        let process = match &self.door {
            Some(DoorCommand::Try(options)) => {
                let told = |origin| matches!(origin, Origin::CommandLine);
                options.check(told(self.origin("bind")))?;
                &options.fastcgi.process
            }
            Some(DoorCommand::Cgi(options)) => &options.process,
            Some(DoorCommand::Fastcgi(options)) => &options.process,
            Some(DoorCommand::Check(options)) => &options.fastcgi.process,
            Some(_) => return Ok(()),
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

/// What clap has to say of a command line that cannot be read: help, where that is asked, whatever is wrong in environment and
/// file.
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
    use super::{Cli, DoorCommand, Origin, resolve};
    use std::ffi::{OsStr, OsString};

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    fn read(line: &str, variables: &[(&str, &str)], query: Option<&str>) -> Result<Cli, String> {
        let variables = variables
            .iter()
            .map(|(name, value)| (name.into(), value.into()));
        Cli::of(&words(line), variables, query.map(OsStr::new)).map_err(|error| error.to_string())
    }

    /// The short way and the long one lead to the same.
    #[test]
    fn a_request_of_cgi_is_read_alike_in_both_ways() {
        for line in [
            "gw cgi --persistent /srv/app.py",
            "gw cgi app:app",
            "gw cgi --venv /v --debug --workers 3 --max-rss=1G app:app -h",
            "gw /srv/app.cgi",
            "gw --persistent /srv/app.cgi --help",
            "gw --log-level warn --mount /a /srv/app.cgi word",
            "gw cgi -w 3 -t30 --log-level warn --log-level info app:app -w 4",
            "gw -- /srv/app.cgi",
        ] {
            let words: Vec<OsString> = words(line);
            let query = Some(OsStr::new("a=b"));
            let light = Cli::light(&words, &[], query).unwrap_or_else(|| panic!("{line}"));
            // Where there is a variable of ours, if only one that says nothing new, the long way is taken.
            let long = read(line, &[("WSGI_GATEWAY_BACKLOG", "1024")], Some("a=b")).unwrap();
            let [light, long] = [light, long].map(|cli| format!("{:?}", resolve::invocation(cli)));
            assert_eq!(light, long, "{line}");
        }
        for line in [
            "gw",
            "gw cgi",
            "gw fastcgi app:app",
            "gw check app:app",
            "gw explain",
            "gw ps",
            "gw conf nginx",
            "gw get app:app /",
            "gw try app:app",
            "gw help",
            "gw --help",
            "gw --persistent",
            "gw cgi --no-such app:app",
            "gw cgi --config /etc/a.toml app:app",
            "gw cgi -c /etc/a.toml app:app",
            "gw completions bash",
        ] {
            assert!(
                Cli::light(&words(line), &[], Some(OsStr::new("a=b"))).is_none(),
                "{line}"
            );
        }
        assert!(Cli::light(&words("gw cgi app:app"), &[], None).is_none());
        assert!(Cli::light(&words("gw /srv/a.cgi -h"), &[], Some(OsStr::new("-h"))).is_none());
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
