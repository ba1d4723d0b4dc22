//! What happens to a service in its life, with and without `--preload`, one thing after another on the same service: whatever
//! it was, every worker then listens where web servers connect and has the newest code that can be loaded, and so has the
//! next one that is made.

use nix::sys::signal::Signal;

use crate::support::client::{Request, fetch};
use crate::support::gateway::Gateway;
use crate::support::process_table::{children, send, title};
use crate::support::release::{Held, Release};

#[derive(Clone, Copy, Debug)]
enum Event {
    SocketMadeAnew,
    Ttin,
    MaxRequests,
    HupBroken,
    HupFixed,
    TemplateKilled,
    WorkerKilled,
}

use Event::{HupBroken, HupFixed, MaxRequests, SocketMadeAnew, TemplateKilled, Ttin, WorkerKilled};

/// Each of them first, last, and behind the others.
const LIFE: [Event; 15] = [
    WorkerKilled,
    SocketMadeAnew,
    WorkerKilled,
    Ttin,
    TemplateKilled,
    MaxRequests,
    HupBroken,
    TemplateKilled,
    HupFixed,
    SocketMadeAnew,
    HupBroken,
    MaxRequests,
    HupFixed,
    Ttin,
    WorkerKilled,
];

struct Service {
    release: Release,
    gateway: Gateway,
    /// What is deployed and serves.
    code: usize,
    workers: usize,
    /// How many requests have been held.
    held: usize,
}

impl Service {
    fn start(options: &[&str]) -> Service {
        let release = Release::new("serves 0");
        let options = [&["--max-requests", "30"], options].concat();
        Service {
            gateway: release.start(2, &options),
            release,
            code: 0,
            workers: 2,
            held: 0,
        }
    }

    fn template(&self) -> Option<u32> {
        let mut all = children(self.gateway.pid()).into_iter();
        all.find(|pid| title(*pid).starts_with("wsgi-gateway: template "))
    }

    fn count(&self, words: &str) -> usize {
        self.gateway.log().matches(words).count()
    }

    fn suffer(&mut self, event: Event) {
        let gateway = &self.gateway;
        match event {
            SocketMadeAnew => {
                const ANEW: &str = "listening there anew";
                let before = self.count(ANEW);
                std::fs::remove_file(gateway.socket()).unwrap();
                gateway.wait_for_count(ANEW, before + 1);
            }
            Ttin => {
                gateway.signal(Signal::SIGTTIN);
                self.workers += 1;
            }
            MaxRequests => {
                const REACHED: &str = "has reached --max-requests";
                let before = self.count(REACHED);
                gateway.wait_for(REACHED, || {
                    fetch(gateway.socket(), &Request::get("/")).expect(200);
                    (self.count(REACHED) > before).then_some(())
                });
            }
            HupBroken => {
                self.release.deploy("raises");
                assert!(!gateway.reload());
                self.check();
                // Taken back, as it was in memory all the time.
                self.release.deploy(&format!("serves {}", self.code));
            }
            HupFixed => {
                self.code += 1;
                self.release.deploy(&format!("serves {}", self.code));
                let old = gateway.workers();
                assert!(gateway.reload());
                gateway.wait_for("no worker of the old code", || {
                    let workers = gateway.workers();
                    (!workers.iter().any(|pid| old.contains(pid))).then_some(())
                });
            }
            TemplateKilled => {
                let Some(template) = self.template() else {
                    return;
                };
                const IMPORTED: &str = ") has imported the application";
                let before = self.count(IMPORTED);
                send(template, Signal::SIGKILL);
                gateway.wait_for_count(IMPORTED, before + 1);
            }
            WorkerKilled => self.kill_a_worker(),
        }
    }

    fn kill_a_worker(&self) {
        let pid = fetch(self.gateway.socket(), &Request::get("/pid")).expect(200);
        let pid = pid.text().parse().unwrap();
        send(pid, Signal::SIGKILL);
        self.gateway.wait_for("a worker's end", || {
            (!self.gateway.workers().contains(&pid)).then_some(())
        });
    }

    /// Requests on new connections are in all workers at the same time, and all of them answer with the newest code.
    fn check(&mut self) {
        self.gateway.wait_for_workers(self.workers);
        let held: Vec<Held> = (0..self.workers)
            .map(|_| {
                self.held += 1;
                Held::new(&self.gateway, &format!("fifo-{}", self.held))
            })
            .collect();
        for held in held {
            assert_eq!(held.finish(), self.code.to_string());
        }
    }
}

fn live(options: &[&str]) {
    let mut service = Service::start(options);
    for event in LIFE {
        eprintln!("{options:?}: {event:?}");
        service.suffer(event);
        service.check();
        service.kill_a_worker();
        service.check();
    }
    let exit = service.gateway.terminate();
    assert_eq!(exit.code, 0, "{}", exit.log);
}

#[test]
fn a_life_without_a_template() {
    live(&[]);
}

#[test]
fn a_life_with_a_template() {
    live(&["--preload"]);
}
