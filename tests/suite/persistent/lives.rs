//! The life of a responder: what renews it, what kills it, and what is left when it has ended.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::support::cgi::{Cgi, Fifo, Output};
use crate::support::client::Request;
use crate::support::gateway::apps;
use crate::support::home::{APP, Home, body};
use crate::support::process_table::{children, is_alive};

/// An application that answers with this word, put in the place of one before as editors and deploys do it.
fn put(path: &Path, word: usize) {
    let new = path.with_extension("new");
    fs::write(
        &new,
        format!("def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'{word}']\n"),
    )
    .unwrap();
    fs::rename(&new, path).unwrap();
}

struct Site {
    folder: TempDir,
}

impl Site {
    fn new() -> Site {
        let site = Site {
            folder: TempDir::with_prefix("wsgi-gateway-test-site-").unwrap(),
        };
        put(&site.app(), 0);
        site
    }

    fn app(&self) -> PathBuf {
        self.folder.path().join("site.py")
    }
}

/// Its worker goes on, as everywhere else.
#[test]
fn a_request_that_takes_too_long_ends_by_itself() {
    let (home, app) = (Home::new(), apps().join("timed_out.py"));
    let get = |path| {
        let cgi = home.get(&app, path);
        cgi.options(["--request-timeout", "200ms"]).run()
    };
    let worker = body(&get("/"));
    assert_eq!(get("/sleeps").response().status, 504);
    home.wait_for("its end", || {
        home.log().contains("goes on serving").then_some(())
    });
    assert_eq!(body(&get("/")), worker);
}

#[test]
fn a_changed_file_is_served_from_the_next_request_on() {
    let (home, site) = (Home::new(), Site::new());
    assert_eq!(body(&home.get(site.app(), "/").run()), "0");
    let first = home.only().pid;
    put(&site.app(), 1);
    assert_eq!(body(&home.get(site.app(), "/").run()), "1");
    home.wait_for("the end of the first", || (!is_alive(first)).then_some(()));
    let mut before = home.only().pid;
    for file in ["restart.txt", "tmp/restart.txt"] {
        let path = site.folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
        assert_eq!(body(&home.get(site.app(), "/").run()), "1");
        home.wait_for("the end of the one before", || {
            (!is_alive(before)).then_some(())
        });
        before = home.only().pid;
    }
    home.end();
}

/// Whoever asks after somebody has had the new answer does not get the old one, and nobody gets none.
#[test]
fn an_edit_under_load_loses_nothing() {
    const EDITS: usize = 5;
    let (home, site) = (Home::new(), Site::new());
    let (seen, ends) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !ends.load(Ordering::SeqCst) {
                    let before = seen.load(Ordering::SeqCst);
                    let got: usize = body(&home.get(site.app(), "/").run()).parse().unwrap();
                    assert!(got >= before, "{got} after {before}");
                    seen.fetch_max(got, Ordering::SeqCst);
                }
            });
        }
        for edit in 1..=EDITS {
            put(&site.app(), edit);
            home.wait_for("the new answer", || {
                (seen.load(Ordering::SeqCst) >= edit).then_some(())
            });
        }
        ends.store(true, Ordering::SeqCst);
    });
    home.end();
}

/// A request that was begun by the old code is finished by it.
#[test]
fn what_is_in_flight_is_finished_by_the_old() {
    let home = Home::new();
    let folder = TempDir::new().unwrap();
    let app = folder.path().join("app.py");
    fs::copy(apps().join("persistent.py"), &app).unwrap();
    let fifo = Fifo::new(folder.path().join("fifo"));
    let waiting = home
        .get(&app, &format!("/wait?{}", fifo.path().display()))
        .spawn();
    let old = home.wait_for("the first", || {
        let rows = home.ps();
        rows.first().filter(|row| row.requests == 1).cloned()
    });
    fs::write(folder.path().join("restart.txt"), "").unwrap();
    let new = body(&home.get(&app, "/master").run());
    assert_ne!(new, old.pid.to_string());
    assert!(is_alive(old.pid));
    fifo.go();
    assert_eq!(body(&waiting.finish()), "x");
    home.wait_for("the end of the old", || (!is_alive(old.pid)).then_some(()));
    home.end();
}

#[test]
fn it_ends_when_nobody_asks_and_leaves_nothing() {
    let home = Home::new();
    let ask = |path: &str| home.get(APP, path).option("--idle-timeout").option("300ms");
    body(&ask("/").run());
    let row = home.only();
    let workers = children(row.pid);
    for pid in workers.into_iter().chain([row.pid]) {
        home.wait_for("the end of what is idle", || (!is_alive(pid)).then_some(()));
    }
    for ending in [".sock", ".account"] {
        assert_eq!(home.named(ending), [] as [PathBuf; 0], "{}", home.log());
    }
    // And the next finds nobody, and starts one.
    body(&ask("/").run());
    home.end();
}

/// A worker that dies in a request costs that one a page, and nobody else anything.
#[test]
fn a_request_whose_process_dies_gets_a_page() {
    let home = Home::new();
    let output = home.get(APP, "/die").run();
    assert_eq!(
        (output.code, output.response().status),
        (1, 500),
        "{output:#?}"
    );
    assert!(
        output.stderr.contains("died before it had answered"),
        "{output:#?}"
    );
    let cut = home.get(APP, "/die_later").run();
    assert_eq!(
        (cut.code, cut.response().body.as_slice()),
        (1, &b"begun"[..]),
        "{cut:#?}"
    );
    body(&home.get(APP, "/").run());
    home.end();
}

/// Killed again and again, whole and in part: those in flight get a page, the others are answered.
#[test]
fn being_killed_costs_what_is_in_flight() {
    const KILLS: usize = 6;
    const CLIENTS: usize = 4;
    let home = Home::new();
    let (served, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let ends = AtomicBool::new(false);
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (home, served, failed, ends) = (&home, &served, &failed, &ends);
            scope.spawn(move || {
                let request = match client % 2 {
                    0 => Request::get("/length"),
                    _ => Request::post("/length", &[b'x'; 100_000]),
                };
                while !ends.load(Ordering::SeqCst) {
                    let output = home.request(APP, &request).run();
                    let response = output.response();
                    match (output.code, response.status) {
                        (0, 200) => served.fetch_add(1, Ordering::SeqCst),
                        // The third where it was killed as it began.
                        (1 | 3, 500) => failed.fetch_add(1, Ordering::SeqCst),
                        _ => panic!("{output:#?}"),
                    };
                }
            });
        }
        for round in 0..KILLS {
            let before = served.load(Ordering::SeqCst);
            home.wait_for("more answers", || {
                (served.load(Ordering::SeqCst) >= before + 8).then_some(())
            });
            for row in home.ps() {
                let workers = children(row.pid);
                let victims = match round % 3 {
                    0 => workers.into_iter().chain([row.pid]).collect(),
                    1 => vec![row.pid],
                    _ => workers,
                };
                for pid in victims {
                    let _ = kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL);
                }
            }
        }
        let before = served.load(Ordering::SeqCst);
        home.wait_for("answers after the last", || {
            (served.load(Ordering::SeqCst) >= before + 8).then_some(())
        });
        ends.store(true, Ordering::SeqCst);
    });
    let failed = failed.load(Ordering::SeqCst);
    assert!(failed <= KILLS * CLIENTS, "{failed}");
    home.end();
}

/// One that cannot be imported is tried once, and those who come meanwhile get its error, not a place in a queue.
#[test]
fn a_failing_import_is_not_tried_by_everybody() {
    let (home, folder) = (Home::new(), TempDir::new().unwrap());
    let app = folder.path().join("broken.py");
    fs::write(
        &app,
        "print('tried', flush=True)\nimport nothing_of_that_name\n",
    )
    .unwrap();
    let outputs: Vec<Output> = thread::scope(|scope| {
        let asking: Vec<_> = (0..20)
            .map(|_| scope.spawn(|| home.get(&app, "/").run()))
            .collect();
        asking.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let plain = Cgi::new(&app, &Request::get("/")).run();
    for output in outputs {
        assert_eq!(
            (output.code, output.text()),
            (3, plain.text()),
            "{output:#?}"
        );
        assert!(
            output
                .stderr
                .contains("No module named 'nothing_of_that_name'"),
            "{output:#?}"
        );
        assert!(output.stderr.contains("Traceback"), "{output:#?}");
    }
    let tried = home.log().matches("tried").count();
    assert!(tried <= 3, "{tried} times:\n{}", home.log());
    // Mended, it is served at once.
    put(&app, 7);
    assert_eq!(body(&home.get(&app, "/").run()), "7");
    home.end();
}

#[test]
fn what_cannot_have_a_responder_is_answered_as_without_one() {
    let (home, folder) = (Home::new(), TempDir::new().unwrap());
    let plain = |app: &Path| Cgi::new(app, &Request::get("/")).run();
    let missing = folder.path().join("none.py");
    let output = home.get(&missing, "/").run();
    assert_eq!(output.text(), plain(&missing).text());
    assert!(
        output.code == 3 && output.stderr.contains("none.py"),
        "{output:#?}"
    );
    let output = home
        .get(APP, "/")
        .option("--python")
        .option("/nothing/python3")
        .run();
    assert!(
        output.code == 3 && output.stderr.contains("/nothing/python3"),
        "{output:#?}"
    );
    home.end();
}

#[test]
fn they_are_shown_and_ended_by_name() {
    let (home, site) = (Home::new(), Site::new());
    let output = home.command_apart(&["ps"]);
    assert_eq!(
        (output.code, &*output.text()),
        (0, "no gateway and no persistent application runs\n")
    );
    for _ in 0..3 {
        body(&home.get(APP, "/").run());
    }
    body(&home.get(site.app(), "/").run());
    let row = home.wait_for("three requests", || {
        home.ps()
            .into_iter()
            .find(|row| row.application.ends_with(APP) && row.requests == 3)
    });
    assert_eq!(row.processes, 2);
    let several = home.command_apart(&["stop"]);
    assert_eq!(several.code, 2, "{several:#?}");
    assert!(
        several.stderr.contains("--all") && several.stderr.contains(APP),
        "{several:#?}"
    );
    let nobody = home.command_apart(&["stop", "of-this-name"]);
    assert!(
        nobody.code == 2 && nobody.stderr.contains("'of-this-name'"),
        "{nobody:#?}"
    );
    let one = home.command_apart(&["stop", "persistent"]);
    assert_eq!(one.code, 0, "{one:#?}");
    // Its files are closed a moment before it is gone.
    home.wait_for("its end", || (!is_alive(row.pid)).then_some(()));
    assert_eq!(home.only().application, site.app().to_str().unwrap());
    assert_eq!(home.command_apart(&["stop"]).code, 0);
    assert!(home.ps().is_empty());
    home.end();
}

/// The log that nobody looks after has an end.
#[test]
fn its_own_log_is_begun_anew() {
    let (home, folder) = (Home::new(), TempDir::new().unwrap());
    let app = folder.path().join("loud.py");
    fs::write(
        &app,
        "def application(environ, start_response):\n    for line in range(400):\n        print('x' * 1000)\n    \
         start_response('200 OK', [])\n    return [b'said']\n",
    )
    .unwrap();
    home.wait_for("the second log", || {
        body(&home.get(&app, "/").run());
        (!home.named(".log.1").is_empty()).then_some(())
    });
    home.end();
    // The log itself may be as large as the limit and one message more.
}
