//! Processes that die: workers, all of them in turn, and the master.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::client::{Connection, Request, fetch};
use crate::support::gateway::{DEADLINE, Gateway, READY};
use crate::support::load::Load;
use crate::support::process_table::{children, is_alive, send, title};
use crate::support::release::{Held, Release};

const SEGFAULT: &str = "ended: killed by signal SIGSEGV";

#[test]
fn the_log_says_what_a_worker_was_serving_when_it_died() {
    let release = Release::new("serves text");
    let gateway = release.start(1, &[]);
    let worker = gateway.worker();
    let held = Held::new(&gateway, "fifo");
    send(worker, Signal::SIGKILL);
    let line = gateway.wait_for_line(&[&format!("worker 1 (pid {worker})"), "ended: "]);
    let expected = [
        "killed by signal SIGKILL after ",
        " while serving GET /waits?",
    ];
    assert!(expected.iter().all(|words| line.contains(words)), "{line}");
    assert_eq!(held.release().response(1).end, None);
    let answer = fetch(gateway.socket(), &Request::get("/"));
    assert_eq!(answer.expect(200).text(), "text");
}

// ---- Applications that do not start

#[test]
fn an_application_that_cannot_be_imported_ends_the_first_start() {
    let release = Release::new("raises");
    for options in [&["--workers", "2"][..], &["--workers", "2", "--preload"]] {
        let exit = release.builder().args(options).run();
        assert_eq!(exit.code, 3, "{}", exit.log);
        assert!(exit.log.contains("Traceback"), "{}", exit.log);
        let message = "RuntimeError: this release is broken";
        assert!(exit.log.contains(message), "{}", exit.log);
        // Once: there is no second worker that would try as well.
        assert_eq!(exit.log.matches("Traceback").count(), 1, "{}", exit.log);
        assert!(!exit.log.contains("ready on "), "{}", exit.log);
    }
}

#[test]
fn an_application_that_crashes_at_import_ends_the_first_start() {
    let release = Release::new("segfaults");
    for options in [&["--workers", "2"][..], &["--workers", "2", "--preload"]] {
        let exit = release.builder().args(options).run();
        assert_eq!(exit.code, 3, "{}", exit.log);
        assert!(exit.log.contains("SIGSEGV"), "{}", exit.log);
    }
}

/// Something that only one of them can have: the others serve, and it is tried again.
#[test]
fn one_worker_that_cannot_start_does_not_end_the_others() {
    let release = Release::new("second-raises");
    let gateway = release.builder().args(["--workers", "2"]).start();
    gateway.wait_for_log("RuntimeError: this is not the first worker");
    fetch(gateway.socket(), &Request::get("/")).expect(200);
    gateway.wait_until_ready(2);
    assert_eq!(release.imports(), 3);
    assert_eq!(gateway.terminate().code, 0);
}

/// A deploy that is broken on disk, while the old code is in memory and one of its workers has died.
#[test]
fn a_worker_that_can_never_start_again_does_not_busy_the_machine() {
    let release = Release::new("serves text");
    let gateway = release.start(2, &[]);
    release.deploy("raises");
    let ((), tally) = Load::on(&gateway, "/")
        .on_new_connections()
        .clients(1)
        .pause(Duration::from_millis(5))
        .during(|load| {
            send(gateway.workers()[0], Signal::SIGKILL);
            gateway.wait_for_log("RuntimeError");
            let begun = Instant::now();
            // After 100, 200 and 400 ms.
            gateway.wait_for_log("the next is made in 800ms");
            assert!(begun.elapsed() > Duration::from_millis(600));
            load.wait_for_more(2);
        });
    assert!(tally.lost() <= 1, "{tally}");
    let log = gateway.log();
    let tries = log.matches("Traceback").count();
    assert!((2..=6).contains(&tries), "{tries}: {log}");
    release.deploy("serves text");
    gateway.wait_for_count(READY, 3);
    gateway.wait_for_workers(2);
}

#[test]
fn an_application_that_crashes_at_every_request_does_not_busy_the_machine() {
    let release = Release::new("serves text");
    let gateway = release.start(1, &[]);
    let begun = Instant::now();
    for _ in 0..5 {
        let mut connection = Connection::open(gateway.socket());
        let answer = connection.request(&Request::get("/segfaults?here"));
        assert_eq!(answer.end, None, "{answer:?}");
    }
    gateway.wait_for_count(SEGFAULT, 5);
    let log = gateway.log();
    // At once, then after 100, 200, 400 ms.
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(650), "{took:?}: {log}");
    assert!(log.contains("while serving GET /segfaults?here"), "{log}");
    // It serves whatever does not crash.
    let answer = fetch(gateway.socket(), &Request::get("/"));
    assert_eq!(answer.expect(200).text(), "text");
}

/// One URL that crashes now and then is no reason for the others to wait: its worker has answered before.
#[test]
fn a_worker_that_has_answered_is_replaced_at_once_however_often_one_dies() {
    let release = Release::new("serves text");
    let gateway = release.start(1, &[]);
    for turn in 1..=8 {
        fetch(gateway.socket(), &Request::get("/")).expect(200);
        let mut connection = Connection::open(gateway.socket());
        assert_eq!(connection.request(&Request::get("/segfaults")).end, None);
        gateway.wait_for_count(SEGFAULT, turn);
    }
    let begun = Instant::now();
    fetch(gateway.socket(), &Request::get("/")).expect(200);
    let log = gateway.log();
    assert!(!log.contains("one after another"), "{log}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{log}");
}

/// Nor is another worker that can never start.
#[test]
fn a_worker_that_has_answered_is_replaced_although_another_cannot_start() {
    let release = Release::new("serves text");
    let gateway = release.start(1, &["--log-level", "debug"]);
    release.deploy("raises");
    gateway.signal(Signal::SIGTTIN);
    gateway.wait_for_log("the next is made in 3.2s");
    release.deploy("serves mended");
    let worker = fetch(gateway.socket(), &Request::get("/pid"))
        .expect(200)
        .text();
    let log = gateway.log();
    send(worker.parse().unwrap(), Signal::SIGKILL);
    let begun = Instant::now();
    assert_eq!(
        fetch(gateway.socket(), &Request::get("/"))
            .expect(200)
            .text(),
        "mended"
    );
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}: {log}",
        begun.elapsed()
    );
}

// ---- What the system refuses

/// A worker needs more threads than its first, which had said that it was ready and then waited for nothing.
#[test]
fn a_worker_that_cannot_have_its_threads_ends() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("only root can be somebody who has no other processes");
        return;
    }
    let release = Release::new("serves text");
    let uid = 61_235;
    release.give_to(uid);
    let builder = release.builder();
    let folder = builder.folder();
    let source = crate::support::gateway::apps().join("released.py");
    fs::copy(source, folder.path().join("released.py")).unwrap();
    // Enough for master, worker, controller and watchdog.
    let exit = builder
        .cwd(folder.path())
        .uid(uid)
        .shell("exec prlimit --nproc=4:4 \"$@\"")
        .args(["--threads", "4"])
        .run();
    assert_eq!(exit.code, 1, "{}", exit.log);
    assert!(exit.log.contains("TasksMax="), "{}", exit.log);
    assert!(!exit.log.contains(READY), "{}", exit.log);
}

#[test]
fn a_worker_that_cannot_be_made_is_told_and_tried_again() {
    fork_fails(&[], |gateway| gateway.pid());
}

/// The same of the process that forks them then.
#[test]
fn a_worker_that_the_template_cannot_make_is_told_and_tried_again() {
    fork_fails(&["--preload"], |gateway| {
        let mut all = children(gateway.pid()).into_iter();
        all.find(|pid| title(*pid).starts_with("wsgi-gateway: template "))
            .expect("a template")
    });
}

/// The process that forks may not any more.
fn fork_fails(options: &[&str], forks: impl Fn(&Gateway) -> u32) {
    let release = Release::new("serves text");
    let mut builder = release.builder().args(options);
    // Root may make as many processes as it likes, so somebody else starts it then: nobody that is known here.
    if nix::unistd::geteuid().is_root() {
        let uid = 61_234;
        let source = crate::support::gateway::apps().join("released.py");
        fs::copy(source, builder.folder().path().join("released.py")).unwrap();
        release.give_to(uid);
        let folder = builder.folder();
        builder = builder.cwd(folder.path()).uid(uid);
    }
    let gateway = builder.start();
    let worker = gateway.wait_until_ready(1)[0];
    let forks = forks(&gateway);
    limit_processes(forks, "0");
    let begun = Instant::now();
    gateway.signal(Signal::SIGTTIN);
    let line = gateway.wait_for_line(&["a worker cannot be made"]);
    assert!(line.contains("ulimit -u"), "{line}");
    let answer = fetch(gateway.socket(), &Request::get("/pid"));
    assert_eq!(answer.expect(200).text(), worker.to_string());
    // Then the only one dies. Who comes now waits.
    send(worker, Signal::SIGKILL);
    gateway.wait_for_workers(0);
    let mut waiting = Connection::open(gateway.socket());
    waiting.write(&Request::get("/").bytes());
    let count = |log: &str| log.matches("a worker cannot be made").count();
    let tries = count(&gateway.log()) + 1;
    gateway.wait_for_count("a worker cannot be made", tries);
    // Two at once, also after the end of a worker that has answered, and then after 100, 200, 400 ms and so on.
    let took = begun.elapsed();
    let least = Duration::from_millis(80) * u32::try_from(tries.saturating_sub(3)).unwrap();
    assert!(took > least, "{tries} tries in {took:?}");
    assert!(waiting.is_quiet());
    limit_processes(forks, "1000");
    assert_eq!(waiting.response(1).expect(200).text(), "text");
    gateway.wait_for_workers(2);
    assert_eq!(gateway.terminate().code, 0);
}

/// Sets how many processes the user of that one may have.
fn limit_processes(pid: u32, most: &str) {
    // prlimit(1) as that user: root may be root without the capability to do it.
    let owner = fs::metadata(format!("/proc/{pid}")).unwrap();
    let set = Command::new("prlimit")
        .args(["--pid", &pid.to_string(), &format!("--nproc={most}:")])
        .uid(owner.uid())
        .gid(owner.gid())
        .status();
    assert!(set.unwrap().success());
}

#[test]
fn more_connections_than_open_files_are_told_and_survived() {
    let release = Release::new("serves text");
    let gateway = release.start(1, &["--max-open-files", "64"]);
    let worker = gateway.worker();
    let open: Vec<_> = (0..100)
        .map(|_| {
            let mut connection = Connection::open(gateway.socket());
            let request = Request::get("/").keep().bytes();
            connection.write(&request[..20]);
            connection
        })
        .collect();
    // What the worker does not have it does not promise; what it turns away it tells.
    let line = gateway.wait_for_line(&["--max-open-files", "64"]);
    assert!(line.contains("--max-connections"), "{line}");
    gateway.wait_for_log("all connections are in use");
    drop(open);
    gateway.wait_for("there is room again", || {
        let answer = fetch(gateway.socket(), &Request::get("/pid"));
        assert!([200, 503].contains(&answer.status), "{answer:?}");
        (answer.status == 200 && answer.text() == worker.to_string()).then_some(())
    });
    // The master is not short of any: it can still do its work.
    assert!(gateway.reload());
    assert_eq!(gateway.terminate().code, 0);
}

/// It is true of every worker and was known before there was one.
#[test]
fn what_the_limit_of_open_files_does_is_said_once() {
    let release = Release::new("serves text");
    let line = "ulimit -n 64; exec \"$@\"";
    for (options, shell) in [(&["--max-open-files", "64"][..], None), (&[], Some(line))] {
        let mut builder = release.builder().args(["--workers", "3"]).args(options);
        if let Some(line) = shell {
            builder = builder.shell(line);
        }
        let gateway = builder.start();
        let workers = gateway.wait_until_ready(3);
        send(workers[0], Signal::SIGKILL);
        gateway.wait_for_count(READY, 4);
        assert!(gateway.reload());
        gateway.wait_for_count(READY, 7);
        for worker in gateway.workers() {
            let limits = fs::read_to_string(format!("/proc/{worker}/limits")).unwrap_or_default();
            let mut files = limits.lines().filter(|line| line.contains("open files"));
            assert!(files.all(|line| line.contains(" 64 ")), "{limits}");
        }
        let log = gateway.terminate().log;
        let told: Vec<&str> = log
            .lines()
            .filter(|line| line.contains("open files"))
            .collect();
        assert_eq!(told.len(), 1, "{told:#?}");
        assert!(told[0].contains("--max-connections"), "{told:#?}");
    }
}

/// Somebody cleans up in /run. Web servers get "no such file" until it is there again.
#[test]
fn a_socket_that_was_removed_by_hand_is_made_anew() {
    let release = Release::new("serves text");
    let gateway = release.start(2, &[]);
    let held = Held::new(&gateway, "fifo");
    let mut kept = Connection::open(gateway.socket());
    kept.request(&Request::get("/").keep()).expect(200);
    fs::remove_file(gateway.socket()).unwrap();
    gateway.wait_for_log("somebody has removed or replaced the socket");
    gateway.wait_for("the socket", || gateway.socket().exists().then_some(()));
    let tally = Load::on(&gateway, "/").requests(100).run();
    tally.expect_none_lost();
    kept.request(&Request::get("/").keep()).expect(200);
    assert_eq!(held.finish(), "text");
    let socket = gateway.socket().to_owned();
    assert_eq!(gateway.terminate().code, 0);
    assert!(
        !socket.exists(),
        "the new one is removed as the first would have been"
    );
}

// ---- The master

/// Nobody is left to look after them, and the sockets would stay taken. Gives how long the last one took.
#[track_caller]
fn die_with_the_master(gateway: Gateway, processes: usize) {
    let all = gateway.wait_for("all processes", || {
        let mut all = children(gateway.pid());
        all.retain(|pid| title(*pid).starts_with("wsgi-gateway: "));
        Some(all).filter(|all| all.len() >= processes)
    });
    let begun = Instant::now();
    send(gateway.pid(), Signal::SIGKILL);
    while all.iter().any(|pid| is_alive(*pid)) {
        assert!(begun.elapsed() < DEADLINE, "{all:?} live on");
        thread::sleep(Duration::from_millis(2));
    }
    let took = begun.elapsed();
    eprintln!("{} processes ended within {took:?}", all.len());
    // They give themselves less than half of it; the rest is for a machine that has other things to do.
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn no_worker_outlives_a_killed_master() {
    let release = Release::new("serves text");
    let gateway = release.start(3, &[]);
    let _held = Held::new(&gateway, "fifo");
    die_with_the_master(gateway, 3);
}

#[test]
fn no_template_outlives_a_killed_master() {
    let release = Release::new("serves text");
    let gateway = release.start(2, &["--preload"]);
    let _held = Held::new(&gateway, "fifo");
    die_with_the_master(gateway, 3);
}

#[test]
fn no_worker_that_is_stuck_outlives_a_killed_master() {
    for path in ["/sleeps", "/keeps_the_lock_of_python", "/sleeps_in_c"] {
        let gateway = Gateway::start("stuck.py", &["--threads", "2"]);
        gateway.wait_until_ready(1);
        let mut stuck = Connection::open(gateway.socket());
        stuck.write(&Request::get(path).bytes());
        crate::support::client::wait_until_read(&stuck);
        die_with_the_master(gateway, 1);
    }
}

/// More of them than there are processors, and all of them at work.
#[test]
fn no_busy_worker_outlives_a_killed_master() {
    let gateway = Gateway::start("stuck.py", &["--workers", "4"]);
    gateway.wait_until_ready(4);
    let stuck = ["/spins", "/keeps_the_lock_of_python"].iter().cycle();
    let stuck = stuck.take(4).map(|path| {
        let mut stuck = Connection::open(gateway.socket());
        stuck.write(&Request::get(path).bytes());
        crate::support::client::wait_until_read(&stuck);
        stuck
    });
    let _stuck: Vec<_> = stuck.collect();
    die_with_the_master(gateway, 4);
}

/// Nobody looks after deadlines any more either: their stacks would take longer than the worker may.
#[test]
fn a_deadline_does_not_keep_a_worker_from_following_its_master() {
    let options = ["--workers", "2", "--request-timeout", "1s"];
    let gateway = Gateway::start("stuck.py", &options);
    gateway.wait_until_ready(2);
    let mut stuck = Connection::open(gateway.socket());
    stuck.write(&Request::get("/keeps_the_lock_of_python").bytes());
    crate::support::client::wait_until_read(&stuck);
    thread::sleep(Duration::from_millis(800));
    die_with_the_master(gateway, 2);
}

/// A process that changes its user forgets what the kernel was to do for it when its parent dies.
#[test]
fn no_import_of_another_user_outlives_a_killed_master() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not root: nobody can become another user");
        return;
    }
    let release = Release::new("hangs");
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    release.give_to(nobody.uid.as_raw());
    let builder = release.builder();
    let folder = builder.folder();
    let source = crate::support::gateway::apps().join("released.py");
    fs::copy(source, folder.path().join("released.py")).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let builder = builder.cwd(folder.path()).arg("--preload");
    let gateway = builder.args(["--user", "nobody"]).start();
    die_with_the_master(gateway, 1);
}

#[test]
fn no_import_outlives_a_killed_master() {
    let release = Release::new("hangs");
    for options in [&["--workers", "1"][..], &["--preload"]] {
        let gateway = release.builder().args(options).start();
        die_with_the_master(gateway, 1);
    }
}
