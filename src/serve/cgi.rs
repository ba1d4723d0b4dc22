//! One request through the CGI door.

use std::os::fd::BorrowedFd;

use super::core::{Installation, ToTell};
use super::folder::WorkingFolder;
use super::launcher::to_log;
use super::persistent;
use crate::cgi::{CgiExchange, Stdio, disarm_environment};
use crate::config::{Config, Work, WorkerSettings};
use crate::exit::Exit;
use crate::explain;
use crate::gateway::{Exchange as _, Page};
use crate::process;
use crate::worker::Failure;

/// Has this process become the Python that answers the request that it was started for.
///
/// # Errors
/// Why it cannot; the web server then has an error page already.
pub(super) fn run(config: &Config) -> Result<Exit, Failure> {
    let settings = &config.worker;
    let stdio = Stdio::take()?;
    let folder = WorkingFolder::begin(settings);
    if config.persistent && folder.is_ok() {
        if let Some(exit) = persistent::relay(config, &stdio) {
            return Ok(exit);
        }
    }
    log_output(settings, &stdio);
    let error = match folder.and_then(|_| prepare(stdio.descriptors())) {
        Ok((work, tell)) => Installation::find().become_python(settings, work, false, &tell),
        Err(error) => error,
    };
    let exchange = CgiExchange::new(stdio);
    // The error is the news, whether or not there is somebody to show a page to.
    let _ = exchange.answer_page(&Page::not_started(
        settings.debug.then_some(&*format!("{error:#}")),
    ));
    Err(error)
}

/// Has the file of `--log-file`, if there is one, get what the application writes.
fn log_output(settings: &WorkerSettings, stdio: &Stdio) {
    if settings.log.file.is_some() {
        // SAFETY: this process has begun no thread.
        if let Err(error) = unsafe { process::log_output_beside(stdio.descriptors()) } {
            log::warn!(
                "what the application writes goes to standard error, and not to --log-file: {error}"
            );
        }
    }
}

fn prepare([input, output]: [BorrowedFd<'_>; 2]) -> Result<(Work, Vec<ToTell>), Failure> {
    // SAFETY: this process has begun no thread.
    unsafe { disarm_environment() };
    let (input, output) = (process::leave_open(input)?, process::leave_open(output)?);
    let (head, body) = Page::not_started(None).render();
    let mut page = Vec::new();
    head.write_status_first(&mut page);
    page.extend(body);
    let mut tell = to_log();
    tell.push((output, page, None));
    Ok((Work::Cgi(input, output), tell))
}

/// Explains the request that this process was started for.
///
/// # Errors
/// When this process's standard input and output cannot be used.
pub(super) fn explain(settings: &WorkerSettings) -> Result<Exit, Failure> {
    let exchange = CgiExchange::new(Stdio::take()?);
    let gateway = explain::Gateway {
        by_program: true,
        mount: settings.mount.as_ref(),
    };
    explain::answer(&*exchange, gateway);
    Ok(if exchange.is_complete() {
        Exit::Fine
    } else {
        Exit::Failed
    })
}
