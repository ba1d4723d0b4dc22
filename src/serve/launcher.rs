//! What the processes of the FastCGI door do: those that run the application become its Python; the others need none.

use std::cell::Cell;
use std::os::fd::{IntoRawFd as _, OwnedFd, RawFd};

use anyhow::Context as _;

use super::core::{Installation, ToTell};
use super::folder::WorkingFolder;
use crate::config::{AccessLogSettings, Config, MasterSettings, Work, WorkerHandles};
use crate::fastcgi::Handoff;
use crate::logging;
use crate::process::{
    self, Bound, Channel, ChildMessage, ForkRequests, Identity, LineWriter, LineWriterError,
    ObserverArgs, PidFile, Service, WorkerArgs,
};
use crate::worker::{Failure, FastcgiService, Worker, open_line_files, report};

/// Starts the processes of the FastCGI door.
pub(super) struct Launcher<'a> {
    config: &'a Config,
    service: FastcgiService,
    /// Writes lines of requests, until the master takes it.
    lines: Cell<Option<LineWriter>>,
    folder: WorkingFolder,
    installation: Installation,
}

impl<'a> Launcher<'a> {
    /// One for what the operator has decided, with or without a master. No more connections are taken than the workers may
    /// have files open, which is said here, once, and holds for all of them: a limit that is raised here is one that they
    /// inherit.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub(super) fn new(
        config: &'a Config,
        has_master: bool,
        folder: WorkingFolder,
        identity: &Identity,
    ) -> Result<Self, Failure> {
        let handoff = has_master
            .then(Handoff::pair)
            .transpose()
            .context("the channel between workers cannot be made")?;
        let lines = match has_master {
            true => line_writer(&config.worker.access_log)?,
            false => None,
        };
        let sender = lines.as_ref().map(LineWriter::sender);
        let mut service =
            FastcgiService::new(config.worker.clone(), handoff)?.sending_lines(sender);
        service.fit(|wanted| {
            let open_files = identity.open_files();
            open_files.unwrap_or_else(|| process::raise_descriptor_limit(wanted))
        });
        Ok(Self {
            config,
            service,
            lines: Cell::new(lines),
            folder,
            installation: Installation::find(),
        })
    }

    pub(super) fn config(&self) -> &'a Config {
        self.config
    }

    pub(super) fn service(&self) -> &FastcgiService {
        &self.service
    }

    /// What writes lines of requests, for the master; once.
    pub(super) fn take_line_writer(&self) -> Option<LineWriter> {
        self.lines.take()
    }

    /// The least and the most number of workers.
    pub(super) fn sizes(&self) -> (usize, usize) {
        sizes(&self.config.master)
    }

    /// What is readable when connections wait that workers have passed on.
    pub(super) fn passed_on(&self) -> anyhow::Result<OwnedFd> {
        let handoff = self
            .service
            .handoff()
            .context("there is no channel between workers")?;
        Ok(handoff.from.try_clone()?)
    }

    /// Serves in this process, which has no master.
    pub(super) fn work_alone(&self, listeners: Vec<Bound>, pid: Option<&PidFile>) -> i32 {
        if self.service.settings().explain {
            let worked = Worker::alone(&self.service, listeners).and_then(Worker::explain);
            return report(&self.service, worked, None, None);
        }
        let became = self.become_python(|| {
            let numbers = listeners
                .iter()
                .map(|bound| process::leave_open(&bound.socket));
            let work = Work::Alone {
                listeners: numbers.collect::<Result<_, _>>()?,
                pid: pid.map(|file| file.path().to_owned()),
            };
            Ok((work, to_log()))
        });
        report(&self.service, Err(became), None, None)
    }

    /// Has this process become the Python of the application, for the work that `prepare` says.
    ///
    /// Returns only the reason why that cannot be done.
    fn become_python(
        &self,
        prepare: impl FnOnce() -> Result<(Work, Vec<ToTell>), Failure>,
    ) -> Failure {
        let prepared = self.folder.enter().and_then(|()| prepare());
        match prepared {
            Ok((work, tell)) => {
                self.installation
                    .become_python(self.service.settings(), work, true, &tell)
            }
            Err(error) => error,
        }
    }

    /// The numbers of the channel between workers, for a process that becomes Python.
    fn handoff(&self) -> anyhow::Result<(i32, i32)> {
        let handoff = self
            .service
            .handoff()
            .context("there is no channel between workers")?;
        Ok((
            process::leave_open(&handoff.to)?,
            process::leave_open(&handoff.from)?,
        ))
    }

    /// As [`Launcher::become_python`], of a process that has a master.
    fn work_for_master(
        &self,
        channel: &Channel,
        prepare: impl FnOnce(i32, (i32, i32), Option<i32>) -> Result<Work, Failure>,
    ) -> i32 {
        let became = self.become_python(|| {
            let number = process::leave_open(channel)?;
            let lines = self.service.line_sender().map(process::leave_open);
            let work = prepare(number, self.handoff()?, lines.transpose()?)?;
            let tell = [
                ChildMessage::Log(1, String::new()),
                ChildMessage::CannotLoad(String::new()),
            ];
            let tell = tell.map(|message| (number, message.head(), Some(Vec::new())));
            Ok((work, tell.into()))
        });
        report(&self.service, Err(became), Some(channel), None)
    }
}

/// What writes the lines of all workers, if there are any to write.
///
/// # Errors
/// When a file cannot be opened.
fn line_writer(settings: &AccessLogSettings) -> Result<Option<LineWriter>, Failure> {
    if settings.to.is_none() && settings.slow.is_none() {
        return Ok(None);
    }
    let settings = settings.clone();
    match LineWriter::new(Box::new(move || open_line_files(&settings))) {
        Ok(writer) => Ok(Some(writer)),
        Err(LineWriterError::File(error)) => Err(error.into()),
        Err(LineWriterError::System(error)) => Err(error.into()),
    }
}

/// The least and the most number of workers.
pub(super) fn sizes(settings: &MasterSettings) -> (usize, usize) {
    let cpus = || std::thread::available_parallelism().map_or(1, usize::from);
    let (min, max) = (settings.min_workers, settings.workers);
    let max = max.unwrap_or_else(|| cpus().max(min.unwrap_or(0)));
    (min.unwrap_or(max), max)
}

/// How Python tells who reads the log.
pub(super) fn to_log() -> Vec<ToTell> {
    /// What no line has of itself.
    const PLACE: &str = "<reason>";
    let line = logging::error_line(PLACE);
    let line = String::from_utf8_lossy(&line);
    let (before, behind) = line.split_once(PLACE).unwrap_or((&line, ""));
    let file = logging::file().ok().flatten();
    let file = file.and_then(|file| process::leave_open(&file).map(|_| file.into_raw_fd()).ok());
    vec![(file.unwrap_or(2), before.into(), Some(behind.into()))]
}

impl Service for Launcher<'_> {
    fn log_through(&self, channel: &Channel) {
        logging::go_through(channel);
    }

    fn log_descriptor(&self) -> Option<RawFd> {
        logging::descriptor()
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
        if let Some(handoff) = self.service.handoff() {
            handoff.wake_to_look();
        }
    }

    fn run_worker(&self, args: WorkerArgs) -> i32 {
        if self.service.settings().explain {
            let channel = args.channel.try_clone().ok();
            let worked = Worker::new(&self.service, args).and_then(Worker::explain);
            return report(&self.service, worked, channel.as_ref(), None);
        }
        self.work_for_master(&args.channel, |channel, handoff, lines| {
            let numbers = args
                .listeners
                .iter()
                .map(|bound| process::leave_open(&bound.socket));
            Ok(Work::Worker(WorkerHandles {
                number: args.number,
                channel,
                slot: process::leave_open(&args.slot)?,
                listeners: numbers.collect::<Result<_, _>>()?,
                handoff,
                lines,
            }))
        })
    }

    fn run_fallback(&self, args: WorkerArgs, trouble: Option<String>) -> i32 {
        let worked =
            Worker::new(&self.service, args).and_then(|worker| worker.serve_fallback(trouble));
        report(&self.service, worked, None, None)
    }

    fn run_observer(&self, args: ObserverArgs) -> i32 {
        super::control::run(self.config, args)
    }

    fn has_stale_settings(&self) -> bool {
        let file = self.config.file.as_ref();
        file.is_some_and(|file| file.has_changed())
    }

    fn run_template(&self, requests: ForkRequests) -> i32 {
        self.work_for_master(&requests.channel, |channel, handoff, lines| {
            Ok(Work::Template {
                channel,
                handoff,
                lines,
            })
        })
    }
}
