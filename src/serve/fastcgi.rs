//! The FastCGI door: a responder in this process, with its threads, until a signal ends it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;

use super::exit::Exit;
use super::python;
use crate::cli::{ApplicationOptions, FastcgiOptions, ResponderOptions};
use crate::fastcgi::{AllowList, Connection, Limits, Listener, Responder};
use crate::process::{self, Address, Bound, Signal, Signals, SocketFile, SocketOwner};
use crate::wsgi::{Application, Caller, Mode};

/// Serves on the addresses of `--bind`.
///
/// # Errors
/// What keeps it from serving.
pub(super) fn run(options: &FastcgiOptions) -> anyhow::Result<Exit> {
    python::change_folder(&options.application)?;
    let owner = SocketOwner {
        mode: options.socket_mode,
        user: options.socket_user.clone(),
        group: options.socket_group.clone(),
    };
    let mut bound = Vec::new();
    for address in &options.bind {
        let address: Address = address.parse().map_err(anyhow::Error::msg)?;
        bound.extend(process::bind(&address, options.backlog, &owner).map_err(anyhow::Error::msg)?);
    }
    serve(bound, &options.responder, &options.application, false)
}

/// Serves on standard input, the listening socket that the web server started this process with. It manages the
/// processes itself and may have started others.
///
/// # Errors
/// What keeps it from serving.
pub(super) fn run_spawned(
    application: &ApplicationOptions,
    options: &ResponderOptions,
) -> anyhow::Result<Exit> {
    python::change_folder(application)?;
    let bound = process::inherited(0).map_err(anyhow::Error::msg)?;
    serve(vec![bound], options, application, true)
}

fn serve(
    bound: Vec<Bound>,
    options: &ResponderOptions,
    application: &ApplicationOptions,
    spawned: bool,
) -> anyhow::Result<Exit> {
    let threads = usize::from(options.threads);
    let allow = allow_list(options, bound.iter().any(|bound| bound.tcp))?;
    process::raise_descriptor_limit(u64::from(options.max_connections) + 128);
    let names: Vec<String> = bound.iter().map(|bound| bound.name.clone()).collect();
    let (listeners, files): (Vec<Listener>, Vec<Option<SocketFile>>) = bound
        .into_iter()
        .map(|bound| {
            let Bound {
                socket, tcp, file, ..
            } = bound;
            (Listener { socket, tcp }, file)
        })
        .unzip();
    let mode = Mode {
        multithread: threads > 1,
        multiprocess: spawned,
        run_once: false,
        debug: application.python.debug,
    };
    let (interpreter, application) = python::start(application, mode)?;
    log::info!(
        "{}, application {} ({})",
        interpreter.describe(),
        application.file,
        application.kind
    );
    let responder = Responder::new(
        listeners,
        limits(options)?,
        allow,
        threads,
        interpreter.is_parallel(),
    )
    .context("the responder cannot be made")?;
    let responder = Arc::new(responder);
    let signals = Signals::catch().context("signals cannot be caught")?;
    obey(
        signals,
        Arc::clone(&responder),
        files,
        options.graceful_timeout,
    );
    log::info!("ready on {}", names.join(", "));
    run_threads(&responder, &application, threads)?;
    interpreter.finalize();
    log::info!("ended");
    Ok(Exit::Fine)
}

/// Runs the application's threads, the first of them on this one, which Python takes for its main thread.
fn run_threads(
    responder: &Arc<Responder>,
    application: &Application,
    threads: usize,
) -> anyhow::Result<()> {
    let work = |caller: &mut Caller| {
        responder.run(&mut |connection: Box<Connection>| {
            let call = std::panic::AssertUnwindSafe(|| caller.call(connection));
            // The panic hook has told what it was; the connection is gone with it and cut by that.
            std::panic::catch_unwind(call).ok()
        });
    };
    std::thread::scope(|scope| {
        if threads > 1 {
            scope.spawn(|| responder.watch());
        }
        for number in 2..=threads {
            let name = format!("application {number}");
            std::thread::Builder::new()
                .name(name)
                .spawn_scoped(scope, || {
                    if let Err(error) = application.enter(work) {
                        log::error!("an application thread cannot start: {error}");
                    }
                })
                .context("an application thread cannot be started")?;
        }
        application.enter(work).map_err(anyhow::Error::msg)
    })
}

/// Obeys signals in a thread of its own, which never needs Python's lock.
fn obey(
    mut signals: Signals,
    responder: Arc<Responder>,
    files: Vec<Option<SocketFile>>,
    grace: Duration,
) {
    let files = Mutex::new(files);
    std::thread::spawn(move || {
        let unlink = || files.lock().unwrap_or_else(PoisonError::into_inner).clear();
        while let Ok(signal) = signals.wait() {
            // First, so that nobody connects to a socket that is about to be closed.
            unlink();
            match signal {
                Signal::Interrupt => process::end_at_once(0),
                Signal::Terminate => {
                    log::info!("told to end: finishing what is in flight");
                    responder.stop();
                    end_after(grace);
                }
            }
        }
    });
}

fn end_after(grace: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(grace);
        log::error!(
            "what was in flight did not end within {grace:?} (--graceful-timeout): ending without it"
        );
        process::end_at_once(1);
    });
}

fn allow_list(options: &ResponderOptions, tcp: bool) -> anyhow::Result<AllowList> {
    let read = |text: &str, what: &str| {
        let list = text.parse::<AllowList>().map_err(anyhow::Error::msg);
        list.with_context(|| format!("{what} cannot be read"))
    };
    let mut allow = AllowList::default();
    if let Some(text) = &options.allow {
        allow.extend(read(text, "--allow")?);
    }
    if let Ok(text) = std::env::var("FCGI_WEB_SERVER_ADDRS") {
        allow.extend(read(&text, "FCGI_WEB_SERVER_ADDRS")?);
    }
    if tcp && allow.is_empty() {
        log::warn!(
            "listening on TCP for every host that can reach it: name the web servers with --allow or \
             FCGI_WEB_SERVER_ADDRS"
        );
    }
    Ok(allow)
}

fn limits(options: &ResponderOptions) -> anyhow::Result<Limits> {
    Ok(Limits {
        params: usize::try_from(options.max_params).context("--max-params")?,
        body: options.max_body,
        buffer: usize::try_from(options.buffer).context("--buffer")?.max(1),
        connections: usize::try_from(options.max_connections).context("--max-connections")?,
        header_timeout: options.header_timeout,
        idle_timeout: options.idle_connection_timeout,
        io_timeout: options.io_timeout,
    })
}
