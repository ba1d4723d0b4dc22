//! The output of a program of CGI, in the log as messages: read by a process beside it, so that nothing is lost when the program
//! dies, and what it starts can write on after its end.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{ForkResult, dup2_stderr, dup2_stdout, setsid};

use super::exec::in_child;
use super::forks;
use super::output::{LineForm, OUTPUT, Output};
use super::signals;

/// Has a process beside this one put into the log what this one, and what it becomes, writes to standard output and error from
/// here on. That process ends with the last that may write; it is nobody's child here, and has nothing of `request`, by whose
/// end the web server knows that of the response.
///
/// # Errors
/// When there can be no more processes or descriptors.
///
/// # Safety
/// This process must have a single thread.
pub unsafe fn log_output_beside(request: [BorrowedFd<'_>; 2]) -> io::Result<()> {
    let (mut output, to) = Output::pipe(LineForm::Tagged)?;
    let child = || {
        // SAFETY: a child has one thread, as this process does.
        match unsafe { forks::fork() } {
            Ok(ForkResult::Parent { .. }) => 0,
            Err(_) => 1,
            Ok(ForkResult::Child) => {
                for fd in [to.as_raw_fd()]
                    .into_iter()
                    .chain(request.map(|fd| fd.as_raw_fd()))
                {
                    // SAFETY: this process ends below, and nobody uses these numbers in it any more.
                    unsafe { nix::libc::close(fd) };
                }
                // It is no group leader, being a child: this does not fail.
                let _ = setsid();
                log_all(&mut output);
                signals::end_at_once(0)
            }
        }
    };
    // SAFETY: the caller says so.
    match unsafe { in_child(child) }? {
        0 => {}
        _ => return Err(io::ErrorKind::WouldBlock.into()),
    }
    dup2_stdout(&to)?;
    dup2_stderr(&to)?;
    Ok(())
}

/// Reads to the end.
fn log_all(output: &mut Output) {
    while !output.is_closed {
        let left = output
            .deadline()
            .map(|at| at.saturating_duration_since(Instant::now()));
        let wait = left.map_or(PollTimeout::NONE, |left| {
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        let polled = poll(&mut [PollFd::new(output.as_fd(), PollFlags::POLLIN)], wait);
        if polled.is_err_and(|error| error != nix::Error::EINTR) {
            return;
        }
        output.read(|text| {
            if !text.is_empty() {
                log::info!(target: OUTPUT, "{text}");
            }
        });
    }
}
