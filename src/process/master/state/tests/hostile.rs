//! A process that says everything, in every state: nothing of it reaches beyond what its state allows.

use std::time::Duration;

use nix::unistd::Pid;

use super::world::{Manner, World, plan};
use crate::process::master::Plan;
use crate::process::master::reaction::{ChildId, Died, MasterEvent};
use crate::process::master::rules::{WorkerState, judge};
use crate::process::messages::ChildMessage;
use crate::process::signals::Signal;

/// The states in which a process can be that speaks.
const STATES: [&str; 8] = [
    "made",
    "starting",
    "a candidate's",
    "ready",
    "leaving",
    "ending",
    "importing",
    "imported",
];

fn messages() -> Vec<ChildMessage> {
    let text = |text: &str| text.to_owned();
    vec![
        ChildMessage::Begun,
        ChildMessage::Ready,
        ChildMessage::Full,
        ChildMessage::Retire(text("--max-requests")),
        ChildMessage::Outgrown(text("--max-rss")),
        ChildMessage::Leaving(text("SIGTERM")),
        ChildMessage::Log(3, text("a line")),
        ChildMessage::Log(9, text("a line")),
        ChildMessage::CannotLoad(text("why")),
        ChildMessage::Files(text("/etc/passwd")),
        ChildMessage::Forked,
    ]
}

/// A world in which there is a process in this state, and who it is.
fn world(state: &str) -> (World, ChildId) {
    let preload = matches!(state, "made" | "importing" | "imported");
    let plan = Plan {
        preload,
        ..plan(2, 2)
    };
    let mut world = World::serving(&plan, 2);
    world.manner = Manner::Slow;
    let id = match state {
        "made" | "starting" => {
            world.exit(ChildId::Worker(2), Died::Exited(1));
            ChildId::Worker(2)
        }
        "a candidate's" => {
            world.reload();
            ChildId::Worker(3)
        }
        "ready" => ChildId::Worker(2),
        "leaving" => {
            world.signal(Signal::Fewer);
            ChildId::Worker(2)
        }
        "ending" => {
            world.signal(Signal::Terminate);
            ChildId::Worker(2)
        }
        "importing" => {
            world.exit(ChildId::Template(1), Died::Exited(1));
            ChildId::Template(1)
        }
        _ => ChildId::Template(1),
    };
    world.settle();
    assert!(world.alive.contains_key(&id), "{state}");
    world.done.clear();
    (world, id)
}

fn is_expelled(world: &World) -> bool {
    let mut done = world.done.iter();
    done.any(|done| done.contains("is killed and replaced"))
}

#[test]
fn everything_in_every_state_touches_nobody_else() {
    for state in STATES {
        for message in messages() {
            let (mut world, id) = world(state);
            let others = world.alive.clone();
            let word = format!("{message:?} of one that is {state}");
            let processes = &mut world.state.processes;
            let speaker = match id {
                ChildId::Worker(number) => {
                    processes.supply.workers.get_mut(number).unwrap().speaker()
                }
                ChildId::Template(number) => {
                    processes.generations.template(number).unwrap().speaker()
                }
                ChildId::Observer => unreachable!("it has no state here"),
            };
            let may = judge(&message, speaker, false).is_ok();
            let sender = world.alive[&id].unwrap_or_else(|| Pid::from_raw(77));
            world.hear(id, message, sender);
            assert_eq!(is_expelled(&world), !may, "{word}");
            // Whatever follows at once, the others are as they were.
            for (other, pid) in &others {
                if *other != id {
                    assert_eq!(world.alive.get(other), Some(pid), "{word}");
                    let mut workers = world.state.processes.supply.workers.iter();
                    let worker = workers.find(|worker| worker.id() == *other);
                    let is_ready = worker.is_none_or(|it| it.state() == WorkerState::Ready);
                    assert!(is_ready || state == "ending", "{word}");
                }
            }
            // And there are as many again, some time later.
            world.manner = Manner::Obedient;
            for _ in 0..4 {
                world.all_ready();
                world.pass(Duration::from_secs(15));
            }
            if state == "ending" {
                assert!(world.ended.is_some(), "{word}");
            } else {
                let wanted = if state == "leaving" { 1 } else { 2 };
                let serving = world.state.processes.supply.workers.serving();
                assert_eq!(serving, wanted, "{word}: {:?}", world.done);
            }
        }
    }
}

#[test]
fn nobody_speaks_for_another() {
    for state in STATES {
        let (mut world, id) = world(state);
        let other = world.alive[&ChildId::Worker(1)].unwrap();
        world.hear(id, ChildMessage::Log(3, "a line".to_owned()), other);
        // One that is not there yet is believed to be anybody: it may only write a line.
        assert_eq!(is_expelled(&world), state != "made", "{state}");
        world.done.clear();
        let (mut world, id) = world_made();
        world.hear(id, ChildMessage::Forked, other);
        assert!(is_expelled(&world));
    }
    let (mut world, id) = world_made();
    world.can_adopt = false;
    world.hear(id, ChildMessage::Forked, Pid::from_raw(1));
    assert!(is_expelled(&world));
    world.pass(Duration::from_secs(1));
    assert_eq!(
        world.alive.get(&id),
        Some(&None),
        "made anew: {:?}",
        world.done
    );
}

fn world_made() -> (World, ChildId) {
    let (world, id) = world("made");
    assert_eq!(world.alive[&id], None);
    (world, id)
}

#[test]
fn who_was_expelled_is_heard_no_more() {
    let (mut world, id) = world("ready");
    world.on(MasterEvent::Nonsense(id, "a message that is none"));
    assert!(is_expelled(&world));
    world.done.clear();
    world.on(MasterEvent::Nonsense(id, "a message that is none"));
    for message in messages() {
        let sender = world.alive[&id].unwrap();
        world.hear(id, message, sender);
    }
    assert_eq!(world.done, Vec::<String>::new());
}
