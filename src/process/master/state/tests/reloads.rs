//! A reload is a transaction: the new code serves, or the old goes on.

use nix::sys::signal::Signal as Death;

use super::world::{Manner, World, plan, seconds};
use super::{W1, W2, W3, preload};
use crate::process::master::Plan;
use crate::process::master::reaction::{ChildId, Died, MasterEvent};
use crate::process::messages::ChildMessage;

#[test]
fn a_reload_replaces_the_old_when_the_new_serve() {
    let mut world = World::serving(&plan(2, 2), 2);
    world.reload();
    assert_eq!(world.acts(), ["tell RELOADING", "start worker 3"]);
    world.pass(seconds(29.0));
    assert_eq!(world.acts(), Vec::<String>::new());
    // One comes, one goes.
    world.ready(W3);
    world.settle();
    assert_eq!(world.acts(), ["tell READY", "start worker 4", "drain 1"]);
    world.all_ready();
    assert_eq!(world.acts(), ["drain 2"]);
    assert_eq!(world.numbers(), [3, 4]);
}

#[test]
fn a_reload_that_fails_leaves_the_old_as_they_are() {
    for case in 0..3 {
        let mut world = World::serving(&plan(2, 2), 2);
        world.reload();
        match case {
            0 => world.exit(W3, Died::Exited(3)),
            1 => world.exit(W3, Died::Killed(Death::SIGSEGV)),
            _ => world.pass(seconds(31.0)),
        }
        world.settle();
        assert!(
            world
                .done
                .iter()
                .any(|line| line.contains("reload: failed"))
        );
        let acts = world.acts();
        assert_eq!(acts[..2], ["tell RELOADING", "start worker 3"]);
        let rest: &[&str] = if case < 2 { &[] } else { &["abort 3"] };
        assert_eq!(acts[2..], [rest, &["tell READY"]].concat());
        world.pass(seconds(100.0));
        assert_eq!((world.numbers(), world.acts()), (vec![1, 2], vec![]));
        // And the next may succeed.
        world.reload();
        world.all_ready();
        world.all_ready();
        assert_eq!(world.numbers(), [3, 4]);
    }
}

#[test]
fn a_reload_with_a_template_is_a_transaction_too() {
    let mut world = World::serving(&preload(1), 1);
    world.reload();
    assert_eq!(world.acts(), ["tell RELOADING", "start template 2"]);
    world.exit(ChildId::Template(2), Died::Exited(3));
    world.settle();
    assert_eq!(world.acts(), ["tell READY"]);
    world.reload();
    world.ready(ChildId::Template(3));
    world.settle();
    assert_eq!(
        world.acts(),
        ["tell RELOADING", "start template 3", "fork worker 2"]
    );
    world.ready(W2);
    world.settle();
    assert_eq!(world.acts(), ["kill template 1", "tell READY", "drain 1"]);
    assert_eq!(world.alive.len(), 2);
}

/// Its first worker is of no use without it.
#[test]
fn a_new_template_that_dies_takes_its_worker_with_it() {
    let mut world = World::serving(&preload(1), 1);
    world.reload();
    world.ready(ChildId::Template(2));
    world.settle();
    world.say(W2, ChildMessage::Log(3, "importing".to_owned()));
    world.done.clear();
    world.exit(ChildId::Template(2), Died::Exited(1));
    world.settle();
    assert_eq!(world.acts(), ["kill 2", "tell READY"]);
    assert_eq!(world.numbers(), [1]);
}

#[test]
fn a_reload_that_is_asked_for_in_another_follows_it() {
    let mut world = World::serving(&plan(1, 1), 1);
    world.reload();
    world.reload();
    world.reload();
    assert_eq!(world.acts(), ["tell RELOADING", "start worker 2"]);
    world.ready(W2);
    world.settle();
    assert_eq!(
        world.acts(),
        ["tell READY", "drain 1", "tell RELOADING", "start worker 1"]
    );
    world.all_ready();
    assert_eq!(world.acts(), ["tell READY", "drain 2"]);
}

#[test]
fn a_reload_waits_for_a_place_without_haste() {
    let mut world = World::serving(&plan(1, 1), 1);
    world.manner = Manner::Deaf;
    let capacity = world.state.processes.supply.workers.capacity();
    for _ in 1..capacity {
        world.reload();
        world.all_ready();
    }
    world.done.clear();
    world.reload();
    world.reload();
    let put_off = world.done.iter().filter(|done| done.contains("put off"));
    assert_eq!(put_off.count(), 1);
    // It is nothing that is looked at again and again.
    assert!(world.state.next_deadline() > world.now + seconds(1.0));
    world.done.clear();
    world.exit(W1, Died::Exited(0));
    world.settle();
    assert_eq!(world.acts(), ["tell RELOADING", "start worker 1"]);
}

#[test]
fn a_first_start_that_fails_waits_for_a_file_to_change_with_reload() {
    let plan = Plan {
        watch_files: true,
        show_trouble: true,
        ..plan(1, 1)
    };
    let mut world = World::new(&plan);
    world.say(W1, ChildMessage::Files("/srv/app.py\n".to_owned()));
    world.exit(W1, Died::Exited(3));
    world.settle();
    assert!(world.has_done("waiting until a file of the application changes"));
    assert!(world.ended.is_none() && world.alive.is_empty());
    world.on(MasterEvent::FileChanged("/srv/app.py".to_owned()));
    world.settle();
    world.all_ready();
    assert_eq!(world.numbers(), [1]);
    world.done.clear();
    // Who serves answers with what is wrong with the new code.
    world.on(MasterEvent::FileChanged("/srv/app.py".to_owned()));
    world.say(W2, ChildMessage::CannotLoad("SyntaxError".to_owned()));
    world.exit(W2, Died::Exited(3));
    world.settle();
    assert!(world.acts().contains(&"trouble 1".to_owned()));
}
