//! Making processes.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::fcntl::{OFlag, open};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{ForkResult, getpid, getppid};

use super::super::channel::Channel;
use super::super::child::Child;
use super::super::forks::fork;
use super::super::identity::{Identity, own_user};
use super::super::messages::MasterMessage;
use super::super::output::Output;
use super::super::scoreboard::WorkerSlot;
use super::super::service::{ChildSetup, ForkRequests, ObserverArgs, WorkerArgs};
use super::super::signals::end_at_once;
use super::Master;
use super::children::ChildProcess;
use super::observers::ObserverLink;
use super::reaction::ChildId;

/// Starts the worker of this number; or, as the last argument, the fallback, and what it answers with.
pub(super) fn start_worker(
    master: &mut Master<'_>,
    number: u32,
    fallback: Option<Option<String>>,
) -> io::Result<ChildProcess> {
    let name = &master.plan.name;
    let title = match fallback {
        Some(_) => format!("wsgi-gateway: fallback {name}"),
        None => format!("wsgi-gateway: worker {number} {name}"),
    };
    let (slot, memory) = WorkerSlot::new(master.plan.threads)?;
    let to_read = slot_to_read(master, &memory);
    let identity = master.plan.identity.clone();
    let started = start(
        master,
        &title,
        &identity,
        Some(slot),
        move |master, channel| {
            let args = WorkerArgs {
                number,
                channel,
                slot: memory,
                listeners: std::mem::take(&mut master.listening).into_sockets(),
            };
            match fallback {
                Some(trouble) => master.service.run_fallback(args, trouble),
                None => master.service.run_worker(args),
            }
        },
    )?;
    Ok(started.with_slot_to_read(to_read))
}

/// Starts the observer. It reads what strangers send, so that it may do nothing but that.
pub(super) fn start_observer(master: &mut Master<'_>) -> io::Result<ChildProcess> {
    let title = format!("wsgi-gateway: control socket {}", master.plan.name);
    let link = master.observer.as_mut().ok_or(io::ErrorKind::NotFound)?;
    let desk = link.begin()?;
    let (threads, owner) = (master.plan.threads, own_user());
    let parent = getpid();
    let identity = Identity::nobody();
    start(master, &title, &identity, None, move |master, _| {
        let _ = set_pdeathsig(Signal::SIGKILL);
        if getppid() != parent {
            end_at_once(0);
        }
        drop(std::mem::take(&mut master.listening));
        let link = master.observer.take();
        let sockets = link.map(ObserverLink::into_sockets).unwrap_or_default();
        master.service.run_observer(ObserverArgs {
            sockets,
            desk,
            threads,
            owner,
        })
    })
}

/// The memory of a slot for who is to read it and no more, where the master has somebody for that.
fn slot_to_read(master: &Master<'_>, memory: &OwnedFd) -> Option<OwnedFd> {
    master.observer.as_ref()?;
    let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let opened = open(path.as_str(), flags, Mode::empty());
    opened
        .inspect_err(|error| log::debug!("a worker's figures cannot be shown: {error}"))
        .ok()
}

/// Starts a template.
pub(super) fn start_template(master: &mut Master<'_>) -> io::Result<ChildProcess> {
    let title = format!("wsgi-gateway: template {}", master.plan.name);
    let parent = getpid();
    let identity = master.plan.identity.clone();
    start(master, &title, &identity, None, move |master, channel| {
        // Should the master be killed while the application is imported. Behind what --user does, which undoes this
        // (PR_SET_PDEATHSIG in prctl(2)).
        let _ = set_pdeathsig(Signal::SIGKILL);
        if getppid() != parent {
            end_at_once(0);
        }
        // Each worker gets them with the request for it.
        drop(std::mem::take(&mut master.listening));
        let requests = ForkRequests::new(channel, master.plan.name.clone());
        master.service.run_template(requests)
    })
}

/// Makes a process of this title that does what `run` does, and ends with its exit code.
fn start(
    master: &mut Master<'_>,
    title: &str,
    identity: &Identity,
    slot: Option<WorkerSlot>,
    run: impl FnOnce(&mut Master<'_>, Channel) -> i32,
) -> io::Result<ChildProcess> {
    let (ours, output, theirs, their_output) = lines(master)?;
    // SAFETY: the master has a single thread, so that nothing is held by another in the child.
    if let ForkResult::Parent { child } = unsafe { fork() }? {
        let child = Some(Child::forked(child));
        return Ok(ChildProcess::new(child, ours, output, slot));
    }
    drop((ours, output, slot));
    leave_master(master);
    let setup = ChildSetup {
        title,
        output: &their_output,
        channel: &theirs,
        log_through: &|channel| master.service.log_through(channel),
        identity,
    };
    exit(match setup.apply() {
        Ok(()) => catch_panic(|| run(master, theirs)),
        Err(error) => {
            log::error!("{error}");
            1
        }
    })
}

/// A channel and a pipe for output: the master's two ends, then those of the process that is made.
fn lines(master: &Master<'_>) -> io::Result<(Channel, Output, Channel, OwnedFd)> {
    let (ours, theirs) = Channel::pair()?;
    let (output, their_output) = Output::pipe(master.plan.worker_output)?;
    master.plan.identity.give_output(&their_output);
    Ok((ours, output, theirs, their_output))
}

/// Has the template of this generation fork the worker of this number.
pub(super) fn request_fork(
    master: &Master<'_>,
    number: u32,
    generation: u32,
) -> io::Result<ChildProcess> {
    let (slot, memory) = WorkerSlot::new(master.plan.threads)?;
    let to_read = slot_to_read(master, &memory);
    let (ours, output, theirs, their_output) = lines(master)?;
    // The listening sockets as they are now: what the template was started with may be none any more.
    let mut fds = vec![theirs.into_fd()?, their_output, memory];
    let sockets = master.listening.try_clone()?;
    fds.extend(sockets.into_iter().map(|bound| bound.socket));
    let template = master.children.get(&ChildId::Template(generation));
    let template = template.ok_or(io::ErrorKind::NotFound)?;
    template.channel.tell(&MasterMessage::Fork(number, fds))?;
    Ok(ChildProcess::new(None, ours, output, Some(slot)).with_slot_to_read(to_read))
}

/// Closes, in a child, what is the master's alone: another worker's channel that stayed open here would hide the
/// master's death from it, by its slot of the scoreboard it could be accused, and by the pipe of its signals the master
/// would obey anybody.
fn leave_master(master: &mut Master<'_>) {
    master.children.clear();
    master.orphan_outputs.clear();
    master.signals = None;
    if let Some(link) = &mut master.observer {
        link.leave();
    }
    master.lines = None;
    master.account = None;
}

/// Does the work of a new process. A panic ends there and not in the master's part of the stack, whose owner is another
/// process.
fn catch_panic(run: impl FnOnce() -> i32) -> i32 {
    /// As Rust has it for a main() that panics.
    const PANICKED: i32 = 101;
    catch_unwind(AssertUnwindSafe(run)).unwrap_or(PANICKED)
}

/// Ends the process as main() would, without going back into the master's part of the stack.
#[allow(clippy::exit)]
fn exit(code: i32) -> ! {
    std::process::exit(code)
}
