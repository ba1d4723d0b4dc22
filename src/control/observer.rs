//! The process that answers at the control socket.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;

use super::COMMAND;
use super::answer::{Answer, Question};
use super::intake::Intake;
use super::knowledge::{About, Knowledge};
use crate::fastcgi::{AllowList, FastcgiExchange, Handoff, Limits, Responder};
use crate::gateway::html::PAGE_FIELDS;
use crate::gateway::{Bookkeeper, Exchange as _, Head, ResponseWriter as _};
use crate::process::{Command, CommandOutcome, Desk, DeskNotice, ObserverArgs, unseal};

/// Threads that answer by FastCGI, and how many of them may wait for what comes of a command.
const THREADS: usize = 16;
const WAITING: usize = 12;

/// What its threads have in common.
pub(super) struct ObserverProcess {
    knowledge: Mutex<Knowledge>,
    desk: Desk,
    /// Who waits for what comes of a command.
    asks: Mutex<HashMap<u32, SyncSender<CommandOutcome>>>,
    next: AtomicU32,
    waiting: AtomicUsize,
}

/// Nobody counts who looks.
#[derive(Debug)]
struct NoBooks;

impl Bookkeeper for NoBooks {}

/// Answers at these sockets until the master has no more to tell, or has died.
///
/// # Errors
/// What keeps it from that.
pub fn observe(args: ObserverArgs, about: About) -> io::Result<()> {
    // The terminal's are for the whole group, and the service manager's for all of a service: what becomes of this is for the
    // master to say.
    for number in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGHUP,
        Signal::SIGUSR1,
        Signal::SIGPIPE,
    ] {
        // SAFETY: no handler is set but that nothing happens.
        unsafe { signal(number, SigHandler::SigIgn) }?;
    }
    let handoff = Handoff::pair()?;
    let observer = Arc::new(ObserverProcess {
        knowledge: Mutex::new(Knowledge::new(about, args.threads)),
        desk: args.desk,
        asks: Mutex::default(),
        next: AtomicU32::new(0),
        waiting: AtomicUsize::new(0),
    });
    let responder = Responder::new(
        Vec::new(),
        Some(handoff.try_clone()?),
        limits(),
        AllowList::default(),
        THREADS,
        true,
        Arc::new(NoBooks),
    )?;
    let responder = Arc::new(responder);
    let watched = Arc::clone(&responder);
    std::thread::Builder::new().spawn(move || watched.watch(&|| {}))?;
    for _ in 0..THREADS {
        let (observer, responder) = (Arc::clone(&observer), Arc::clone(&responder));
        std::thread::Builder::new()
            .spawn(move || responder.run(&mut |exchange| observer.serve(exchange)))?;
    }
    let mut intake = Intake::new(args.sockets, handoff);
    loop {
        let next = observer.knowledge().note_history(Instant::now());
        intake.wait(observer.desk.as_fd(), next);
        if observer.hear().is_err() {
            break;
        }
        intake.turn(&observer);
    }
    // What came of the last commands is on its way.
    observer.forget_asks();
    let until = Instant::now() + LAST;
    while observer.waiting.load(Ordering::Acquire) > 0 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// How long the last answers may take.
const LAST: Duration = Duration::from_millis(300);

/// Connections of FastCGI, where there are descriptors for them.
const CONNECTIONS: usize = 256;

/// What is borne of those who ask: little, and not for long.
fn limits() -> Limits {
    let open_files = getrlimit(Resource::RLIMIT_NOFILE).map_or(64, |(soft, _)| soft);
    Limits {
        for_cgi: false,
        params: 32 * 1024,
        body: Some(0),
        buffer: 1,
        connections: Limits::most(open_files).min(CONNECTIONS),
        header_timeout: Duration::from_secs(1),
        idle_timeout: Duration::from_secs(5),
        unsent: 16 << 20,
        io_timeout: Duration::from_secs(5),
    }
}

impl ObserverProcess {
    pub(super) fn knowledge(&self) -> MutexGuard<'_, Knowledge> {
        self.knowledge
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn asks(&self) -> MutexGuard<'_, HashMap<u32, SyncSender<CommandOutcome>>> {
        self.asks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what the master tells.
    ///
    /// # Errors
    /// When it is gone.
    fn hear(&self) -> io::Result<()> {
        while let Some(notice) = self.desk.next()? {
            self.note(notice).unwrap_or_else(|error| {
                log::warn!("what the master tells cannot be read: {error}")
            });
        }
        Ok(())
    }

    fn note(&self, notice: DeskNotice) -> io::Result<()> {
        let Some((id, exit, text)) = self.knowledge().note(notice)? else {
            return Ok(());
        };
        let text = String::from_utf8_lossy(&unseal(text)?).into_owned();
        if let Some(waits) = self.asks().remove(&id) {
            // Who has given up waits no more.
            let _ = waits.try_send(CommandOutcome { exit, text });
        }
        Ok(())
    }

    /// Nothing more will come of what was asked.
    fn forget_asks(&self) {
        self.asks().clear();
    }

    /// Answers a request of FastCGI.
    fn serve(&self, exchange: &Arc<FastcgiExchange>) {
        let variables = exchange.variables();
        let value = |name: &str| variables.get(name.as_bytes()).unwrap_or_default();
        let command = value(COMMAND);
        if !command.is_empty() {
            let outcome = self.carry_out(command, exchange.connection());
            exchange.note_exit(outcome.exit);
            return give(
                exchange,
                &Answer::new("200 OK", "text/plain", outcome.text),
                outcome.exit,
            );
        }
        let path = [value("SCRIPT_NAME"), value("PATH_INFO")].concat();
        let question = Question {
            path: &path,
            query: value("QUERY_STRING"),
            accept: value("HTTP_ACCEPT"),
            uid: uid(exchange.connection()),
        };
        let answer = question.answer(&mut self.knowledge());
        give(exchange, &answer, 0);
    }

    /// Has the master do something, and waits for what comes of it.
    fn carry_out(&self, command: &[u8], connection: BorrowedFd<'_>) -> CommandOutcome {
        let failed = |text: &str| CommandOutcome {
            exit: 1,
            text: text.to_owned(),
        };
        let Some(command) = read_command(command) else {
            return failed("that is no command of this gateway's version");
        };
        if self.waiting.fetch_add(1, Ordering::AcqRel) >= WAITING {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            return failed("too many wait for what they have asked for already: try again");
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (tell, told) = sync_channel(1);
        self.asks().insert(id, tell);
        let outcome = match self.desk.ask(id, command, connection) {
            // Also the end of all: the sender is dropped then.
            Ok(()) => told
                .recv()
                .unwrap_or_else(|_| failed("the gateway has ended")),
            Err(_) => failed("the gateway has much to do: try again"),
        };
        self.asks().remove(&id);
        self.waiting.fetch_sub(1, Ordering::AcqRel);
        outcome
    }
}

/// Who is at the other end.
pub(super) fn uid(connection: BorrowedFd<'_>) -> Option<u32> {
    let asks = getsockopt(&connection, PeerCredentials).ok()?;
    Some(asks.uid())
}

fn read_command(words: &[u8]) -> Option<Command> {
    let words = std::str::from_utf8(words).ok()?;
    let (name, argument) = words.split_once(' ').unwrap_or((words, ""));
    let number = || argument.parse().ok();
    Some(match name {
        "reload" => Command::Reload,
        "stop" => Command::Stop,
        "reopen" => Command::Reopen,
        "resize" => Command::Resize(number()?),
        "stacks" if argument.is_empty() => Command::Stacks(None),
        "stacks" => Command::Stacks(Some(number()?)),
        _ => return None,
    })
}

/// Gives an answer by FastCGI; an exit code other than 0 stands in a field of its own, for our commands.
fn give(exchange: &Arc<FastcgiExchange>, answer: &Answer, exit: u8) {
    let (length, exit) = (answer.body.len().to_string(), exit.to_string());
    let head = Head::new(answer.status.as_bytes()).and_then(|mut head| {
        for (name, value) in [("Content-Type", answer.kind), ("Content-Length", &length)]
            .into_iter()
            .chain((exit != "0").then_some(("X-Exit", &*exit)))
            .chain(PAGE_FIELDS)
        {
            head.field(name.as_bytes(), value.as_bytes())?;
        }
        Ok(head)
    });
    let Ok(head) = head else { return };
    if let Err(error) = exchange.answer(head, answer.body.as_bytes()) {
        log::debug!("who asked has gone: {error}");
    }
}
