//! Making processes.

use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::unistd::{ForkResult, Pid, fork, getpid, getppid};

use super::super::channel::Channel;
use super::super::child::Child;
use super::super::forks::{expect_fork, forget_fork};
use super::super::messages::MasterMessage;
use super::super::output::Output;
use super::super::scoreboard::WorkerSlot;
use super::super::service::{ChildSetup, ChildSetupError, ForkRequests, WorkerArgs};
use super::super::signals::end_at_once;
use super::Master;
use super::children::ChildProcess;
use super::reaction::ChildId;

/// Starts the worker of this number; or, as the last argument, the fallback, and what it answers with.
pub(super) fn start_worker(
    master: &mut Master<'_>,
    number: u32,
    fallback: Option<Option<String>>,
) -> io::Result<ChildProcess> {
    let (slot, memory) = WorkerSlot::new(master.plan.threads)?;
    let (ours, output, theirs, their_output) = lines(master)?;
    expect_fork();
    // SAFETY: the master has a single thread, so that nothing is held by another in the child.
    let forked = unsafe { fork() };
    forget_fork();
    match forked? {
        ForkResult::Parent { child } => {
            let child = Some(Child::forked(child));
            Ok(ChildProcess::new(child, ours, output, Some(slot)))
        }
        ForkResult::Child => {
            drop((ours, slot));
            become_worker(master, number, theirs, &their_output, memory, fallback)
        }
    }
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
    let (ours, output, theirs, their_output) = lines(master)?;
    // The listening sockets as they are now: what the template was started with may be none any more.
    let mut fds = vec![theirs.into_fd()?, their_output, memory];
    let sockets = master.listening.try_clone()?;
    fds.extend(sockets.into_iter().map(|bound| bound.socket));
    let template = master.children.get(&ChildId::Template(generation));
    let template = template.ok_or(io::ErrorKind::NotFound)?;
    template.channel.tell(&MasterMessage::Fork(number, fds))?;
    Ok(ChildProcess::new(None, ours, output, Some(slot)))
}

/// Starts a template.
pub(super) fn start_template(master: &mut Master<'_>) -> io::Result<ChildProcess> {
    let (ours, output, theirs, their_output) = lines(master)?;
    let parent = getpid();
    expect_fork();
    // SAFETY: the master has a single thread, so that nothing is held by another in the child.
    let forked = unsafe { fork() };
    forget_fork();
    match forked? {
        ForkResult::Parent { child } => {
            let child = Some(Child::forked(child));
            Ok(ChildProcess::new(child, ours, output, None))
        }
        ForkResult::Child => {
            drop(ours);
            become_template(master, theirs, &their_output, parent)
        }
    }
}

fn become_worker(
    master: &mut Master<'_>,
    number: u32,
    channel: Channel,
    output: &OwnedFd,
    slot: OwnedFd,
    fallback: Option<Option<String>>,
) -> ! {
    leave_master(master);
    let title = match fallback {
        Some(_) => format!("wsgi-gateway: fallback {}", master.plan.name),
        None => format!("wsgi-gateway: worker {number} {}", master.plan.name),
    };
    let setup = ChildSetup {
        title,
        output,
        channel: &channel,
        log_through: &|channel| master.service.log_through(channel),
        identity: &master.plan.identity,
    };
    let code = match setup.apply() {
        Ok(()) => {
            let listeners = std::mem::take(&mut master.listening).into_sockets();
            let service = master.service;
            let args = WorkerArgs {
                number,
                channel,
                slot,
                listeners,
            };
            catch_panic(|| match fallback {
                Some(trouble) => service.run_fallback(args, trouble),
                None => service.run_worker(args),
            })
        }
        Err(error) => failed(&error),
    };
    exit(code)
}

fn become_template(master: &mut Master<'_>, channel: Channel, output: &OwnedFd, parent: Pid) -> ! {
    leave_master(master);
    let setup = ChildSetup {
        title: format!("wsgi-gateway: template {}", master.plan.name),
        output,
        channel: &channel,
        log_through: &|channel| master.service.log_through(channel),
        identity: &master.plan.identity,
    };
    let applied = setup.apply();
    let code = match applied {
        Ok(()) => {
            // Should the master be killed while the application is imported. Behind what --user does, which undoes
            // this (PR_SET_PDEATHSIG in prctl(2)).
            let _ = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL);
            if getppid() != parent {
                end_at_once(0);
            }
            let name = master.plan.name.clone();
            // Each worker gets them with the request for it.
            drop(std::mem::take(&mut master.listening));
            let requests = ForkRequests::new(channel, name);
            catch_panic(|| master.service.run_template(requests))
        }
        Err(error) => failed(&error),
    };
    exit(code)
}

/// Closes, in a child, what is the master's alone: another worker's channel that stayed open here would hide the
/// master's death from it, by its slot of the scoreboard it could be accused, and by the pipe of its signals the master
/// would obey anybody.
fn leave_master(master: &mut Master<'_>) {
    master.children.clear();
    master.orphan_outputs.clear();
    master.signals = None;
}

fn failed(error: &ChildSetupError) -> i32 {
    log::error!("{error}");
    1
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
