//! What operators and init systems do with the process: signals, a PID file, users, and other people's children.

use std::fs;
use std::net::TcpStream;
use std::process::Command;
use std::thread;

use nix::sys::signal::Signal;

use crate::support::client::{Connection, Request, fetch};
use crate::support::gateway::{Builder, Fifo, Gateway};
use crate::support::load::Load;
use crate::support::process_table::{children, is_alive, send, status, zombies};
use crate::support::release::{Held, Release};

/// Whatever the application was called for has been answered, and whoever was let in.
#[test]
fn sigterm_under_load_loses_nothing_that_was_accepted() {
    for options in [&["--threads", "1"], &["--threads", "4"]] {
        let release = Release::new("serves text");
        let gateway = release.start(2, options);
        let load = Load::on(&gateway, "/").until_refused();
        let ((), tally) = load.during(|load| {
            load.wait_for_more(20);
            gateway.signal(Signal::SIGTERM);
            gateway.wait_for("the end of the workers", || {
                gateway.workers().is_empty().then_some(())
            });
        });
        eprintln!("{tally}");
        assert!(tally.failed.is_empty(), "{tally}");
        // Each of them only found out that it is over.
        assert_eq!(tally.unanswered + tally.refused, 8, "{tally}");
        assert_eq!(release.requests(), tally.served as u64, "{tally}");
        let exit = gateway.wait();
        assert_eq!(exit.code, 0, "{}", exit.log);
        assert!(exit.log.contains("told to end"), "{}", exit.log);
    }
}

#[test]
fn sigterm_waits_for_a_request_and_for_no_idle_connection() {
    let release = Release::new("serves text");
    let gateway = release.start(2, &[]);
    let mut idle: Vec<_> = (0..6).map(|_| Connection::open(gateway.socket())).collect();
    for connection in &mut idle {
        connection.request(&Request::get("/").keep()).expect(200);
    }
    let held = Held::new(&gateway, "fifo");
    gateway.signal(Signal::SIGTERM);
    // The other worker has nothing to finish.
    gateway.wait_for_workers(1);
    assert_eq!(held.finish(), "text");
    for connection in &mut idle {
        assert_eq!(connection.read_to_eof(), b"");
    }
    assert_eq!(gateway.wait().code, 0);
}

/// A balancer's check finds the port closed while requests are still running, also in a worker that has no thread left to close it.
/// Who had connected before is answered.
#[test]
fn sigterm_closes_the_port_before_the_requests_have_ended() {
    let release = Release::new("serves text");
    for workers in ["1", "2"] {
        let builder = release.builder().args(["--workers", workers]).bind_tcp();
        let gateway = builder.start();
        let address = gateway.address();
        let held: Vec<_> = ["a", "b"][..workers.parse().unwrap()]
            .iter()
            .map(|name| Held::on(Connection::tcp(address), &gateway, name))
            .collect();
        let mut early = Connection::tcp(address);
        early.write(&Request::get("/").bytes());
        gateway.signal(Signal::SIGTERM);
        gateway.wait_for("a closed port", || TcpStream::connect(address).err());
        for held in held {
            assert_eq!(held.finish(), "text");
        }
        early.response(1).expect(200);
        assert_eq!(gateway.wait().code, 0);
    }
}

/// A port has no name to take away first: who connects at the last moment must not be let in to be reset.
#[test]
fn sigterm_refuses_or_answers_who_connects_by_tcp() {
    let release = Release::new("serves text");
    for _ in 0..4 {
        let builder = release.builder().args(["--workers", "2"]).bind_tcp();
        let gateway = builder.start();
        let address = gateway.address();
        let ask_until_refused = || {
            while let Ok(stream) = TcpStream::connect(address) {
                let answer = Connection::over_tcp(stream).request(&Request::get("/"));
                assert_eq!((answer.status, answer.reset), (200, false), "{answer:?}");
            }
        };
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(ask_until_refused);
            }
            gateway.wait_for("some requests", || (release.requests() > 50).then_some(()));
            gateway.signal(Signal::SIGTERM);
        });
        assert_eq!(gateway.wait().code, 0);
        release.forget_requests();
    }
}

#[test]
fn sigint_and_sigquit_end_at_once() {
    for signal in [Signal::SIGINT, Signal::SIGQUIT] {
        let release = Release::new("serves text");
        let gateway = release.start(2, &["--preload"]);
        let held = Held::new(&gateway, "fifo");
        let processes = children(gateway.pid());
        gateway.signal(signal);
        let socket = gateway.socket().to_owned();
        // Would wait for the request in vain.
        let exit = gateway.wait();
        assert_eq!(exit.code, 0, "{}", exit.log);
        assert!(!socket.exists());
        assert_eq!(held.release().response(1).end, None);
        assert!(!processes.iter().any(|pid| is_alive(*pid)), "{processes:?}");
    }
}

/// systemd's default KillMode, and pkill: all processes of the gateway get the signal, the master the last.
fn send_to_all(gateway: &Gateway, signal: Signal) {
    for worker in gateway.workers() {
        send(worker, signal);
    }
    gateway.signal(signal);
}

#[test]
fn sigterm_to_all_processes_loses_nothing_that_was_accepted() {
    let release = Release::new("serves text");
    let gateway = release.start(2, &[]);
    // So slow that there is always somebody who waits to be let in.
    let load = Load::on(&gateway, "/sleeps?0.02").on_new_connections();
    let load = load.until_refused();
    let ((), tally) = load.during(|load| {
        load.wait_for_more(20);
        send_to_all(&gateway, Signal::SIGTERM);
        gateway.wait_for("the end of the workers", || {
            gateway.workers().is_empty().then_some(())
        });
    });
    eprintln!("{tally}");
    assert!(tally.failed.is_empty(), "{tally}");
    // Whoever was let in has been answered: a connect that comes later finds no socket.
    assert_eq!((tally.unanswered, tally.refused), (0, 8), "{tally}");
    assert_eq!(gateway.wait().code, 0);
}

/// A hang-up and the like are for the master, and no worker's or template's death.
#[test]
fn what_is_for_the_master_passes_the_others_by() {
    for option in ["--max-requests-jitter=0", "--preload"] {
        let release = Release::new("serves text");
        let gateway = release.start(2, &[option]);
        let ((), tally) = Load::on(&gateway, "/").during(|load| {
            for child in children(gateway.pid()) {
                for signal in [
                    Signal::SIGTTIN,
                    Signal::SIGTTOU,
                    Signal::SIGHUP,
                    Signal::SIGUSR1,
                    Signal::SIGUSR2,
                ] {
                    send(child, signal);
                }
            }
            assert!(gateway.reload());
            load.wait_for_more(20);
        });
        tally.expect_none_lost();
        let log = gateway.terminate().log;
        assert!(!log.contains("killed by signal"), "{log}");
    }
}

/// Other servers make a new master on it: who sends it by habit ends nothing here, in no process and at no time.
#[test]
fn sigusr2_means_nothing() {
    let release = Release::new("serves text");
    for option in ["--max-requests-jitter=0", "--preload"] {
        let gateway = release.start(1, &[option]);
        for _ in 0..1000 {
            gateway.signal(Signal::SIGUSR2);
        }
        gateway.wait_for_line(&["SIGUSR2", "info: ", "ignored"]);
        send(gateway.worker(), Signal::SIGUSR2);
        gateway.wait_for_line(&["worker 1: SIGUSR2"]);
        assert!(gateway.reload());
        let exit = gateway.terminate();
        assert_eq!(exit.code, 0, "{}", exit.log);
        let told = exit.log.matches("SIGUSR2").count();
        assert!(told < 10, "{told} times: {}", exit.log);
    }
}

/// Whoever starts it has blocked or ignored what he likes, and so has the application as its import.
#[test]
fn no_process_begins_with_what_another_has_blocked_or_ignored() {
    const LINE: &str = r#"exec /usr/bin/python3 -c '
import os, signal, sys
every = set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}
terminal = {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
for number in every - terminal - {signal.SIGPIPE, signal.SIGXFSZ}:
    signal.signal(number, signal.SIG_IGN)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_BLOCK, every)
os.execv(sys.argv[1], sys.argv[1:])' "$@""#;
    // Without the two that are the C library's own.
    let mask = |pid, field: &str| {
        let mask = status(pid, field).unwrap();
        u64::from_str_radix(&mask, 16).unwrap() & !(0b11 << 31)
    };
    let bit = |signal: Signal| 1u64 << (signal as u32 - 1);
    let as_python = bit(Signal::SIGPIPE) | bit(Signal::SIGXFSZ);
    for option in ["--max-requests-jitter=0", "--preload"] {
        let builder = Gateway::builder("blocking.py").shell(LINE);
        let gateway = builder.args(["--workers", "2", option]).start();
        gateway.wait_until_ready(2);
        let processes = children(gateway.pid()).into_iter().chain([gateway.pid()]);
        for pid in processes {
            let name = crate::support::process_table::title(pid);
            assert_eq!(mask(pid, "SigIgn"), as_python, "{option} {name}");
            // The application has blocked this one, in the process where it was imported.
            let imported = option != "--preload" && name.contains("worker");
            if imported || name.contains("template") {
                assert_eq!(mask(pid, "SigBlk"), bit(Signal::SIGALRM), "{option} {name}");
            } else {
                assert_eq!(mask(pid, "SigBlk"), 0, "{option} {name}");
            }
        }
        assert_eq!(gateway.terminate().code, 0);
    }
}

/// The master has no use for a second word; the impatient have SIGINT.
#[test]
fn sigint_cuts_short_a_graceful_end() {
    let release = Release::new("serves text");
    let gateway = release.start(1, &[]);
    let _held = Held::new(&gateway, "fifo");
    gateway.signal(Signal::SIGTERM);
    gateway.wait_for_log("told to end");
    gateway.signal(Signal::SIGINT);
    gateway.wait();
}

#[test]
fn sigterm_ends_a_reload_that_is_going_on() {
    let release = Release::new("serves text");
    let gateway = release.start(1, &[]);
    release.deploy("hangs");
    gateway.signal(Signal::SIGHUP);
    gateway.wait_for_log("reload: begun");
    let exit = gateway.terminate();
    assert_eq!(exit.code, 0, "{}", exit.log);
}

// ---- Orphans

/// The parent of an application's forgotten children is the master, as PID 1 of a container or otherwise.
#[test]
fn orphans_of_the_application_are_reaped() {
    let gateway = Gateway::start("household.py", &[]);
    gateway.wait_until_ready(1);
    let fifo = Fifo::new(gateway.folder(), "orphan");
    let path = format!("/orphan?{}", fifo.path());
    let answer = fetch(gateway.socket(), &Request::get(&path));
    assert_eq!(answer.expect(200).text(), "orphaned");
    let file = gateway.folder().join("orphan.ready");
    let orphan = gateway.wait_for("the orphan", || fs::read_to_string(&file).ok());
    let orphan: u32 = orphan.parse().unwrap();
    assert!(children(gateway.pid()).contains(&orphan));
    fifo.release(b"");
    gateway.wait_for("the orphan is buried", || {
        status(orphan, "State").is_none().then_some(())
    });
    assert_eq!(zombies(gateway.pid()), [0; 0]);
    gateway.wait_for_workers(1);
    assert_eq!(gateway.terminate().code, 0);
}

/// As the first process of a PID namespace, which is what a container is.
#[test]
fn pid_1_of_a_container_serves_and_ends_on_sigterm() {
    let may = |options: &[&str]| {
        let probe = Command::new("unshare").args(options).arg("true").status();
        probe.is_ok_and(|status| status.success())
    };
    if !may(&["--pid", "--fork"]) {
        eprintln!("skipped: this user may not make a PID namespace");
        return;
    }
    // unshare is what the test knows by its id; with --kill-child it takes the container along. In a chroot the container cannot
    // have a /proc of its own.
    let line = if may(&["--pid", "--fork", "--mount-proc"]) {
        r#"exec unshare --pid --fork --kill-child --mount-proc "$@""#
    } else {
        r#"exec unshare --pid --fork --kill-child "$@""#
    };
    let gateway = Gateway::builder("household.py").shell(line).start();
    gateway.wait_for_log("ready on ");
    gateway.wait_for_log("wsgi-gateway[1]");
    fetch(gateway.socket(), &Request::get("/pid")).expect(200);
    let init = children(gateway.pid())[0];
    let worker = children(init);
    send(init, Signal::SIGTERM);
    gateway.wait_for_log("told to end");
    let exit = gateway.wait();
    assert_eq!(exit.code, 0, "{}", exit.log);
    assert!(!worker.iter().any(|pid| is_alive(*pid)));
}

// ---- What the processes are

#[test]
fn a_pid_file_is_there_for_as_long_as_the_master() {
    let builder = Gateway::builder("hello");
    let path = builder.folder().path().join("gateway.pid");
    // Of one that was killed.
    fs::write(&path, "999999999\n").unwrap();
    let gateway = builder.arg("--pid").arg(&path).start();
    gateway.wait_until_ready(1);
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.trim(), gateway.pid().to_string());
    let folder = gateway.folder().to_owned();
    gateway.signal(Signal::SIGTERM);
    gateway.wait_for("the end", || gateway.workers().is_empty().then_some(()));
    gateway.wait_for("no PID file", || (!path.exists()).then_some(()));
    assert!(folder.exists());
    assert_eq!(gateway.wait().code, 0);
}

#[test]
fn a_pid_file_that_cannot_be_written_is_told() {
    let exit = Gateway::builder("hello")
        .args(["--pid", "/nonexistent/gateway.pid"])
        .run();
    assert_eq!(exit.code, 2, "{}", exit.log);
    assert!(
        exit.log.contains("/nonexistent/gateway.pid"),
        "{}",
        exit.log
    );
}

#[test]
fn workers_have_the_umask_they_are_given() {
    let gateway = Gateway::start("household.py", &["--umask", "027"]);
    let answer = fetch(gateway.socket(), &Request::get("/describes"));
    let text = answer.expect(200).text();
    assert!(text.contains("umask 027"), "{text}");
}

#[test]
fn workers_are_who_they_are_told_to_be() {
    if !nix::unistd::geteuid().is_root() {
        let gateway = Gateway::builder("household.py").args(["--user", "root"]);
        let exit = gateway.run();
        assert_eq!(exit.code, 1, "{}", exit.log);
        assert!(exit.log.contains("root"), "{}", exit.log);
        return;
    }
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    for (options, preload) in [(&["--workers", "1"][..], false), (&["--preload"], true)] {
        // They must get at the application, wherever this source tree is.
        let builder = Gateway::builder("household.py");
        let folder = builder.folder();
        let source = crate::support::gateway::apps().join("household.py");
        fs::copy(source, folder.path().join("household.py")).unwrap();
        let builder = builder.cwd(folder.path()).shell("chmod 755 .; exec \"$@\"");
        let options = options
            .iter()
            .chain(&["--user", "nobody", "--group", "nogroup"]);
        let gateway = builder.args(options).start();
        let worker = gateway.wait_until_ready(1)[0];
        let answer = fetch(gateway.socket(), &Request::get("/describes"));
        let text = answer.expect(200).text();
        let group = nix::unistd::Group::from_name("nogroup").unwrap().unwrap();
        let expected = format!("uid {} gid {} ", nobody.uid, group.gid);
        assert!(text.starts_with(&expected), "{text}, --preload {preload}");
        // None of root's other groups.
        assert!(!text.contains("groups [0"), "{text}");
        let uids = status(worker, "Uid").unwrap();
        assert!(
            uids.split_whitespace()
                .all(|uid| uid == nobody.uid.to_string()),
            "{uids}"
        );
        assert!(!gateway.log().contains("as root"), "{}", gateway.log());
        assert!(gateway.reload());
    }
}

/// A builder of `household.py`, from a folder where every user gets at it.
fn household() -> Builder {
    let builder = Gateway::builder("household.py");
    let folder = builder.folder();
    let source = crate::support::gateway::apps().join("household.py");
    fs::copy(source, folder.path().join("household.py")).unwrap();
    let builder = builder.cwd(folder.path());
    builder.shell("chmod 755 .; exec \"$@\"")
}

#[track_caller]
fn page(gateway: &Gateway, path: &str) -> String {
    fetch(gateway.socket(), &Request::get(path))
        .expect(200)
        .text()
}

/// A number that no user and no group has.
const NUMBER: &str = "12345";

/// What libraries look at for their files and for who they are.
#[test]
fn workers_have_the_environment_of_their_user() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: this user is not root");
        return;
    }
    let user = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let (home, shell) = (user.dir.display(), user.shell.display());
    let nobody =
        format!("HOME={home} USER=nobody LOGNAME=nobody SHELL={shell} USERNAME=None ~={home}");
    let number = "HOME=/ USER=None LOGNAME=None SHELL=/bin/sh USERNAME=None ~=/".to_owned();
    let root = "HOME=/root USER=root LOGNAME=root SHELL=/bin/zsh USERNAME=root ~=/root".to_owned();
    for (words, expected) in [
        (&["--user", "nobody"][..], nobody),
        (&["--user", NUMBER], number),
        (&["--group", "nogroup"], root),
    ] {
        for option in ["--max-requests-jitter=0", "--preload"] {
            let mut builder = household().args(words).arg(option);
            for name in ["USER", "LOGNAME", "USERNAME"] {
                builder = builder.env(name, "root");
            }
            let builder = builder.env("HOME", "/root").env("SHELL", "/bin/zsh");
            let gateway = builder.start();
            assert_eq!(
                page(&gateway, "/environment"),
                expected,
                "{words:?} {option}"
            );
            // And what it writes to is the user's.
            assert_eq!(
                page(&gateway, "/opens?word"),
                "written",
                "{words:?} {option}"
            );
            for name in ["/dev/stdout", "/dev/stderr"] {
                gateway.wait_for_log(&format!("worker 1: word by {name}\n"));
            }
        }
    }
}

/// As in a container: a number is a user, also where the process is that user already.
#[test]
fn a_user_may_be_a_number_that_is_nobody_s() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: this user is not root");
        return;
    }
    let described = |gateway: &Gateway| page(gateway, "/describes");
    let gateway = household().args(["--user", NUMBER]).start();
    let text = described(&gateway);
    assert!(
        text.starts_with("uid 12345 gid 12345 groups [12345]"),
        "{text}"
    );
    let gateway = household()
        .args(["--user", NUMBER, "--group", "54321"])
        .start();
    let text = described(&gateway);
    assert!(
        text.starts_with("uid 12345 gid 54321 groups [54321]"),
        "{text}"
    );
    for group in [&[][..], &["--group", NUMBER]] {
        let builder = household().uid(12345).args(["--user", NUMBER]);
        let text = described(&builder.args(group).start());
        assert!(text.starts_with("uid 12345 gid 12345 "), "{text}");
    }
    for option in ["--user", "--group", "--socket-user", "--socket-group"] {
        let exit = household().args([option, "4294967295"]).run();
        assert_ne!(exit.code, 0, "{option}");
        assert!(exit.log.contains("'4294967295'"), "{option}: {}", exit.log);
    }
    // The group of this number is somebody's.
    let group = nix::unistd::Group::from_name("utmp").unwrap().unwrap();
    let number = group.gid.to_string();
    let is_user = nix::unistd::User::from_uid(group.gid.as_raw().into())
        .unwrap()
        .is_some();
    if !is_user {
        let exit = household().args(["--user", &number]).run();
        assert_ne!(exit.code, 0);
        assert!(
            exit.log.contains("name the group with --group"),
            "{}",
            exit.log
        );
    }
}

/// Else psutil and the like fail in it, and whoever looks from outside as the same user.
#[test]
fn a_worker_s_proc_self_is_its_user_s() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: this user is not root");
        return;
    }
    for words in [&["--user", "nobody"][..], &["--group", "nogroup"]] {
        for option in ["--max-requests-jitter=0", "--preload"] {
            let gateway = household().args(words).arg(option).start();
            for name in ["io", "auxv", "environ"] {
                let text = page(&gateway, &format!("/reads?{name}"));
                assert!(
                    !text.contains("denied"),
                    "{words:?} {option} {name}: {text}"
                );
            }
        }
    }
}

/// Setuid programs such as sendmail work, unless the operator will not have it.
#[test]
fn privileges_are_given_up_for_good_only_where_asked() {
    for (words, expected) in [(&[][..], "0"), (&["--no-new-privileges"], "1")] {
        for option in ["--max-requests-jitter=0", "--preload"] {
            let gateway = household().args(words).arg(option).start();
            let text = page(&gateway, "/reads?status");
            let line = format!("NoNewPrivs:\t{expected}\n");
            assert!(text.contains(&line), "{words:?} {option}: {text}");
        }
    }
}

#[test]
fn an_unknown_user_is_named() {
    for option in ["--user", "--group"] {
        let exit = Gateway::builder("hello")
            .args([option, "no-such-one"])
            .run();
        assert_ne!(exit.code, 0);
        assert!(exit.log.contains("no-such-one"), "{}", exit.log);
        assert!(!exit.log.contains("ready on "), "{}", exit.log);
    }
}

#[test]
fn serving_as_root_is_a_warning() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: this user is not root");
        return;
    }
    let gateway = Gateway::start("hello", &[]);
    gateway.wait_until_ready(1);
    let line = gateway.wait_for_line(&["root", "--user"]);
    assert!(line.contains("warn"), "{line}");
}
