//! What the processes of the FastCGI door do: a worker serves, the template imports and is forked.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::exit::{Exit, Usage};
use super::logging;
use super::python::{self, WorkingFolder};
use super::worker::Worker;
use crate::config::{Config, ResponderSettings, WorkerSettings};
use crate::explain;
use crate::fastcgi::{AllowList, Handoff, Limits};
use crate::process::{
    self, Bound, Channel, Crew, Identity, Message, Orders, Post, Side, StackSignals, WorkerSlot,
};
use crate::wsgi::{self, Application, Interpreter, LoadError, Mode};

/// The processes of the FastCGI door.
pub(super) struct FastcgiCrew<'a> {
    pub(super) config: &'a Config,
    allow: AllowList,
    pub(super) limits: Limits,
    handoff: Option<Handoff>,
    folder: Option<WorkingFolder>,
}

/// An interpreter with the application in it.
pub(super) type Interpreted = (Interpreter, Application);

impl<'a> FastcgiCrew<'a> {
    /// The crew that these options ask for, with or without a master.
    ///
    /// # Errors
    /// What is wrong with the options.
    pub(super) fn new(config: &'a Config, has_master: bool) -> anyhow::Result<Self> {
        let responder = &config.worker.responder;
        Ok(Self {
            config,
            allow: allow_list(responder)?,
            limits: limits(responder)?,
            handoff: has_master.then(handoff).transpose()?,
            folder: None,
        })
    }

    /// What the workers have to know.
    pub(super) fn settings(&self) -> &'a WorkerSettings {
        &self.config.worker
    }

    /// The same crew, whose processes change to this folder before they import the application.
    pub(super) fn in_folder(mut self, folder: WorkingFolder) -> Self {
        self.folder = Some(folder);
        self
    }

    /// The same crew with no more connections than the workers may have files open, which is said here, once, and holds
    /// for all of them: a limit that is raised here is one that they inherit.
    pub(super) fn fitting(mut self, identity: &Identity) -> Self {
        // A slow web server's connection may have a file beside it, with what it has not taken yet.
        let wanted = 2 * self.limits.connections as u64 + 128;
        let open_files = identity.open_files();
        self.limits
            .fit(open_files.unwrap_or_else(|| process::raise_descriptor_limit(wanted)));
        self
    }

    pub(super) fn is_explaining(&self) -> bool {
        self.settings().explain
    }

    /// Whether the master wants to know the application's files, to reload when they change. It takes them for an attack
    /// where it does not.
    pub(super) fn watches_files(&self) -> bool {
        self.settings().reload && !self.is_explaining()
    }

    /// What explains requests has to know.
    pub(super) fn gateway(&self) -> explain::Gateway<'_> {
        explain::Gateway {
            by_program: false,
            mount: self.settings().mount.as_ref(),
        }
    }

    /// The least and the most number of workers.
    pub(super) fn sizes(&self) -> (usize, usize) {
        let cpus = || std::thread::available_parallelism().map_or(1, usize::from);
        let min = self.config.master.min_workers;
        let by_default = || cpus().max(min.unwrap_or(0));
        let max = self.config.master.workers.unwrap_or_else(by_default);
        (min.unwrap_or(max), max)
    }

    pub(super) fn threads(&self) -> usize {
        self.settings().threads
    }

    pub(super) fn has_allow_list(&self) -> bool {
        !self.allow.is_empty()
    }

    pub(super) fn allow(&self) -> AllowList {
        self.allow.clone()
    }

    /// How the application is called in `ps`.
    pub(super) fn application_name(&self) -> String {
        self.settings().name()
    }

    /// What is readable when connections wait that workers have passed on.
    pub(super) fn passed_on(&self) -> anyhow::Result<OwnedFd> {
        let handoff = self
            .handoff
            .as_ref()
            .context("there is no channel between workers")?;
        Ok(handoff.from.try_clone()?)
    }

    pub(super) fn handoff(&self) -> anyhow::Result<Option<Handoff>> {
        Ok(self.handoff.as_ref().map(Handoff::try_clone).transpose()?)
    }

    pub(super) fn mode(&self) -> Mode {
        Mode {
            multithread: self.threads() > 1,
            // Also where there is one: its successor is there before it leaves, and a web server that starts processes
            // itself may have started others.
            multiprocess: true,
            run_once: false,
            debug: self.settings().debug,
            mount: self.settings().mount.clone(),
        }
    }

    /// Serves in this process, which has no master.
    pub(super) fn work_alone(&self, listeners: Vec<Bound>) -> i32 {
        let worked = WorkerSlot::new(self.threads())
            .context("there is no memory for the scoreboard")
            .and_then(|(place, _)| Worker::alone(self, place)?.work(listeners, None));
        self.code(worked, None)
    }

    /// Starts Python and imports the application.
    ///
    /// # Errors
    /// Why it cannot be served.
    pub(super) fn load(&self, stacks: impl FnOnce()) -> anyhow::Result<Interpreted> {
        if let Some(folder) = &self.folder {
            folder.enter()?;
        }
        let (interpreter, target) = python::start(self.settings())?;
        stacks();
        let application = python::load(&target, self.mode())?;
        log::info!(
            "{}, application {} ({})",
            interpreter.describe(),
            application.file,
            application.kind
        );
        Ok((interpreter, application))
    }

    /// Whether this file lies where the operator says that the application does.
    fn is_own(&self, file: &str) -> bool {
        let settings = self.settings();
        let beside = Path::new(&settings.app).parent().map(Path::to_owned);
        let mut folders = vec![PathBuf::from(".")];
        folders.extend(beside.filter(|folder| !folder.as_os_str().is_empty()));
        folders.extend(settings.python.path.iter().cloned());
        let absolute = folders
            .iter()
            .filter_map(|folder| std::path::absolute(folder).ok());
        absolute
            .into_iter()
            .any(|folder| Path::new(file).starts_with(folder))
    }

    /// Tells an error, and gives the exit code.
    fn code(&self, worked: anyhow::Result<Exit>, channel: Option<&Channel>) -> i32 {
        match worked {
            Ok(exit) => exit as i32,
            Err(error) => {
                let told = self.config.with_origins(&format!("{error:#}"));
                log::error!("{told}");
                let traceback = error
                    .downcast_ref::<LoadError>()
                    .and_then(|error| error.traceback.as_deref())
                    .unwrap_or_default();
                if self.watches_files() {
                    let files = wsgi::imported_files() + &files_in(traceback);
                    // Where nothing of the application was found, a change of other files is not going to help.
                    if !traceback.is_empty() || files.lines().any(|file| self.is_own(file)) {
                        send_files(channel, &files);
                    }
                }
                let text = format!("{told}\n\n{traceback}");
                send(channel, &Message::CannotLoad(text.trim_end().to_owned()));
                Exit::of(&error) as i32
            }
        }
    }
}

impl Crew for FastcgiCrew<'_> {
    fn speak_through(&self, channel: &Channel) {
        logging::go_through(channel);
    }

    fn before_reload(&self) {
        let file = self.config.file.as_ref();
        if let Some(file) = file.filter(|file| file.has_changed()) {
            log::warn!(
                "{} has changed since the start: settings are read at the start only, so restart the gateway to have \
                 them; a reload renews the application",
                file.path().display()
            );
        }
    }

    fn worker_died(&self) {
        if let Some(handoff) = &self.handoff {
            handoff.nudge();
        }
    }

    fn work(&self, post: Post) -> i32 {
        let channel = post.channel.try_clone().ok();
        let listeners = post.listeners;
        let worked = Worker::new(self, post.number, post.place, post.channel)
            .and_then(|worker| worker.work(listeners, None));
        self.code(worked, channel.as_ref())
    }

    fn stand_in(&self, post: Post, trouble: Option<String>) -> i32 {
        let listeners = post.listeners;
        let worked = Worker::new(self, post.number, post.place, post.channel)
            .and_then(|worker| worker.stand_in(listeners, trouble));
        self.code(worked, None)
    }

    fn prepare(&self, mut orders: Orders) -> i32 {
        let channel = orders.channel.try_clone().ok();
        let signals = StackSignals::get();
        let loaded = self.load(|| {
            process::die_of_faults();
            // To standard error: nobody but the master, when the import takes too long, asks for stacks here.
            if let Err(error) = wsgi::write_stacks_on(signals.one, signals.all, 2) {
                log::debug!("stacks cannot be written: {error}");
            }
        });
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(error) => return self.code(Err(error), channel.as_ref()),
        };
        if self.watches_files() {
            send_files(channel.as_ref(), &wsgi::imported_files());
        }
        let threads = loaded.0.freeze();
        if threads > 0 {
            log::warn!(
                "the application has started {threads} threads while it was imported: workers will not have them \
                 (--preload); start them with os.register_at_fork, or leave --preload out"
            );
        }
        send(channel.as_ref(), &Message::Ready);
        while let Some(order) = orders.next() {
            let forked = loaded.0.around_fork(|| {
                // SAFETY: threads that the application has started are told of above; this program has none here.
                let side = unsafe { orders.fork(order, self) };
                let is_child = matches!(side, Ok(Side::Worker(_)));
                (side, is_child)
            });
            match forked {
                Ok(Side::Template) => {}
                Ok(Side::Worker(post)) => {
                    // The template's: an order that it has not read is void when it dies only if nobody else has them.
                    drop((orders, channel));
                    let channel = post.channel.try_clone().ok();
                    let listeners = post.listeners;
                    let worked = Worker::new(self, post.number, post.place, post.channel)
                        .and_then(|worker| worker.work(listeners, Some(loaded)));
                    return self.code(worked, channel.as_ref());
                }
                Err(error) => log::error!("{error}"),
            }
        }
        process::end_at_once(0)
    }
}

fn send(channel: Option<&Channel>, message: &Message) {
    if let Some(channel) = channel {
        // A master that has died is noticed where it is waited for.
        let _ = channel.send(message);
    }
}

/// The files that a traceback names, one a line: one with a syntax error is no module yet.
fn files_in(traceback: &str) -> String {
    let mut files = String::new();
    for line in traceback.lines() {
        let named = line.trim_start().strip_prefix("File \"");
        if let Some((file, _)) = named.and_then(|rest| rest.split_once('"')) {
            files.push('\n');
            files.push_str(file);
        }
    }
    files
}

/// The channel on which workers pass connections on.
fn handoff() -> anyhow::Result<Handoff> {
    Handoff::pair().context("the channel between workers cannot be made")
}

/// Sends the names of files, one a line, in as many messages as they need: a message has to fit its socket.
pub(super) fn send_files(channel: Option<&Channel>, files: &str) {
    const MOST: usize = 64 * 1024;
    let mut message = String::new();
    for file in files.lines() {
        if message.len() + file.len() > MOST {
            send(channel, &Message::Files(std::mem::take(&mut message)));
        }
        message.push_str(file);
        message.push('\n');
    }
    send(channel, &Message::Files(message));
}

/// Who may connect over TCP.
///
/// # Errors
/// What cannot be read, or names nobody.
pub(super) fn allow_list(settings: &ResponderSettings) -> anyhow::Result<AllowList> {
    let read = |text: &str, what: &str| {
        let list = text
            .parse::<AllowList>()
            .map_err(|error| Usage(format!("{what} cannot be read: {error}")))?;
        if list.is_empty() {
            return Err(Usage(format!(
                "{what} '{text}' names nobody: give addresses such as 127.0.0.1, or leave it out"
            )));
        }
        Ok(list)
    };
    let mut allow = AllowList::default();
    if let Some(text) = &settings.allow {
        allow.extend(read(text, "--allow")?);
    }
    if let Some(text) = std::env::var_os("FCGI_WEB_SERVER_ADDRS") {
        allow.extend(read(&text.to_string_lossy(), "FCGI_WEB_SERVER_ADDRS")?);
    }
    Ok(allow)
}

fn limits(settings: &ResponderSettings) -> anyhow::Result<Limits> {
    Ok(Limits {
        params: usize::try_from(settings.max_params).context("--max-params")?,
        body: settings.max_body,
        buffer: usize::try_from(settings.buffer).context("--buffer")?.max(1),
        connections: settings.max_connections,
        unsent: usize::try_from(settings.max_unsent).context("--max-unsent")?,
        header_timeout: settings.header_timeout,
        idle_timeout: settings.idle_connection_timeout,
        io_timeout: settings.io_timeout,
    })
}
