//! One request through the CGI door.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use super::startup::{inherited, load};
use crate::cgi::{CgiExchange, Stdio};
use crate::config::Launch;
use crate::exit::Exit;
use crate::gateway::{Exchange as _, Page, forked};
use crate::worker::Failure;

/// Answers the request that this process was started for.
///
/// # Errors
/// When there is no application to answer it; the web server then has an error page already.
pub(super) fn run(launch: &Launch, input: RawFd, output: RawFd) -> Result<i32, Failure> {
    let stdio = Stdio::moved(inherited(input)?, inherited(output)?);
    let descriptors = stdio.descriptors().map(|fd| fd.as_raw_fd());
    descriptors.into_iter().for_each(forked::close_in_child);
    let exchange = CgiExchange::new(stdio);
    let application = match load(launch) {
        Ok((_, application)) => application,
        Err(error) => {
            // The error is the news, whether or not there is somebody to show a page to.
            let _ = exchange.answer_page(&Page::not_started(reason(launch, &error).as_deref()));
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
    entered.map_err(Failure::Python)?;
    let exit = if complete { Exit::Fine } else { Exit::Failed };
    Ok(exit as i32)
}

/// What the page shows with `--debug`.
fn reason(launch: &Launch, error: &Failure) -> Option<String> {
    let traceback = error.traceback();
    let settings = &launch.settings;
    settings
        .debug
        .then(|| format!("{error:#}\n\n{}", traceback.unwrap_or_default()))
}
