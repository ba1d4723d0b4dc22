//! Persistent CGI: what the relay finds or starts, what the responder is, and what their user sees of them.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::core::Installation;
use super::{fastcgi, interpreter};
use crate::cgi::{self, BodyExtent, Stdio};
use crate::config::{
    Config, ControlSettings, Door, LineTarget, ListenSettings, MasterSettings, ResponderLaunch,
    Target, Transfer as _, WorkerSettings,
};
use crate::exit::Exit;
use crate::gateway::Page;
use crate::logging::{self, Destination};
use crate::persistent::{
    InstanceName, NotFound, Outcome, PassedOn, ResponderStart, Traits, connect, pass_on,
};
use crate::process::{self, AccountFile, PrivateDirectory};
use crate::worker::Failure;

/// What the responder is started with: in front of the number of the descriptor in which it is told all else.
const WORD: &str = "--responder-told-by=";

/// What holds where nobody says it.
const WORKERS: usize = 2;
const IDLE: Duration = Duration::from_secs(300);
const RSS: u64 = 256 << 20;

/// Bytes of its own log, of which there are two files at most.
const LOG: u64 = 1 << 20;

/// As many bytes as the kernel lets an environment have.
const VARIABLES: u64 = 8 << 20;

/// Has the responder answer the request, which is found or started. Nothing where that cannot be done: the request is as it was
/// then, and the reason was told.
pub(super) fn relay(config: &Config, stdio: &Stdio) -> Option<Exit> {
    match try_relay(config, stdio) {
        Ok(exit) => exit,
        Err(reason) => {
            log::warn!("{reason}; this request is answered without --persistent");
            None
        }
    }
}

fn try_relay(config: &Config, stdio: &Stdio) -> Result<Option<Exit>, NotFound> {
    let installation = Installation::find();
    let settings = &config.worker;
    // What is wrong with these is told by who goes on without a responder.
    let Ok(target) = Target::parse(&settings.app) else {
        return Ok(None);
    };
    let Ok(choice) = interpreter::choose(settings, &target, installation.program()) else {
        return Ok(None);
    };
    let blank = blank(config);
    let traits = Traits {
        target: &target,
        path: &settings.python.path,
        python: &choice.path,
        program: installation.program(),
        settings: &blank.write().map_err(io::Error::other)?,
    };
    let Ok(name) = InstanceName::of(&traits) else {
        return Ok(None);
    };
    let directory = PrivateDirectory::find()?;
    let launch = |name: &InstanceName, account| {
        let mut launch = ResponderLaunch {
            directory: directory.path().to_owned(),
            socket: name.socket(),
            account: (name.account(), account),
            ..blank.clone()
        };
        let log = &mut launch.worker.log;
        if log.file.is_none() {
            log.file = Some(directory.path().join(name.log()));
            log.limit = Some(LOG);
        }
        process::seal(&launch.write().map_err(io::Error::other)?)
    };
    let responder = ResponderStart {
        name,
        name_now: &|| InstanceName::of(&traits),
        program: installation.program(),
        launch: &launch,
        word: WORD,
        title: &title(settings),
    };
    let variables = cgi::request_variables();
    let [input, output] = stdio.descriptors();
    let request = PassedOn {
        extent: BodyExtent::of(&variables),
        variables: &variables,
        input,
        output,
    };
    // The second time for one that has ended meanwhile.
    for _ in 0..2 {
        let connection = connect(&directory, &responder)?;
        match pass_on(connection, &request) {
            Outcome::Unread => {}
            Outcome::Answered(code) => return Ok(Some(Exit::from_code(code.into()))),
            Outcome::Unwanted => {
                log::debug!("the web server has gone");
                return Ok(Some(Exit::Failed));
            }
            Outcome::Cut => {
                log::error!("the response was cut: the application failed, or its process died");
                return Ok(Some(Exit::Failed));
            }
            Outcome::Unanswered => {
                log::error!(
                    "the process of the application died before it had answered; its log is in {}",
                    directory.path().display()
                );
                let text = "The application ended before it had answered.";
                write_page(&request, &Page::new("500 Internal Server Error", text));
                return Ok(Some(Exit::Failed));
            }
        }
    }
    Err(NotFound::EndsAtOnce(directory.path().to_owned()))
}

/// Room for the title that the responder has later.
fn title(settings: &WorkerSettings) -> OsString {
    let mut title = settings.app.clone();
    title.push(" ".repeat(64));
    title
}

fn write_page(request: &PassedOn<'_>, page: &Page) {
    let (head, body) = page.render();
    let mut bytes = Vec::new();
    head.write_status_first(&mut bytes);
    if request.variables.get(b"REQUEST_METHOD") != Some(b"HEAD") {
        bytes.extend(body);
    }
    if let Ok(output) = request.output.try_clone_to_owned() {
        // The reason is in the log already.
        let _ = std::fs::File::from(output).write_all(&bytes);
    }
}

/// The settings of a responder, with what holds where nobody says it.
pub(super) fn in_force(config: &Config) -> (WorkerSettings, MasterSettings) {
    let mut worker = config.worker.clone();
    let mut master = config.master.clone();
    worker.for_cgi = Some(process::own_user());
    worker.responder.max_params = worker.responder.max_params.max(VARIABLES);
    worker.recycling.rss.get_or_insert(RSS);
    master.workers.get_or_insert(WORKERS);
    master.min_workers = Some(master.min_workers.unwrap_or(1).max(1));
    master.idle_timeout.get_or_insert(IDLE);
    (worker, master)
}

/// What the responder is told, without its files.
fn blank(config: &Config) -> ResponderLaunch {
    let (mut worker, master) = in_force(config);
    // This process has changed to it already; the others do by its name.
    let here = std::env::current_dir().ok();
    worker.chdir = worker.chdir.and(here);
    let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    worker.log.file = worker.log.file.map(absolute);
    let access = &mut worker.access_log;
    access.slow = access.slow.take().map(absolute);
    if let Some(LineTarget::File(file)) = &mut access.to {
        *file = absolute(std::mem::take(file));
    }
    ResponderLaunch {
        directory: PathBuf::new(),
        socket: String::new(),
        account: (String::new(), -1),
        worker,
        master,
    }
}

/// Is the responder that a relay has started, if this process is that.
pub fn respond() -> Option<ExitCode> {
    // In a request the word would be the client's.
    if std::env::var_os("REQUEST_METHOD").is_some() {
        return None;
    }
    let word = std::env::args_os().nth(1)?;
    let number: RawFd = word.to_str()?.strip_prefix(WORD)?.parse().ok()?;
    if number <= 2 {
        return None;
    }
    // SAFETY: this process has opened nothing; a descriptor that has no sealed text is left to who has it.
    let told = unsafe { process::take_inherited(number) }.ok()?;
    let launch = read(told)?;
    let config = Config {
        door: Door::Fastcgi,
        shows_all: false,
        listen: ListenSettings {
            bind: Vec::new(),
            backlog: 0,
            socket_mode: 0,
            socket_user: None,
            socket_group: None,
        },
        persistent: false,
        control: ControlSettings::off(),
        master: launch.master,
        worker: launch.worker,
        in_force: Vec::new(),
        file: None,
        warnings: Vec::new(),
        mistyped: None,
    };
    let log = &config.worker.log;
    let to = log
        .file
        .as_deref()
        .map_or(Destination::StandardError, Destination::File);
    let started = logging::start(log, true, to).map_err(Failure::from);
    let served = started.and_then(|()| {
        let name = full_name(&config.worker);
        let (account, number) = &launch.account;
        // SAFETY: the relay has left it open for this process, and nobody has asked for it before.
        let made = unsafe { process::take_inherited(*number) };
        let path = launch.directory.join(account);
        let account = made.and_then(|made| AccountFile::begin(made.into(), &path, &name));
        let account = account
            .inspect_err(|error| log::warn!("'wsgi-gateway ps' will not show this: {error}"))
            .ok();
        fastcgi::run_for_cgi(&config, &launch.directory.join(&launch.socket), account)
    });
    Some(match served {
        Ok(exit) => exit.into(),
        Err(error) => {
            log::error!("{error:#}");
            error.exit().into()
        }
    })
}

/// The application's name with its folder, where it is a file. suEXEC starts programs without: to `ps` and `stop` all of a user's sites
/// would be one.
fn full_name(settings: &WorkerSettings) -> String {
    match Target::parse(&settings.app) {
        Ok(target) if !target.is_module() => std::path::absolute(&settings.app)
            .map_or_else(|_| settings.name(), |path| path.display().to_string()),
        // Other sites have a module of the same name.
        _ => std::env::current_dir().map_or_else(
            |_| settings.name(),
            |folder| format!("{}:{}", folder.display(), settings.name()),
        ),
    }
}

fn read(told: OwnedFd) -> Option<ResponderLaunch> {
    ResponderLaunch::read(&process::unseal(told).ok()?).ok()
}
