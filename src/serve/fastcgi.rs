//! The FastCGI door: a responder in this process, with its threads, until a signal ends it.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;

use super::exit::{Exit, Usage};
use super::python;
use crate::cli::{ApplicationOptions, FastcgiOptions, ResponderOptions};
use crate::fastcgi::{AllowList, Connection, Idle, Limits, Listener, Responder};
use crate::process::{self, Address, Bound, Signal, Signals, SocketFile, SocketOwner};
use crate::wsgi::{Application, Caller, Mode};

/// Serves on the addresses of `--bind`, or on standard input.
///
/// # Errors
/// What keeps it from serving.
pub(super) fn run(options: &FastcgiOptions) -> anyhow::Result<Exit> {
    if options.bind.is_empty() {
        if !process::is_listening(io::stdin().as_fd()) {
            let text = "nothing says where to listen: give --bind ADDR (standard input is no listening socket)";
            return Err(Usage(text.to_owned()).into());
        }
        return run_spawned(&options.application, &options.responder);
    }
    let read = |address: &String| address.parse::<Address>().map_err(Usage);
    let addresses = options
        .bind
        .iter()
        .map(read)
        .collect::<Result<Vec<_>, _>>()?;
    let owner = SocketOwner {
        mode: options.socket_mode,
        user: options.socket_user.clone(),
        group: options.socket_group.clone(),
    };
    let bind = |end: &End| {
        let mut all = Vec::new();
        for address in &addresses {
            let bound =
                process::bind(address, options.backlog, &owner).map_err(anyhow::Error::msg)?;
            all.extend(bound.into_iter().map(|bound| end.keep_file(bound)));
        }
        Ok(all)
    };
    serve(bind, &options.responder, &options.application, false)
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
    let bind = |_: &End| Ok(vec![process::inherited(0).map_err(anyhow::Error::msg)?]);
    serve(bind, options, application, true)
}

fn serve(
    bind: impl FnOnce(&End) -> anyhow::Result<Vec<Bound>>,
    options: &ResponderOptions,
    application: &ApplicationOptions,
    spawned: bool,
) -> anyhow::Result<Exit> {
    python::change_folder(application)?;
    let end = Arc::new(End::default());
    obey(
        Signals::catch().context("signals cannot be caught")?,
        &end,
        options.graceful_timeout,
    );
    let served = bind(&end).and_then(|bound| serve_on(bound, &end, options, application, spawned));
    lock(&end.files).clear();
    served
}

fn serve_on(
    bound: Vec<Bound>,
    end: &End,
    options: &ResponderOptions,
    application: &ApplicationOptions,
    spawned: bool,
) -> anyhow::Result<Exit> {
    let threads = usize::from(options.threads);
    let allow = allow_list(options)?;
    if allow.is_empty() && bound.iter().any(|bound| bound.tcp) {
        log::warn!(
            "listening on TCP for every host that can reach it: name the web servers with --allow or \
             FCGI_WEB_SERVER_ADDRS"
        );
    }
    process::raise_descriptor_limit(u64::from(options.max_connections) + 128);
    bound
        .iter()
        .for_each(|bound| process::close_in_children(&bound.socket));
    let names: Vec<String> = bound.iter().map(|bound| bound.name.clone()).collect();
    let listeners = bound
        .into_iter()
        .map(|Bound { socket, tcp, .. }| Listener { socket, tcp });
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
        listeners.collect(),
        None,
        limits(options)?,
        allow,
        threads,
        interpreter.is_parallel(),
    )
    .context("the responder cannot be made")?;
    let responder = Arc::new(responder);
    Signals::insist().context("signals cannot be caught")?;
    end.serving(&responder);
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
    /// As much as a main thread has: Python's own limit of recursion is no guard for code in C.
    const STACK: usize = 8 << 20;
    let work = |caller: &mut Caller| {
        responder.run(&mut |connection: Box<Connection>| caller.call(connection));
    };
    std::thread::scope(|scope| {
        if threads > 1 {
            scope.spawn(|| responder.watch(&|| {}));
        }
        for number in 2..=threads {
            let name = format!("application {number}");
            std::thread::Builder::new()
                .name(name)
                .stack_size(STACK)
                .spawn_scoped(scope, || {
                    if let Err(error) = application.enter(work) {
                        log::error!("an application thread cannot start: {error}");
                    }
                })
                .context("an application thread cannot be started")
                .inspect_err(|_| responder.stop(Idle::Close))?;
        }
        application.enter(work).map_err(anyhow::Error::msg)
    })
}

/// What there is to end when a signal says so.
#[derive(Default)]
struct End {
    files: Mutex<Vec<SocketFile>>,
    responder: Mutex<Option<Arc<Responder>>>,
}

impl End {
    /// Takes charge of the socket's file.
    fn keep_file(&self, mut bound: Bound) -> Bound {
        lock(&self.files).extend(bound.file.take());
        bound
    }

    fn serving(&self, responder: &Arc<Responder>) {
        *lock(&self.responder) = Some(Arc::clone(responder));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Obeys signals in a thread of its own, which never needs Python's lock.
fn obey(mut signals: Signals, end: &Arc<End>, grace: Duration) {
    let end = Arc::clone(end);
    std::thread::spawn(move || {
        while let Ok(signal) = signals.wait() {
            // First, so that nobody connects to a socket that is about to be closed.
            lock(&end.files).clear();
            match (signal, &*lock(&end.responder)) {
                (Signal::Terminate, Some(responder)) => {
                    log::info!("told to end: finishing what is in flight");
                    process::keep_in_children();
                    responder.stop(Idle::Close);
                    end_after(grace);
                }
                // Nothing is being served yet, or nothing is to be waited for.
                (Signal::Terminate, None) | (Signal::Interrupt, _) => process::end_at_once(0),
            }
        }
    });
}

fn end_after(grace: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(grace);
        log::error!(
            "requests in flight, or Python itself, did not end within {grace:?} (--graceful-timeout): ending without them"
        );
        process::end_at_once(1);
    });
}

/// Who may connect over TCP.
fn allow_list(options: &ResponderOptions) -> anyhow::Result<AllowList> {
    let read = |text: &str, what: &str| {
        text.parse::<AllowList>()
            .map_err(|error| Usage(format!("{what} cannot be read: {error}")))
    };
    let read = |text: &str, what: &str| {
        let list = read(text, what)?;
        if list.is_empty() {
            return Err(Usage(format!(
                "{what} '{text}' names nobody: give addresses such as 127.0.0.1, or leave it out"
            )));
        }
        Ok(list)
    };
    let mut allow = AllowList::default();
    if let Some(text) = &options.allow {
        allow.extend(read(text, "--allow")?);
    }
    if let Some(text) = std::env::var_os("FCGI_WEB_SERVER_ADDRS") {
        allow.extend(read(&text.to_string_lossy(), "FCGI_WEB_SERVER_ADDRS")?);
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
