//! A worker: a responder, the application and its threads, in a process of its own. Beside the application's threads it
//! has one that never needs Python's lock (`minder`) and one that the responder needs.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::Context as _;

use super::crew::{FastcgiCrew, Interpreted};
use super::duty::{self, Duty};
use super::exit::Exit;
use super::minder;
use crate::explain;
use crate::fastcgi::{FastcgiExchange, Listener, Responder};
use crate::gateway::{Exchange as _, Page};
use crate::process::{
    self, Bound, Catch, Channel, ResidentMemory, Signals, ThreadSlot, WorkerSlot,
};
use crate::wsgi::{self, Application, Caller, Interpreter};

/// As much as a main thread has: Python's own limit of recursion is no guard for code in C.
const STACK: usize = 8 << 20;

const NO_THREAD: &str = "a worker cannot have the threads that it needs: the user (ulimit -u), the service (TasksMax=) or \
                         the container may have as many as are allowed";

/// Seconds after which it is worth to come again where no worker can be made: in so many it is tried again at the latest.
const RETRY_AFTER: u32 = 10;

/// How far over `--max-rss` a worker may get until it takes nothing new, as a divisor: a twentieth.
const LEEWAY: u64 = 20;

/// A worker that is about to work.
pub(super) struct Worker<'a> {
    crew: &'a FastcgiCrew<'a>,
    place: WorkerSlot,
    duty: Arc<Duty>,
    /// Whether it has no application, as none can be loaded.
    stands_in: bool,
    /// How many modules there were when their files were last told.
    imported: AtomicUsize,
}

/// After how much a worker asks to be replaced.
struct Wear {
    requests: Option<u64>,
    rss: Option<ResidentMemory>,
    /// Bytes of resident memory.
    limit: AtomicU64,
    /// Whether a request has ended.
    has_begun: AtomicBool,
    /// The most memory that was seen, so that what is done about it is done once.
    seen: AtomicU64,
}

impl<'a> Worker<'a> {
    /// A worker of a master.
    ///
    /// # Errors
    /// When signals cannot be caught.
    pub(super) fn new(
        crew: &'a FastcgiCrew<'a>,
        number: u32,
        place: WorkerSlot,
        channel: Channel,
    ) -> anyhow::Result<Self> {
        log::debug!("worker {number} begins");
        Self::begin(crew, place, Some(channel))
    }

    /// A worker that a web server has started, without a master.
    ///
    /// # Errors
    /// When signals cannot be caught.
    pub(super) fn alone(crew: &'a FastcgiCrew<'a>, place: WorkerSlot) -> anyhow::Result<Self> {
        Self::begin(crew, place, None)
    }

    fn begin(
        crew: &'a FastcgiCrew<'a>,
        place: WorkerSlot,
        channel: Option<Channel>,
    ) -> anyhow::Result<Self> {
        let signals = Signals::catch(Catch::Serving).context("signals cannot be caught")?;
        let duty = Arc::new(Duty::new(place.clone(), channel, crew)?);
        minder::start(signals, &duty).context(NO_THREAD)?;
        Ok(Self {
            crew,
            place,
            duty,
            stands_in: false,
            imported: AtomicUsize::new(0),
        })
    }

    /// Answers with a page that says when to come again, or with `trouble`, until told to end: nothing else is there to answer.
    ///
    /// # Errors
    /// Why it cannot.
    pub(super) fn stand_in(
        mut self,
        listeners: Vec<Bound>,
        trouble: Option<String>,
    ) -> anyhow::Result<Exit> {
        self.stands_in = true;
        self.duty.set_trouble(trouble.unwrap_or_default());
        self.work(listeners, None)
    }

    /// Serves until told to end. `loaded`: what the template has imported, if there is one.
    ///
    /// # Errors
    /// Why it cannot serve.
    pub(super) fn work(
        self,
        listeners: Vec<Bound>,
        loaded: Option<Interpreted>,
    ) -> anyhow::Result<Exit> {
        let listeners: Vec<Listener> = listeners.into_iter().map(listener).collect();
        let loaded = match loaded {
            Some(loaded) => {
                self.duty.prepare_stacks();
                Some(loaded)
            }
            None if self.stands_in => None,
            None if self.crew.is_explaining() => {
                log::warn!("requests are explained, and no application is served (--explain)");
                None
            }
            None => Some(self.crew.load(|| self.duty.prepare_stacks())?),
        };
        let (interpreter, application) = loaded.unzip();
        let responder = Responder::new(
            listeners,
            self.crew.handoff()?,
            self.crew.limits.clone(),
            self.crew.allow(),
            self.crew.threads(),
            interpreter.as_ref().is_none_or(Interpreter::is_parallel),
        )
        .context("the responder cannot be made")?;
        let duty = Arc::clone(&self.duty);
        let responder = Arc::new(responder.telling_of_loss(move |reason| duty.has_lost(reason)));
        process::insist(Catch::Serving).context("signals cannot be caught")?;
        if application.is_some() {
            self.tell_new_files();
        }
        self.duty.serve(&responder);
        self.run_threads(&responder, application.as_ref())?;
        self.duty.has_served();
        if let Some(interpreter) = interpreter {
            interpreter.finalize();
        }
        Ok(if responder.is_lost() {
            Exit::Failed
        } else {
            Exit::Fine
        })
    }

    /// Runs the application's threads, the first of them on this one, which Python takes for its main thread.
    fn run_threads(
        &self,
        responder: &Arc<Responder>,
        application: Option<&Application>,
    ) -> anyhow::Result<()> {
        let threads = self.crew.threads();
        let wear = Wear::new(self.crew)?;
        let seats: Vec<ThreadSlot> = (0..threads).map(|thread| self.place.seat(thread)).collect();
        let work = |seat: &ThreadSlot, mut caller: Option<&mut Caller>| {
            seat.take();
            responder.run(&mut |exchange| self.serve(exchange, seat, caller.as_deref_mut(), &wear));
        };
        // No thread serves before the master has heard that the worker is ready: what a first request leads to, such as
        // that it is to be replaced, comes behind that word.
        let gate = Mutex::new(());
        std::thread::scope(|scope| {
            let closed = gate.lock();
            // Else those that there are would be waited for.
            let give_up = |_: &std::io::Error| responder.give_up();
            if threads > 1 || self.duty.has_master() {
                std::thread::Builder::new()
                    .name("watchdog".to_owned())
                    .spawn_scoped(scope, || responder.watch(&|| self.duty.full()))
                    .inspect_err(give_up)
                    .context(NO_THREAD)?;
            }
            for (number, seat) in seats.iter().enumerate().skip(1) {
                let gate = &gate;
                std::thread::Builder::new()
                    .name(format!("application {}", number + 1))
                    .stack_size(STACK)
                    .spawn_scoped(scope, move || {
                        let pass = |caller: Option<&mut Caller>| {
                            drop(gate.lock());
                            work(seat, caller);
                        };
                        if let Err(error) = enter(application, pass) {
                            log::error!("an application thread cannot start: {error}");
                        }
                    })
                    .inspect_err(give_up)
                    .context(NO_THREAD)?;
            }
            self.duty.is_ready();
            drop(closed);
            enter(application, |caller| work(&seats[0], caller)).map_err(anyhow::Error::msg)
        })
    }

    /// Has one request answered.
    fn serve(
        &self,
        exchange: &Arc<FastcgiExchange>,
        seat: &ThreadSlot,
        caller: Option<&mut Caller>,
        wear: &Wear,
    ) {
        let (method, uri) = exchange.request_line();
        let begun = seat.begin(method, uri);
        self.duty.watch(seat.number(), begun, exchange);
        match (self.duty.trouble(), caller) {
            (Some(trouble), _) => show(exchange, &trouble),
            (None, Some(caller)) => caller.call(Arc::clone(exchange) as _),
            (None, None) if self.stands_in => ask_to_come_again(exchange),
            (None, None) => explain::answer(&**exchange, self.crew.gateway()),
        }
        self.duty.unwatch(seat.number());
        let served = seat.end();
        wear.check(served, &self.duty);
        self.tell_new_files();
    }

    /// With `--reload`, tells the master of the application's files, as often as there are more: Django for one imports
    /// what a URL leads to with the first request.
    fn tell_new_files(&self) {
        if !self.crew.watches_files() || self.stands_in {
            return;
        }
        let count = wsgi::imported_count();
        if self.imported.swap(count, Ordering::Relaxed) != count {
            self.duty.tell_files(&wsgi::imported_files());
        }
    }
}

/// Runs `work` with a caller of the application, if there is one.
fn enter(
    application: Option<&Application>,
    work: impl FnOnce(Option<&mut Caller>) + Send,
) -> Result<(), String> {
    match application {
        Some(application) => application.enter(|caller| work(Some(caller))),
        None => {
            work(None);
            Ok(())
        }
    }
}

fn listener(bound: Bound) -> Listener {
    Listener::new(bound.socket, bound.tcp)
}

/// Answers with the reason why the application's new code does not load.
fn show(exchange: &FastcgiExchange, trouble: &str) {
    let text = format!("The application has changed and cannot be loaded.\n\n{trouble}");
    answer(exchange, &Page::new("500 Internal Server Error", text));
}

/// Answers where there is no application.
fn ask_to_come_again(exchange: &FastcgiExchange) {
    let text = "The application cannot be started at the moment.";
    let mut page = Page::new("503 Service Unavailable", text);
    page.retry_after = Some(RETRY_AFTER);
    answer(exchange, &page);
}

fn answer(exchange: &FastcgiExchange, page: &Page) {
    if let Err(error) = exchange.answer_page(page) {
        log::debug!("the web server has gone: {error}");
    }
}

impl Wear {
    fn new(crew: &FastcgiCrew<'_>) -> anyhow::Result<Self> {
        let recycling = &crew.settings().recycling;
        let jitter = recycling.jitter;
        let less = if jitter == 0 {
            0
        } else {
            duty::random() % (jitter + 1)
        };
        let rss = recycling.rss.map(|_| ResidentMemory::of_this_process());
        Ok(Self {
            requests: recycling.requests.map(|most| most - less),
            rss: rss
                .transpose()
                .context("the memory of this process cannot be told (--max-rss)")?,
            limit: AtomicU64::new(recycling.rss.unwrap_or(u64::MAX)),
            has_begun: AtomicBool::new(false),
            seen: AtomicU64::new(0),
        })
    }

    /// Looks whether the worker has had enough, after its request of this number.
    fn check(&self, served: u64, duty: &Duty) {
        if self.requests.is_some_and(|most| served >= most) {
            duty.retire("--max-requests");
        }
        let Some(memory) = &self.rss else {
            return;
        };
        let resident = memory.resident();
        let limit = self.limit.load(Ordering::Relaxed);
        if resident > limit && !self.has_begun.swap(true, Ordering::Relaxed) {
            // So would every other worker have, and nobody would serve if each took nothing new from here on.
            self.limit.store(2 * resident, Ordering::Relaxed);
            duty.outgrow(&format!(
                "--max-rss {} MiB ({} MiB)",
                limit >> 20,
                resident >> 20
            ));
            return;
        }
        self.has_begun.store(true, Ordering::Relaxed);
        if resident > limit && self.seen.fetch_max(resident, Ordering::Relaxed) < resident {
            duty.retire(&format!("--max-rss with {} MiB", resident >> 20));
            if resident > limit + limit / LEEWAY {
                duty.hold();
            }
        }
    }
}
