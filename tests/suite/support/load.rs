//! Web servers' load: several clients that send request after request and account for every one of them.
//!
//! It is bounded: by a number of requests, or by what the test does meanwhile. A request that is not answered with a
//! whole 200 has failed; nothing is tried again.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::client::{Connection, REQUEST_COMPLETE, Request, Response};
use crate::support::gateway::Gateway;
use crate::support::wait;

/// What is sent, by how many clients and in which way.
#[derive(Clone)]
pub(crate) struct Load {
    socket: PathBuf,
    request: Request,
    clients: usize,
    /// Every so manieth client keeps its connection; 0 for none.
    kept: usize,
    /// For all clients together.
    requests: usize,
    pause: Duration,
    ends_when_refused: bool,
}

/// What became of the requests.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Requests with a whole answer.
    pub(crate) served: usize,
    /// Requests without an answer of any kind: the connection was closed before the first byte.
    pub(crate) unanswered: usize,
    /// Connects that nobody took.
    pub(crate) refused: usize,
    /// Answers that are not whole or not 200: what they were.
    pub(crate) failed: Vec<String>,
    /// Kept connections that the gateway closed between two requests, which is its right.
    pub(crate) closed: usize,
    /// Each text that was answered, and how often.
    pub(crate) texts: BTreeMap<String, usize>,
    /// How long each answer took, the connect included.
    pub(crate) latencies: Vec<Duration>,
}

/// A load that is going on.
#[derive(Default)]
pub(crate) struct Running {
    started: AtomicUsize,
    served: AtomicUsize,
    /// Clients that have had an answer.
    acquainted: AtomicUsize,
    stop: AtomicBool,
}

impl Load {
    /// Eight clients, half of them on kept connections and half on a new one for each request, without a bound.
    pub(crate) fn on(gateway: &Gateway, path: &str) -> Load {
        Load {
            socket: gateway.socket().to_owned(),
            request: Request::get(path),
            clients: 8,
            kept: 2,
            requests: usize::MAX,
            pause: Duration::ZERO,
            ends_when_refused: false,
        }
    }

    pub(crate) fn clients(mut self, clients: usize) -> Load {
        self.clients = clients;
        self
    }

    /// A connection for each request.
    pub(crate) fn on_new_connections(mut self) -> Load {
        self.kept = 0;
        self
    }

    /// A connection for each client.
    pub(crate) fn on_kept_connections(mut self) -> Load {
        self.kept = 1;
        self
    }

    pub(crate) fn requests(mut self, requests: usize) -> Load {
        self.requests = requests;
        self
    }

    /// What each client waits between two requests, where it is the number of requests that matters and not their rate.
    pub(crate) fn pause(mut self, pause: Duration) -> Load {
        self.pause = pause;
        self
    }

    /// A client that is not let in or not answered goes home.
    pub(crate) fn until_refused(mut self) -> Load {
        self.ends_when_refused = true;
        self
    }

    /// Sends all requests, or as many as are answered.
    pub(crate) fn run(self) -> Tally {
        let bounded = self.requests < usize::MAX || self.ends_when_refused;
        assert!(bounded, "a load needs a bound");
        self.start(|_| ()).1
    }

    /// Sends requests for as long as the work takes, which begins when there has been an answer for each client.
    pub(crate) fn during<T>(&self, work: impl FnOnce(&Running) -> T) -> (T, Tally) {
        self.start(|running| {
            // Also when the work panics, or the clients would go on for ever.
            let stop = StopAtEnd(&running.stop);
            running
                .wait_until(|running| running.acquainted.load(Ordering::Acquire) == self.clients);
            let result = work(running);
            if self.ends_when_refused {
                // They go by themselves.
                std::mem::forget(stop);
            }
            result
        })
    }

    fn start<T>(&self, work: impl FnOnce(&Running) -> T) -> (T, Tally) {
        let running = Running::default();
        thread::scope(|scope| {
            let clients: Vec<_> = (0..self.clients)
                .map(|number| {
                    let keeps = self.kept > 0 && number % self.kept == 0;
                    let running = &running;
                    scope.spawn(move || self.client(keeps, running))
                })
                .collect();
            let result = work(&running);
            let mut sum = Tally::default();
            for client in clients {
                sum.add(client.join().unwrap());
            }
            (result, sum)
        })
    }

    /// One client: a connection at a time, a request at a time.
    fn client(&self, keeps: bool, running: &Running) -> Tally {
        let mut tally = Tally::default();
        let mut request = self.request.clone();
        request.keep = keeps;
        let mut connection = None;
        while !running.stop.load(Ordering::Acquire)
            && running.started.fetch_add(1, Ordering::AcqRel) < self.requests
        {
            let answered = tally.served;
            // A record that a web server could not place, or no answer within the deadline, is a panic of the client's.
            let exchange =
                AssertUnwindSafe(|| self.exchange(&request, &mut connection, &mut tally));
            if catch_unwind(exchange).is_err() {
                connection = None;
                tally.failed.push("never answered, or not FastCGI".into());
            }
            if tally.served > answered {
                if answered == 0 {
                    running.acquainted.fetch_add(1, Ordering::AcqRel);
                }
                running.served.fetch_add(1, Ordering::AcqRel);
            } else if self.ends_when_refused {
                break;
            }
            if !self.pause.is_zero() {
                thread::sleep(self.pause);
            }
        }
        tally
    }

    fn exchange(&self, request: &Request, kept: &mut Option<Connection>, tally: &mut Tally) {
        let begun = Instant::now();
        // What it has closed by now it will not answer on.
        if kept
            .as_mut()
            .is_some_and(|connection| !connection.is_quiet())
        {
            *kept = None;
            tally.closed += 1;
        }
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => match UnixStream::connect(&self.socket) {
                Ok(stream) => Connection::over(stream),
                Err(_) => {
                    tally.refused += 1;
                    return;
                }
            },
        };
        let answer = connection.request(request);
        if is_whole(&answer) {
            tally.latencies.push(begun.elapsed());
            tally.served += 1;
            *tally.texts.entry(answer.text()).or_default() += 1;
            *kept = request.keep.then_some(connection);
        } else if answer.raw_stdout.is_empty() && answer.end.is_none() {
            tally.unanswered += 1;
        } else {
            tally.failed.push(format!("{answer:?}"));
        }
    }
}

fn is_whole(answer: &Response) -> bool {
    let complete = answer.end.map(|end| end.protocol_status) == Some(REQUEST_COMPLETE);
    complete && answer.status == 200 && !answer.reset
}

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Running {
    /// Waits until so many more have been answered.
    #[track_caller]
    pub(crate) fn wait_for_more(&self, count: usize) {
        let enough = self.served() + count;
        self.wait_until(|running| running.served() >= enough);
    }

    #[track_caller]
    fn wait_until(&self, is_so: impl Fn(&Running) -> bool) {
        wait::until(
            || is_so(self),
            || format!("stuck after {} answers", self.served()),
        );
    }

    fn served(&self) -> usize {
        self.served.load(Ordering::Acquire)
    }
}

impl Tally {
    /// Requests that did not get what they were sent for.
    pub(crate) fn lost(&self) -> usize {
        self.unanswered + self.refused + self.failed.len()
    }

    pub(crate) fn longest(&self) -> Duration {
        self.latencies.iter().max().copied().unwrap_or_default()
    }

    /// Every request was answered.
    #[track_caller]
    pub(crate) fn expect_none_lost(&self) {
        assert!(self.served > 0, "nothing was sent");
        assert_eq!(self.lost(), 0, "{self}");
    }

    fn add(&mut self, other: Tally) {
        self.served += other.served;
        self.unanswered += other.unanswered;
        self.refused += other.refused;
        self.failed.extend(other.failed);
        self.closed += other.closed;
        for (text, count) in other.texts {
            *self.texts.entry(text).or_default() += count;
        }
        self.latencies.extend(other.latencies);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} served, {} unanswered, {} refused, {} failed; {} kept connections closed between requests; \
             the longest took {:?}",
            self.served,
            self.unanswered,
            self.refused,
            self.failed.len(),
            self.closed,
            self.longest()
        )?;
        for answer in self.failed.iter().take(3) {
            write!(f, "\n{answer}")?;
        }
        Ok(())
    }
}
