//! The processes of the FastCGI door that run the application: a worker serves, the template imports and is forked.

use std::os::fd::{OwnedFd, RawFd};
use std::path::Path;
use std::sync::Arc;

use super::runtime::PYTHON;
use super::startup::{inherited, load_to_serve};
use crate::config::{Launch, WorkerHandles};

use crate::fastcgi::Handoff;
use crate::logging;
use crate::process::{
    self, Bound, Channel, ChildMessage, ForkRequests, Forked, PidFile, StackSignals, WorkerArgs,
};
use crate::worker::{
    Failure, FastcgiService, LoadedApplication, PythonRuntime as _, Worker, report, send_files,
};
use crate::wsgi::Interpreter;

/// Serves without a master.
///
/// # Errors
/// Why it cannot.
pub(super) fn alone(
    launch: &Launch,
    listeners: &[RawFd],
    pid: Option<&Path>,
) -> Result<i32, Failure> {
    let _pid_file = pid.map(|path| PidFile::written(path.to_owned()));
    // Among those that the program has kept back until now is the one that opens log files anew.
    process::let_pass();
    let service = FastcgiService::new(launch.settings.clone(), None)?;
    let listeners = bound(listeners)?;
    let worked = Worker::alone(&service, listeners)
        .and_then(|worker| worker.serve(&PYTHON, || load_to_serve(launch)));
    Ok(report(&service, worked, None, Some(&PYTHON)))
}

/// Serves as a worker of a master.
///
/// # Errors
/// Why it cannot.
pub(super) fn worker(launch: &Launch, handles: &WorkerHandles) -> Result<i32, Failure> {
    let channel = Channel::from_fd(inherited(handles.channel)?);
    logging::go_through(&channel);
    process::let_pass();
    let settings = &launch.settings;
    process::set_title(&format!(
        "wsgi-gateway: worker {} {}",
        handles.number,
        settings.name()
    ));
    let service = FastcgiService::new(settings.clone(), Some(handoff(handles.handoff)?))?
        .sending_lines(lines(handles.lines)?);
    let args = WorkerArgs {
        number: handles.number,
        channel: channel.try_clone()?,
        slot: inherited(handles.slot)?,
        listeners: bound(&handles.listeners)?,
    };
    let worked = Worker::new(&service, args)
        .and_then(|worker| worker.serve(&PYTHON, || load_to_serve(launch)));
    Ok(report(&service, worked, Some(&channel), Some(&PYTHON)))
}

/// Imports the application, and forks workers until there are no more requests for one; each goes on in here.
///
/// # Errors
/// Why it cannot.
pub(super) fn template(
    launch: &Launch,
    channel: RawFd,
    between_workers: (RawFd, RawFd),
    line_sender: Option<RawFd>,
) -> Result<i32, Failure> {
    let channel = Channel::from_fd(inherited(channel)?);
    let requests = ForkRequests::new(channel, launch.settings.name());
    let channel = &requests.channel;
    logging::go_through(channel);
    process::let_pass();
    // A master that has died is noticed where it is waited for.
    let _ = channel.send(&ChildMessage::Begun);
    let settings = &launch.settings;
    process::set_title(&format!("wsgi-gateway: template {}", settings.name()));
    let service = FastcgiService::new(settings.clone(), Some(handoff(between_workers)?))?
        .sending_lines(lines(line_sender)?);
    process::die_of_faults();
    let signals = StackSignals::get();
    // To standard error: nobody but the master, when the import takes too long, asks for stacks here.
    if let Err(error) = PYTHON.write_stacks_on(signals.one, signals.all, 2) {
        log::debug!("stacks cannot be written: {error}");
    }
    let loaded = match load_to_serve(launch) {
        Ok(loaded) => loaded,
        Err(error) => return Ok(report(&service, Err(error), Some(channel), Some(&PYTHON))),
    };
    if service.watches_files() {
        send_files(Some(channel), &PYTHON.imported_files());
    }
    let threads = Interpreter.freeze();
    if threads > 0 {
        log::warn!(
            "the application has started {threads} threads while it was imported: workers will not have them \
             (--preload); start them with os.register_at_fork, or leave --preload out"
        );
    }
    // A master that has died is noticed where it is waited for.
    let _ = channel.send(&ChildMessage::Ready);
    match fork_workers(requests) {
        Some(args) => Ok(forked(&service, args, loaded)),
        None => process::end_at_once(0),
    }
}

/// Returns in a worker with what it is given, and in the template when there is nothing more to be forked.
fn fork_workers(mut requests: ForkRequests) -> Option<WorkerArgs> {
    while let Some(request) = requests.next() {
        let forked = Interpreter.around_fork(|| {
            // SAFETY: threads that the application has started are told of above; this program has none here.
            let side = unsafe { requests.fork(request, &logging::go_through) };
            let is_child = matches!(side, Ok(Forked::Worker(_)));
            (side, is_child)
        });
        match forked {
            Ok(Forked::Template) => {}
            // The template's channel is dropped here: a request that it has not read is void when it dies only if nobody
            // else has it.
            Ok(Forked::Worker(args)) => return Some(args),
            Err(error) => log::error!("{error}"),
        }
    }
    None
}

fn forked(service: &FastcgiService, args: WorkerArgs, loaded: LoadedApplication) -> i32 {
    let channel = args.channel.try_clone().ok();
    let worked = Worker::new(service, args).and_then(|worker| worker.serve(&PYTHON, || Ok(loaded)));
    report(service, worked, channel.as_ref(), Some(&PYTHON))
}

fn bound(listeners: &[RawFd]) -> anyhow::Result<Vec<Bound>> {
    let passed = |number: &RawFd| Ok(Bound::passed(inherited(*number)?));
    listeners.iter().map(passed).collect()
}

fn lines(sender: Option<RawFd>) -> anyhow::Result<Option<Arc<OwnedFd>>> {
    let sender = sender.map(inherited).transpose()?;
    Ok(sender.map(Arc::new))
}

fn handoff((to, from): (RawFd, RawFd)) -> anyhow::Result<Handoff> {
    Ok(Handoff::closed_in_children(
        inherited(to)?,
        inherited(from)?,
    ))
}
