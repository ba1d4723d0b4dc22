//! What the tests stand on: workers that are threads of this process, and a small web server's side.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::unistd::gettid;
use tempfile::TempDir;

use crate::fastcgi::pairs::write_pair;
use crate::fastcgi::record::{HEADER_LENGTH, Header, RecordType, write_record};
use crate::fastcgi::{AllowList, FastcgiExchange, Handoff, Idle, Limits, Listener, Responder};
use crate::gateway::{Bookkeeper, Exchange as _, Head, Refusal, RequestFigures};

pub(super) const DEADLINE: Duration = Duration::from_secs(30);

/// Waits until that is so.
pub(super) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < DEADLINE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Where the tests' web server connects.
pub(super) struct Socket {
    _folder: TempDir,
    pub(super) path: PathBuf,
    listener: UnixListener,
}

impl Socket {
    pub(super) fn bind() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self {
            _folder: folder,
            path,
            listener,
        }
    }

    /// For one more worker.
    pub(super) fn share(&self) -> Vec<Listener> {
        let socket = OwnedFd::from(self.listener.try_clone().unwrap());
        vec![Listener::new(socket, false)]
    }

    pub(super) fn connect(&self) -> Client {
        Client::new(UnixStream::connect(&self.path).unwrap())
    }
}

/// Requests for /wait wait here.
#[derive(Default)]
pub(super) struct Gate {
    open: Mutex<bool>,
    changed: Condvar,
    pub(super) inside: AtomicUsize,
}

impl Gate {
    fn pass(&self) {
        self.inside.fetch_add(1, Ordering::SeqCst);
        let open = self.open.lock().unwrap();
        let (open, _) = self
            .changed
            .wait_timeout_while(open, DEADLINE, |open| !*open)
            .unwrap();
        assert!(*open, "nobody opened the gate");
        self.inside.fetch_sub(1, Ordering::SeqCst);
    }

    pub(super) fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.changed.notify_all();
    }

    pub(super) fn shut(&self) {
        *self.open.lock().unwrap() = false;
    }
}

pub(super) fn limits() -> Limits {
    Limits {
        for_cgi: false,
        params: 1 << 20,
        body: None,
        buffer: 1 << 16,
        unsent: 1 << 26,
        connections: 400,
        header_timeout: DEADLINE,
        idle_timeout: DEADLINE,
        io_timeout: DEADLINE,
    }
}

/// What was counted beside requests.
#[derive(Debug, Default)]
pub(super) struct TestTally {
    pub(super) open: AtomicUsize,
    pub(super) left: AtomicUsize,
    pub(super) refused: Mutex<Vec<(Refusal, u16)>>,
}

impl Bookkeeper for TestTally {
    fn opened(&self) {
        self.open.fetch_add(1, Ordering::SeqCst);
    }

    fn closed(&self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }

    fn refused(&self, reason: Refusal) {
        self.refused.lock().unwrap().push((reason, 0));
    }

    fn answered(&self, status: u16) {
        if let Some(refused) = self.refused.lock().unwrap().last_mut() {
            refused.1 = status;
        }
    }

    fn was_left(&self) {
        self.left.fetch_add(1, Ordering::SeqCst);
    }
}

/// How a worker is made.
pub(super) struct ApplicationPlan<'a> {
    pub(super) name: &'static str,
    pub(super) listeners: Vec<Listener>,
    pub(super) handoff: Option<&'a Handoff>,
    pub(super) threads: usize,
    pub(super) connections: usize,
    pub(super) idle_timeout: Duration,
}

impl ApplicationPlan<'_> {
    pub(super) fn of(name: &'static str) -> Self {
        Self {
            name,
            listeners: Vec::new(),
            handoff: None,
            threads: 1,
            connections: 400,
            idle_timeout: DEADLINE,
        }
    }
}

/// A responder with its threads. The application answers with the worker's name.
pub(super) struct ServedWorker {
    pub(super) responder: Arc<Responder>,
    pub(super) threads: Vec<JoinHandle<()>>,
    pub(super) gate: Arc<Gate>,
    /// Which requests it was called for.
    pub(super) served: Arc<Mutex<Vec<String>>>,
    /// The kernel's numbers of its threads.
    pub(super) tasks: Arc<Mutex<Vec<i32>>>,
    /// How often all threads were busy.
    pub(super) full: Arc<AtomicUsize>,
    pub(super) tally: Arc<TestTally>,
    /// What came of its requests.
    pub(super) figures: Arc<Mutex<Vec<RequestFigures>>>,
}

impl ServedWorker {
    pub(super) fn start(plan: ApplicationPlan<'_>) -> Self {
        let limits = Limits {
            connections: plan.connections,
            idle_timeout: plan.idle_timeout,
            ..limits()
        };
        let handoff = plan.handoff.map(|handoff| handoff.try_clone().unwrap());
        let allow = AllowList::default();
        let tally = Arc::<TestTally>::default();
        let responder = Responder::new(
            plan.listeners,
            handoff,
            limits,
            allow,
            plan.threads,
            false,
            Arc::clone(&tally) as _,
        )
        .unwrap();
        let responder = Arc::new(responder);
        let figures = Arc::<Mutex<Vec<RequestFigures>>>::default();
        let (gate, served) = (Arc::<Gate>::default(), Arc::<Mutex<Vec<String>>>::default());
        let full = Arc::<AtomicUsize>::default();
        let tasks = Arc::<Mutex<Vec<i32>>>::default();
        let mut threads = Vec::new();
        for _ in 0..plan.threads {
            let responder = Arc::clone(&responder);
            let (gate, served, name) = (Arc::clone(&gate), Arc::clone(&served), plan.name);
            let (tasks, figures) = (Arc::clone(&tasks), Arc::clone(&figures));
            threads.push(std::thread::spawn(move || {
                tasks.lock().unwrap().push(gettid().as_raw());
                responder.run(&mut |exchange: &Arc<FastcgiExchange>| {
                    let (_, uri) = exchange.request_line();
                    let uri = String::from_utf8(uri.concat()).unwrap();
                    served.lock().unwrap().push(uri.clone());
                    assert_ne!(uri, "/panic");
                    if uri == "/wait" {
                        gate.pass();
                    }
                    if let Some(time) = uri.strip_prefix("/sleep/") {
                        let time = time.split('?').next().unwrap().parse().unwrap();
                        std::thread::sleep(Duration::from_millis(time));
                    }
                    let head = Head::new(b"200 OK").unwrap();
                    let _ = exchange.answer(head, name.as_bytes());
                    figures.lock().unwrap().push(exchange.figures());
                });
            }));
        }
        let (watching, told) = (Arc::clone(&responder), Arc::clone(&full));
        let watchdog = Arc::clone(&tasks);
        threads.push(std::thread::spawn(move || {
            watchdog.lock().unwrap().push(gettid().as_raw());
            watching.watch(&|| {
                told.fetch_add(1, Ordering::SeqCst);
            });
        }));
        Self {
            responder,
            threads,
            gate,
            served,
            tasks,
            full,
            tally,
            figures,
        }
    }

    pub(super) fn connections(&self) -> usize {
        self.responder.poller.state.open.load(Ordering::SeqCst)
    }

    /// Waits until so many connections are open here.
    pub(super) fn until_connections(&self, count: usize) {
        until(&format!("{count} connections are open"), || {
            self.connections() == count
        });
    }

    /// Waits until so many requests are at the gate.
    pub(super) fn until_inside(&self, count: usize) {
        until(&format!("{count} requests wait"), || {
            self.gate.inside.load(Ordering::SeqCst) == count
        });
    }

    /// Waits for the end of all its threads, and says which requests it was called for.
    pub(super) fn ended(self) -> Vec<String> {
        for thread in self.threads {
            until("a thread ends", || thread.is_finished());
            thread.join().unwrap();
        }
        assert_eq!(self.responder.poller.state.open.load(Ordering::SeqCst), 0);
        let served = self.served.lock().unwrap();
        served.clone()
    }

    pub(super) fn end(self) -> Vec<String> {
        self.gate.open();
        self.responder.stop(Idle::Close);
        self.ended()
    }
}

/// A web server's end of a connection.
pub(super) struct Client(UnixStream);

impl Client {
    fn new(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(stream)
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    pub(super) fn request(&mut self, uri: &str) {
        self.write(&request(uri));
    }

    /// The whole body of the next answer; `None` when the connection ends instead.
    pub(super) fn try_answer(&mut self) -> Option<String> {
        let mut body = Vec::new();
        loop {
            let mut header = [0; HEADER_LENGTH];
            self.0.read_exact(&mut header).ok()?;
            let header = Header::parse(&header).unwrap();
            let mut content = vec![0; usize::from(header.content) + usize::from(header.padding)];
            self.0.read_exact(&mut content).ok()?;
            content.truncate(usize::from(header.content));
            if header.kind == RecordType::EndRequest {
                let text = String::from_utf8(body).unwrap();
                return Some(text.split_once("\r\n\r\n").unwrap().1.to_owned());
            }
            body.extend_from_slice(&content);
        }
    }

    pub(super) fn answer(&mut self) -> String {
        self.try_answer().expect("the connection ended")
    }

    pub(super) fn ask(&mut self, uri: &str) -> String {
        self.request(uri);
        self.answer()
    }
}

/// The bytes of a request on a kept connection.
pub(super) fn request(uri: &str) -> Vec<u8> {
    request_of(&[("REQUEST_METHOD", "GET"), ("REQUEST_URI", uri)])
}

/// The bytes of a request with these variables on a kept connection.
pub(super) fn request_of(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut params = Vec::new();
    for (name, value) in pairs {
        write_pair(&mut params, name.as_bytes(), value.as_bytes());
    }
    let mut bytes = Vec::new();
    let begin = [0, 1, 1, 0, 0, 0, 0, 0];
    write_record(&mut bytes, RecordType::BeginRequest, 1, &begin);
    if !params.is_empty() {
        write_record(&mut bytes, RecordType::Params, 1, &params);
    }
    write_record(&mut bytes, RecordType::Params, 1, &[]);
    write_record(&mut bytes, RecordType::Stdin, 1, &[]);
    bytes
}
