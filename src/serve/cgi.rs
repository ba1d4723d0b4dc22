//! One request through the CGI door.

use std::os::fd::AsRawFd;
use std::sync::Arc;

use super::exit::Exit;
use super::python::{self, WorkingFolder};
use crate::cgi::{CgiExchange, Stdio};
use crate::config::WorkerSettings;
use crate::explain;
use crate::gateway::{Exchange as _, Page, forked};
use crate::wsgi::{LoadError, Mode};

/// Answers the request that this process was started for.
///
/// # Errors
/// When there is no application to answer it; the web server then has an error page already.
pub(super) fn run(settings: &WorkerSettings) -> anyhow::Result<Exit> {
    let stdio = Stdio::take()?;
    let descriptors = stdio.descriptors().map(|fd| fd.as_raw_fd());
    descriptors.into_iter().for_each(forked::close_in_child);
    let exchange = CgiExchange::new(stdio);
    let mode = Mode {
        multithread: false,
        multiprocess: true,
        run_once: true,
        debug: settings.debug,
        mount: settings.mount.clone(),
    };
    let started =
        WorkingFolder::begin(settings).and_then(|_| python::start_and_load(settings, mode));
    let (interpreter, application) = match started {
        Ok(started) => started,
        Err(error) => {
            // The error is the news, whether or not there is somebody to show a page to.
            let _ = exchange.answer_page(&page(&error, settings.debug));
            return Err(error);
        }
    };
    let mut complete = false;
    let entered = application.enter(|caller| {
        caller.call(Arc::clone(&exchange) as _);
        complete = exchange.is_complete() && !caller.has_failed();
        // The web server is done with us here, whatever Python's end still has to do.
        descriptors.into_iter().for_each(forked::keep_in_child);
        exchange.end();
    });
    entered.map_err(anyhow::Error::msg)?;
    interpreter.finalize();
    Ok(if complete { Exit::Fine } else { Exit::Failed })
}

/// Explains the request that this process was started for.
///
/// # Errors
/// When this process's standard input and output cannot be used.
pub(super) fn explain(settings: &WorkerSettings) -> anyhow::Result<Exit> {
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

/// What the browser is told when there is no application: without it web servers say "premature end of script headers".
fn page(error: &anyhow::Error, debug: bool) -> Page {
    let traceback = error
        .downcast_ref::<LoadError>()
        .and_then(|error| error.traceback.as_deref());
    let text = if debug {
        format!("{error:#}\n\n{}", traceback.unwrap_or_default())
    } else {
        "The application could not be started. The web server's error log has the reason."
            .to_owned()
    };
    Page::new("500 Internal Server Error", text.trim_end())
}
