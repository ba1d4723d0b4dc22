//! Where Python calls the core: does what the program has been told to do, and never returns.

mod cgi;
mod check;
mod runtime;
mod service;
mod startup;

use std::os::fd::RawFd;

use anyhow::Context as _;
use pyo3::prelude::*;
use pyo3::types::PyModule;
use pyo3::wrap_pyfunction;

use crate::config::{Launch, Transfer as _, Work};
use crate::exit::Exit;
use crate::process;
use crate::worker::{Failure, with_traceback};
use crate::wsgi;

/// What the module of the core has in it.
///
/// # Errors
/// When Python has no memory left.
pub(crate) fn fill(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(main, module)?)
}

/// Does what stands in the sealed memory behind this descriptor, and ends the process.
#[pyfunction]
fn main(py: Python<'_>, settings: RawFd) {
    py.detach(|| {
        let exit = match read(settings) {
            Ok(launch) => run(&launch).unwrap_or_else(|error| {
                let told = launch.settings.origins.put_in(&format!("{error:#}"));
                log::error!("{}", with_traceback(&told, &error));
                error.exit() as i32
            }),
            Err(error) => {
                // There is no log to say it in.
                process::write_in_child(&format!("wsgi-gateway: error: {error:#}\n"));
                Exit::CannotLoad as i32
            }
        };
        wsgi::end();
        process::end_at_once(exit)
    })
}

fn read(settings: RawFd) -> anyhow::Result<Launch> {
    // SAFETY: the program has left it open for this, and Python has not begun to run anything of the application's.
    let sealed = unsafe { process::take_inherited(settings) };
    let text = sealed
        .and_then(process::unseal)
        .context("what the program had to say did not come (a wrapper around Python that closes descriptors?)")?;
    Ok(Launch::read(&text)?)
}

fn run(launch: &Launch) -> Result<i32, Failure> {
    startup::begin(launch)?;
    match &launch.work {
        Work::Cgi(input, output) => cgi::run(launch, *input, *output),
        Work::Check(begun) => check::run(launch, *begun),
        Work::Alone { listeners, pid } => service::alone(launch, listeners, pid.as_deref()),
        Work::Worker(handles) => service::worker(launch, handles),
        Work::Template {
            channel,
            handoff,
            lines,
        } => service::template(launch, *channel, *handoff, *lines),
    }
}
