//! A worker: a responder, the application and its threads, in a process of its own. Beside the application's threads it
//! has one that never needs Python's lock (`controller`) and one that the responder needs.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::access_log::ThreadUsage;
use super::context::{self, WorkerContext};
use super::controller;
use super::failure::Failure;
use super::service::FastcgiService;
use super::{HostedApplication, LoadedApplication, PythonRuntime, RequestHandler};
use crate::exit::Exit;
use crate::explain;
use crate::fastcgi::{FastcgiExchange, Handoff, Listener, Responder};
use crate::gateway::{Exchange as _, Page, ResponseWriter as _};
use crate::process::{
    self, Bound, Catch, Channel, ChildMessage, CpuLimit, ResidentMemory, Signals, ThreadSlot,
    WorkerArgs, WorkerSlot,
};

/// As much as a main thread has: Python's own limit of recursion is no guard for code in C.
const STACK: usize = 8 << 20;

/// Seconds after which it is worth to come again where no worker can be made: in so many it is tried again at the latest.
const RETRY_AFTER: u32 = 10;

/// How far over `--max-rss` a worker may get until it takes nothing new, as a divisor: a twentieth.
const LEEWAY: u64 = 20;

/// A worker that is about to work.
pub struct Worker<'a> {
    service: &'a FastcgiService,
    slot: WorkerSlot,
    context: Arc<WorkerContext>,
    listeners: Vec<Bound>,
    python: Option<&'static dyn PythonRuntime>,
    /// Whether it has no application, as none can be loaded.
    is_fallback: bool,
    /// How many modules there were when their files were last told.
    imported: AtomicUsize,
}

/// After how much a worker asks to be replaced.
struct RecycleLimits {
    requests: Option<u64>,
    cpu: Option<CpuLimit>,
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
    pub fn new(service: &'a FastcgiService, args: WorkerArgs) -> Result<Self, Failure> {
        log::debug!("worker {} begins", args.number);
        // A master that has died is noticed where it is waited for.
        let _ = args.channel.send(&ChildMessage::Begun);
        let slot = WorkerSlot::map(&args.slot, service.threads())
            .map_err(|error| Failure::Slot(error.into()))?;
        Self::begin(
            service,
            args.number,
            slot,
            args.listeners,
            Some(args.channel),
        )
    }

    /// A worker that a web server has started, without a master.
    ///
    /// # Errors
    /// When signals cannot be caught.
    pub fn alone(service: &'a FastcgiService, listeners: Vec<Bound>) -> Result<Self, Failure> {
        let (slot, _) = WorkerSlot::new(service.threads())
            .map_err(|error| Failure::Scoreboard(error.into()))?;
        Self::begin(service, 1, slot, listeners, None)
    }

    fn begin(
        service: &'a FastcgiService,
        number: u32,
        slot: WorkerSlot,
        listeners: Vec<Bound>,
        channel: Option<Channel>,
    ) -> Result<Self, Failure> {
        let signals = Signals::catch(Catch::Serving).map_err(Failure::Signals)?;
        let context = Arc::new(WorkerContext::new(slot.clone(), number, channel, service)?);
        controller::start(signals, &context).map_err(Failure::Threads)?;
        Ok(Self {
            service,
            slot,
            context,
            listeners,
            python: None,
            is_fallback: false,
            imported: AtomicUsize::new(0),
        })
    }

    /// Answers with a page that says when to come again, or with `trouble`, until told to end: nothing else is there to answer.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn serve_fallback(mut self, trouble: Option<String>) -> Result<Exit, Failure> {
        self.is_fallback = true;
        self.context.set_trouble(trouble.unwrap_or_default());
        self.serve_with(None)
    }

    /// Explains requests until told to end.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn explain(self) -> Result<Exit, Failure> {
        log::warn!("requests are explained, and no application is served (--explain)");
        self.serve_with(None)
    }

    /// Serves an application until told to end. `load` imports it, if it was not imported before this worker was forked.
    ///
    /// # Errors
    /// Why it cannot serve.
    pub fn serve(
        mut self,
        python: &'static dyn PythonRuntime,
        load: impl FnOnce() -> Result<LoadedApplication, Failure>,
    ) -> Result<Exit, Failure> {
        self.python = Some(python);
        self.context.begin_python(python);
        let loaded = load()?;
        self.serve_with(Some(&*loaded.application))
    }

    fn serve_with(mut self, application: Option<&dyn HostedApplication>) -> Result<Exit, Failure> {
        let listeners = std::mem::take(&mut self.listeners);
        let handoff = self.service.handoff();
        let responder = Responder::new(
            listeners.into_iter().map(listener).collect(),
            handoff.map(Handoff::try_clone).transpose()?,
            self.service.limits(),
            self.service.allow(),
            self.service.threads(),
            self.python.is_none_or(PythonRuntime::is_parallel),
            Arc::new(self.slot.clone()),
        )
        .map_err(|error| Failure::Responder(error.into()))?;
        let context = Arc::clone(&self.context);
        let responder = Arc::new(responder.telling_of_loss(move |reason| context.has_lost(reason)));
        process::insist(Catch::Serving).map_err(Failure::Signals)?;
        if application.is_some() {
            self.tell_new_files();
        }
        self.context.serve(&responder);
        self.run_threads(&responder, application)?;
        self.context.has_served();
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
        application: Option<&dyn HostedApplication>,
    ) -> Result<(), Failure> {
        let threads = self.service.threads();
        let recycle_limits = RecycleLimits::new(self.service)?;
        let thread_slots: Vec<ThreadSlot> = (0..threads)
            .map(|thread| self.slot.thread_slot(thread))
            .collect();
        let work = |thread_slot: &ThreadSlot, mut caller: Option<&mut dyn RequestHandler>| {
            thread_slot.take();
            let mut usage = ThreadUsage::default();
            responder.run(&mut |exchange| {
                // Not by as_deref_mut(), which keeps the borrow for as long as what it is of.
                let caller = caller
                    .as_mut()
                    .map(|caller| &mut **caller as &mut dyn RequestHandler);
                self.answer(exchange, thread_slot, &mut usage, caller, &recycle_limits);
            });
        };
        // No thread serves before the master has heard that the worker is ready: what a first request leads to, such as
        // that it is to be replaced, comes behind that word.
        let gate = Mutex::new(());
        std::thread::scope(|scope| {
            let closed = gate.lock();
            // Else those that there are would be waited for.
            let give_up = |_: &std::io::Error| responder.give_up();
            if threads > 1 || self.context.has_master() {
                std::thread::Builder::new()
                    .name("watchdog".to_owned())
                    .spawn_scoped(scope, || responder.watch(&|| self.context.full()))
                    .inspect_err(give_up)
                    .map_err(Failure::Threads)?;
            }
            for (number, thread_slot) in thread_slots.iter().enumerate().skip(1) {
                let gate = &gate;
                std::thread::Builder::new()
                    .name(format!("application {}", number + 1))
                    .stack_size(STACK)
                    .spawn_scoped(scope, move || {
                        let mut pass = |caller: Option<&mut dyn RequestHandler>| {
                            drop(gate.lock());
                            work(thread_slot, caller);
                        };
                        if let Err(error) = enter(application, &mut pass) {
                            log::error!("an application thread cannot start: {error}");
                        }
                    })
                    .inspect_err(give_up)
                    .map_err(Failure::Threads)?;
            }
            self.context.is_ready();
            drop(closed);
            enter(application, &mut |caller| work(&thread_slots[0], caller))
                .map_err(Failure::Python)
        })
    }

    /// Has one request answered.
    fn answer(
        &self,
        exchange: &Arc<FastcgiExchange>,
        thread_slot: &ThreadSlot,
        usage: &mut ThreadUsage,
        caller: Option<&mut dyn RequestHandler>,
        recycle_limits: &RecycleLimits,
    ) {
        let (method, uri) = exchange.request_line();
        let begun = exchange.begun();
        thread_slot.begin(begun, method, uri, exchange.id());
        self.context.watch(thread_slot.number(), begun, exchange);
        let access_log = self.context.access_log.as_ref();
        if let Some(log) = access_log {
            log.begin(usage);
        }
        match (self.context.trouble(), caller) {
            (Some(trouble), None) if self.service.is_for_cgi() => {
                let debug = self.service.settings().debug;
                fail_like_cgi(exchange, &trouble, debug);
            }
            (Some(trouble), _) => show(exchange, &trouble),
            (None, Some(caller)) => caller.handle(Arc::clone(exchange) as _),
            (None, None) if self.is_fallback => ask_to_come_again(exchange),
            (None, None) => explain::answer(&**exchange, self.service.gateway()),
        }
        self.context.unwatch(thread_slot.number());
        let figures = exchange.figures();
        let (served, duration) = thread_slot.end(begun, &figures);
        if let Some(log) = access_log {
            log.end(exchange, thread_slot.number(), duration, &figures, usage);
        }
        recycle_limits.check(served, &self.context);
        self.tell_new_files();
    }

    /// With `--reload`, tells the master of the application's files, as often as there are more: Django for one imports
    /// what a URL leads to with the first request.
    fn tell_new_files(&self) {
        let Some(python) = self.python.filter(|_| self.service.watches_files()) else {
            return;
        };
        let count = python.imported_count();
        if self.imported.swap(count, Ordering::Relaxed) != count {
            self.context.tell_files(&python.imported_files());
        }
    }
}

/// Runs `work` with a caller of the application, if there is one.
fn enter(
    application: Option<&dyn HostedApplication>,
    work: &mut (dyn FnMut(Option<&mut dyn RequestHandler>) + Send),
) -> Result<(), String> {
    match application {
        Some(application) => application.enter(&mut |caller| work(Some(caller))),
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

/// Answers as a CGI program does that has no application to answer with.
fn fail_like_cgi(exchange: &FastcgiExchange, trouble: &str, debug: bool) {
    exchange.report(format!("wsgi-gateway: error: {trouble}\n").as_bytes());
    let status = u8::try_from(Exit::CannotLoad as i32).unwrap_or(1);
    exchange.note_exit(status);
    answer(exchange, &Page::not_started(debug.then_some(trouble)));
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

impl RecycleLimits {
    fn new(service: &FastcgiService) -> Result<Self, Failure> {
        let recycling = &service.settings().recycling;
        let jitter = recycling.jitter;
        let less = if jitter == 0 {
            0
        } else {
            context::random() % (jitter + 1)
        };
        let rss = recycling.rss.map(|_| ResidentMemory::of_this_process());
        Ok(Self {
            requests: recycling.requests.map(|most| most - less),
            cpu: CpuLimit::of_this_process(),
            rss: rss.transpose().map_err(Failure::Memory)?,
            limit: AtomicU64::new(recycling.rss.unwrap_or(u64::MAX)),
            has_begun: AtomicBool::new(false),
            seen: AtomicU64::new(0),
        })
    }

    /// Looks whether the worker has had enough, after its request of this number.
    fn check(&self, served: u64, context: &WorkerContext) {
        if self.requests.is_some_and(|most| served >= most) {
            context.retire("--max-requests");
        }
        if let Some(limit) = self.cpu.as_ref().filter(|limit| limit.is_half_used()) {
            // The kernel would kill it in the middle of a request.
            let seconds = limit.seconds();
            context.retire(&format!(
                "half of the {seconds} s of processor time that a process may use"
            ));
        }
        let Some(memory) = &self.rss else {
            return;
        };
        let resident = memory.resident();
        let limit = self.limit.load(Ordering::Relaxed);
        if resident > limit && !self.has_begun.swap(true, Ordering::Relaxed) {
            // So would every other worker have, and nobody would serve if each took nothing new from here on.
            self.limit.store(2 * resident, Ordering::Relaxed);
            context.outgrow(&format!(
                "--max-rss {} MiB ({} MiB)",
                limit >> 20,
                resident >> 20
            ));
            return;
        }
        self.has_begun.store(true, Ordering::Relaxed);
        if resident > limit && self.seen.fetch_max(resident, Ordering::Relaxed) < resident {
            context.retire(&format!("--max-rss with {} MiB", resident >> 20));
            if resident > limit + limit / LEEWAY {
                context.hold();
            }
        }
    }
}
