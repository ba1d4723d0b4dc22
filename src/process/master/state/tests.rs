//! The state, driven by a clock that stands still until told: lives of a master, act by act.

mod askers;
mod hostile;
mod random;
mod reloads;
mod world;

use std::time::{Duration, Instant};

use super::super::reaction::{ChildId, Died, ListenersFound, MasterEvent};
use super::super::{Ending, Plan};
use super::worker::LAST_WORDS;
use crate::process::messages::ChildMessage;
use crate::process::signals::Signal;
use nix::sys::signal::Signal as Death;
use world::{Manner, World, plan, seconds};

const W1: ChildId = ChildId::Worker(1);
const W2: ChildId = ChildId::Worker(2);
const W3: ChildId = ChildId::Worker(3);
const KILLED: Died = Died::Killed(Death::SIGKILL);

fn preload(workers: usize) -> Plan {
    Plan {
        preload: true,
        ..plan(workers, workers)
    }
}

#[test]
fn the_first_worker_shows_that_the_code_loads_and_the_others_follow() {
    let mut world = World::new(&plan(4, 4));
    assert_eq!(world.acts(), ["start worker 1"]);
    world.all_ready();
    assert_eq!(
        world.acts(),
        ["ready", "tell READY", "start worker 2", "start worker 3"]
    );
    // Two at a time: importing is work for the processor.
    world.ready(W2);
    world.settle();
    assert_eq!(world.acts(), ["start worker 4"]);
    world.all_ready();
    world.pass(seconds(3600.0));
    assert_eq!(world.acts(), Vec::<String>::new());
}

#[test]
fn a_first_start_that_fails_ends_the_gateway() {
    for (died, ending) in [
        (Died::Exited(3), Ending::CannotLoad),
        (Died::NeverBegan(0), Ending::CannotLoad),
        (KILLED, Ending::CannotLoad),
        // The application's doing: what is the gateway's own has said why.
        (Died::Exited(0), Ending::CannotLoad),
        (Died::Exited(4), Ending::CannotLoad),
    ] {
        let mut world = World::new(&plan(2, 2));
        world.exit(W1, died);
        world.settle();
        assert_eq!(world.acts(), ["start worker 1", "refuse new"]);
        assert_eq!(world.ended, Some(ending));
    }
    for (code, ending) in [
        (1, Ending::Failed(1)),
        (2, Ending::Failed(2)),
        (3, Ending::CannotLoad),
    ] {
        let mut world = World::new(&plan(1, 1));
        world.say(W1, ChildMessage::CannotLoad("why".to_owned()));
        world.exit(W1, Died::Exited(code));
        world.settle();
        assert_eq!(world.ended, Some(ending));
    }
    // Whatever words it has for that.
    let mut world = World::new(&plan(1, 1));
    world.say(W1, ChildMessage::Leaving("--startup-timeout".to_owned()));
    world.exit(W1, Died::Exited(4));
    world.settle();
    assert_eq!(world.ended, Some(Ending::Failed(4)));
    // Who waits is told so before the end.
    let mut world = World::new(&plan(2, 2));
    world.waits = true;
    world.exit(W1, Died::Exited(3));
    world.settle();
    assert_eq!(
        world.acts(),
        ["start worker 1", "refuse new", "start fallback 1"]
    );
    world.ready(W1);
    world.settle();
    assert_eq!(world.acts(), ["finish 1"]);
    assert_eq!(world.ended, Some(Ending::CannotLoad));
}

#[test]
fn a_first_start_that_hangs_is_told_to_write_its_stacks_and_ends() {
    let mut world = World::new(&plan(1, 1));
    world.pass(seconds(29.9));
    assert_eq!(world.acts(), ["start worker 1"]);
    world.pass(seconds(0.1));
    assert_eq!(world.acts(), ["abort 1", "refuse new"]);
    assert_eq!(world.ended, Some(Ending::CannotLoad));
    let mut world = World::new(&preload(1));
    world.pass(seconds(30.0));
    assert_eq!(world.acts(), ["start template 1", "stacks"]);
    // Who waits is answered as at the end, and not as if workers were to come.
    world.waits = true;
    world.now += seconds(0.5);
    world.tick();
    assert!(!world.has_done("requests wait"));
    world.settle();
    assert_eq!(
        world.acts(),
        ["kill template 1", "refuse new", "start fallback 1"]
    );
    let mut world = World::new(&preload(1));
    world.pass(seconds(30.0));
    world.done.clear();
    world.pass(seconds(0.5));
    assert_eq!(world.acts(), ["kill template 1", "refuse new"]);
    assert_eq!(world.ended, Some(Ending::CannotLoad));
}

/// What kills it is its first request, and not the code.
#[test]
fn a_worker_that_dies_as_soon_as_it_is_ready_has_started_well() {
    let mut world = World::new(&plan(1, 1));
    world.say(W1, ChildMessage::Ready);
    world.exit(W1, KILLED);
    world.settle();
    assert_eq!(world.ended, None);
    assert_eq!(world.numbers(), [1]);
}

/// Where nobody looks after the gateway: it ends when it has had nothing to do, and its first failure is shown for a while.
#[test]
fn one_that_lives_by_itself_ends_by_itself() {
    let wanted = Plan {
        ends_when_idle: true,
        failure_shown: Some(seconds(1.0)),
        idle_timeout: seconds(60.0),
        ..plan(1, 2)
    };
    let mut world = World::serving(&wanted, 1);
    world.pass(seconds(59.0));
    assert_eq!(world.ended, None);
    world.pass(seconds(2.0));
    world.exit(W1, Died::Exited(0));
    world.settle();
    assert_eq!(world.ended, Some(Ending::Finished));

    let mut world = World::serving(&wanted, 1);
    world.found.is_superseded = true;
    world.pass(seconds(5.0));
    assert!(world.acts().contains(&"refuse new".to_owned()));

    let mut world = World::new(&wanted);
    world.waits = true;
    world.say(W1, ChildMessage::CannotLoad("no module".to_owned()));
    world.exit(W1, Died::Exited(3));
    world.settle();
    // Who comes is told, and finds the socket.
    assert!(world.acts().contains(&"start fallback 1".to_owned()));
    assert!(!world.acts().contains(&"refuse new".to_owned()));
    world.pass(seconds(1.5));
    assert!(world.acts().contains(&"refuse new".to_owned()));
}

#[test]
fn crashes_are_answered_later_and_later_until_one_serves_well() {
    let mut world = World::serving(&plan(1, 1), 1);
    let mut delays = Vec::new();
    for _ in 0..10 {
        world.exit(W1, Died::Exited(1));
        let died = world.now;
        world.settle();
        while world.alive.is_empty() {
            world.now = world.state.next_deadline();
            world.settle();
        }
        delays.push((world.now - died).as_millis());
    }
    assert_eq!(delays[..5], [0, 100, 200, 400, 800]);
    assert_eq!(delays[8..], [10_000, 10_000]);
    // It was not in vain to make one that has answered something.
    world.all_ready();
    world.figures.get_mut(&1).unwrap().requests = 1;
    world.exit(W1, Died::Exited(1));
    world.settle();
    assert_eq!(world.numbers(), [1]);
    world.all_ready();
    world.pass(seconds(10.0));
    world.exit(W1, Died::Exited(1));
    world.settle();
    assert_eq!(world.numbers(), [1]);
}

#[test]
fn what_cannot_be_made_is_tried_again_and_told_once_for_each_try() {
    let mut world = World::serving(&plan(3, 3), 3);
    world.can_start = false;
    world.exit(W1, KILLED);
    world.exit(W2, KILLED);
    world.settle();
    world.done.clear();
    world.pass(seconds(1.0));
    let tried = world
        .done
        .iter()
        .filter(|done| done.starts_with("a worker cannot be made"));
    assert!((2..6).contains(&tried.count()));
    world.can_start = true;
    world.pass(seconds(10.0));
    assert_eq!(world.numbers(), [1, 2, 3]);
}

#[test]
fn a_static_pool_has_its_size_and_follows_the_operator() {
    let mut world = World::serving(&plan(2, 2), 2);
    world.busy(1);
    world.busy(2);
    world.waits = true;
    world.say(W1, ChildMessage::Full);
    world.pass(seconds(60.0));
    assert_eq!(world.numbers(), [1, 2]);
    world.signal(Signal::More);
    world.all_ready();
    assert_eq!(world.numbers(), [1, 2, 3]);
    for _ in 0..5 {
        world.signal(Signal::Fewer);
    }
    assert_eq!(world.numbers().len(), 1);
    // The busy stay, and the idle go first.
    assert_ne!(world.numbers(), [3]);
}

#[test]
fn a_pool_on_demand_is_empty_until_somebody_comes() {
    let mut world = World::new(&plan(0, 8));
    assert_eq!(world.acts(), ["ready", "tell READY"]);
    world.pass(seconds(100.0));
    assert!(world.numbers().is_empty() && world.state.watches_listeners(world.now));
    world.waits = true;
    world.settle();
    assert_eq!(world.acts(), ["start worker 1"]);
    assert!(!world.state.watches_listeners(world.now));
    world.all_ready();
    world.waits = false;
    world.idle(1);
    world.pass(seconds(59.0));
    assert_eq!(world.numbers(), [1]);
    world.pass(seconds(1.0));
    assert_eq!(world.acts(), ["finish 1"]);
    assert!(world.numbers().is_empty() && world.state.watches_listeners(world.now));
}

/// Nobody could be made after it.
#[test]
fn the_last_worker_on_demand_stays_while_there_is_no_template() {
    let plan = Plan {
        preload: true,
        ..plan(0, 2)
    };
    let mut world = World::new(&plan);
    world.all_ready();
    world.waits = true;
    world.settle();
    world.all_ready();
    world.waits = false;
    world.exit(ChildId::Template(1), KILLED);
    // Another was wanted once, and could not be made.
    world.busy(1);
    world.waits = true;
    world.say(W1, ChildMessage::Full);
    world.settle();
    world.waits = false;
    world.idle(1);
    world.pass(seconds(80.0));
    assert_eq!(world.numbers(), [1]);
    world.done.clear();
    world.all_ready();
    world.pass(seconds(1.0));
    assert_eq!(world.acts(), ["finish 1"]);
}

#[test]
fn a_dynamic_pool_grows_when_told_that_all_are_busy_and_shrinks_to_its_least() {
    let mut world = World::serving(&plan(1, 4), 1);
    world.waits = true;
    // Requests that are short leave a moment in which one waits at any time.
    world.pass(seconds(10.0));
    assert_eq!(world.numbers(), [1]);
    world.busy(1);
    world.say(W1, ChildMessage::Full);
    world.settle();
    assert_eq!(world.numbers(), [1, 2]);
    world.all_ready();
    world.busy(2);
    world.pass(seconds(1.0));
    world.all_ready();
    world.waits = false;
    assert!(world.numbers().len() > 2);
    for number in world.numbers() {
        world.idle(number);
    }
    world.pass(seconds(61.0));
    assert_eq!(world.numbers().len(), 1);
}

#[test]
fn a_worker_at_its_limit_is_replaced_before_it_leaves() {
    let mut world = World::serving(&plan(1, 1), 1);
    world.say(W1, ChildMessage::Retire("--max-requests".to_owned()));
    world.settle();
    assert_eq!(world.acts(), ["start worker 2"]);
    world.pass(seconds(20.0));
    assert_eq!(world.acts(), Vec::<String>::new());
    world.ready(W2);
    world.settle();
    assert_eq!(world.acts(), ["drain 1"]);
    // Where none can be made it takes requests again.
    world.can_start = false;
    world.say(W2, ChildMessage::Retire("--max-requests".to_owned()));
    world.settle();
    let acts = world.acts();
    assert!(acts.contains(&"resume 2".to_owned()), "{acts:?}");
    assert_eq!(world.numbers(), [2]);
}

#[test]
fn who_does_not_serve_yet_is_sent_away_before_who_does() {
    let mut world = World::serving(&plan(1, 1), 1);
    for id in [W1, W2] {
        world.say(id, ChildMessage::Retire("--max-requests".to_owned()));
        world.settle();
    }
    let acts = world.acts();
    assert_eq!(acts, ["start worker 2", "start worker 3", "drain 2"]);
}

#[test]
fn workers_that_no_limit_fits_are_replaced_one_after_the_other() {
    let mut world = World::serving(&plan(2, 2), 2);
    let outgrown = || ChildMessage::Outgrown("--max-rss".to_owned());
    for _ in 0..4 {
        for number in world.numbers() {
            world.say(ChildId::Worker(number), outgrown());
        }
        world.all_ready();
        world.settle();
    }
    let told = world
        .done
        .iter()
        .filter(|done| done.contains("give it more"));
    assert_eq!(told.count(), 1);
    let starts = world.acts();
    let starts = starts.iter().filter(|act| act.starts_with("start")).count();
    assert!(starts <= 2, "{starts}");
}

#[test]
fn the_end_is_graceful_then_tells_the_stacks_then_kills() {
    let mut world = World::serving(&plan(2, 2), 2);
    world.manner = Manner::Deaf;
    world.signal(Signal::Terminate);
    assert_eq!(
        world.acts(),
        [
            "tell STOPPING",
            "refuse new",
            "finish 1",
            "finish 2",
            "close listeners"
        ]
    );
    world.exit(W1, Died::Exited(0));
    world.pass(seconds(19.9));
    assert_eq!(world.acts(), Vec::<String>::new());
    world.pass(seconds(0.1));
    assert_eq!(world.acts(), ["abort 2"]);
    world.pass(LAST_WORDS);
    assert_eq!(world.acts(), ["kill 2"]);
    assert_eq!(world.ended, Some(Ending::Cut));
    let mut world = World::serving(&preload(2), 2);
    world.signal(Signal::Terminate);
    assert_eq!(world.ended, Some(Ending::Finished));
    assert!(world.alive.is_empty());
    let mut world = World::serving(&plan(2, 2), 2);
    world.manner = Manner::Slow;
    world.signal(Signal::Terminate);
    world.signal(Signal::Interrupt);
    assert_eq!(world.ended, Some(Ending::Finished));
}

#[test]
fn a_template_that_dies_is_made_anew_and_workers_go_on() {
    let mut world = World::serving(&preload(2), 2);
    world.exit(ChildId::Template(1), KILLED);
    world.settle();
    assert_eq!(world.acts(), ["start template 1"]);
    // Nothing can be forked from it yet.
    world.exit(W1, KILLED);
    world.pass(seconds(5.0));
    assert_eq!(world.acts(), Vec::<String>::new());
    world.ready(ChildId::Template(1));
    world.settle();
    assert_eq!(world.acts(), ["fork worker 1"]);
    // The one that was to fork it dies first.
    world.exit(ChildId::Template(1), KILLED);
    world.exit(W1, KILLED);
    world.pass(seconds(1.0));
    assert!(world.has_done("worker 1 was not made"));
    world.all_ready();
    world.all_ready();
    assert_eq!(world.numbers(), [1, 2]);
    let hangs = |world: &mut World| {
        world.exit(ChildId::Template(1), KILLED);
        world.settle();
        world.done.clear();
        world.pass(seconds(31.0));
        world.acts()
    };
    world.pass(seconds(60.0));
    let acts = hangs(&mut world);
    assert_eq!(acts[..2], ["stacks", "kill template 1"]);
}

#[test]
fn who_waits_where_no_worker_can_be_made_is_answered() {
    let mut world = World::serving(&plan(1, 1), 1);
    world.waits = true;
    let crash = |world: &mut World| {
        for _ in 0..20 {
            if let Some(id) = world.alive.keys().next().copied() {
                world.exit(id, Died::Exited(1));
            }
            world.pass(seconds(1.0));
            if world.done.iter().any(|done| done == "start fallback 1") {
                return;
            }
        }
        panic!("{:?}", world.done);
    };
    crash(&mut world);
    world.done.clear();
    world.ready(W1);
    world.pass(seconds(20.0));
    let acts = world.acts();
    assert!(acts[0].starts_with("start worker 2"), "{acts:?}");
    world.ready(W2);
    world.settle();
    assert_eq!(world.acts(), ["drain 1"]);
    assert_eq!(world.numbers(), [2]);
}

#[test]
fn a_worker_that_is_stopped_is_killed_unless_it_goes_on() {
    let plan = Plan {
        request_timeout: Some(Duration::from_secs(10)),
        ..plan(1, 1)
    };
    let mut world = World::serving(&plan, 1);
    world.on(MasterEvent::Stopped(W1, true));
    world.pass(seconds(13.9));
    world.on(MasterEvent::Stopped(W1, false));
    world.pass(seconds(60.0));
    assert_eq!(world.acts(), Vec::<String>::new());
    world.on(MasterEvent::Stopped(W1, true));
    world.pass(seconds(14.1));
    assert_eq!(world.acts(), ["kill 1", "start worker 1"]);
    // Nor one of which a request is too long.
    world.all_ready();
    world.busy(1);
    world.figures.get_mut(&1).unwrap().running[0].age = seconds(12.5);
    world.pass(seconds(20.0));
    assert!(world.has_done("does not see to --request-timeout"));
}

#[test]
fn new_sockets_are_for_all_who_serve() {
    let mut world = World::serving(&plan(2, 2), 2);
    world.found.are_new = true;
    world.pass(seconds(3.0));
    world.found.are_new = false;
    assert_eq!(world.acts(), ["listen 1", "listen 2"]);
    world.on(MasterEvent::NotPassed(vec![2]));
    world.pass(seconds(2.9));
    assert_eq!(world.acts(), Vec::<String>::new());
    world.pass(seconds(0.1));
    assert_eq!(world.acts(), ["listen 2"]);
    // A worker that cannot go on without them has the master look at once.
    world.found.has_lost = true;
    world.say(W1, ChildMessage::Leaving("its socket is shut".to_owned()));
    world.settle();
    assert!(world.state.next_deadline() <= world.now + seconds(0.1));
    world.found = ListenersFound {
        are_over: true,
        ..ListenersFound::default()
    };
    world.pass(seconds(0.1));
    assert!(world.has_done("nothing is listened on any more"));
    world.exit(W1, Died::Exited(0));
    world.settle();
    assert_eq!(world.ended, Some(Ending::Failed(1)));
}

#[test]
fn the_status_line_counts_workers_and_requests() {
    let mut world = World::serving(&plan(2, 2), 2);
    world.busy(1);
    world.tick();
    let now: Instant = world.now;
    assert!(now >= world.start);
    assert_eq!(
        world.state.describe(),
        "2 workers ready, 1 busy; 1 requests served; generation 1"
    );
    world.exit(W1, KILLED);
    world.settle();
    assert_eq!(
        world.state.describe(),
        "1 workers ready, 0 busy; 1 requests served; generation 1"
    );
}
