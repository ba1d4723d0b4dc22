//! Who asks for something by the control socket is told what came of it, and nothing else.

use super::world::{Manner, World, plan, seconds};
use super::{W1, W3};
use crate::process::desk::Command;
use crate::process::master::Plan;
use crate::process::master::reaction::{ChildId, Died, MasterEvent};
use crate::process::messages::ChildMessage;

fn serving(min: usize, max: usize) -> World {
    let plan = Plan {
        has_control: true,
        ..plan(min, max)
    };
    World::serving(&plan, min)
}

/// What was answered since this was asked.
fn answers(world: &mut World) -> Vec<String> {
    let done = std::mem::take(&mut world.done);
    let answers = done.into_iter().filter(|line| line.starts_with("answer"));
    answers.collect()
}

fn ask(world: &mut World, id: u32, command: Command) {
    world.on(MasterEvent::Asked(id, command));
    world.settle();
}

#[test]
fn a_reload_is_answered_when_it_is_over() {
    let mut world = serving(2, 2);
    ask(&mut world, 7, Command::Reload);
    assert!(answers(&mut world).is_empty());
    // Asked for while the first goes on: the code may have changed since that read it.
    ask(&mut world, 8, Command::Reload);
    world.ready(W3);
    world.settle();
    assert_eq!(answers(&mut world), ["answer 7: 0 generation 2 serves"]);
    for _ in 0..6 {
        world.all_ready();
    }
    assert_eq!(answers(&mut world), ["answer 8: 0 generation 3 serves"]);
}

#[test]
fn a_reload_that_fails_is_answered_with_the_reason() {
    let mut world = serving(2, 2);
    ask(&mut world, 1, Command::Reload);
    world.say(
        W3,
        ChildMessage::CannotLoad("Traceback\nSyntaxError".to_owned()),
    );
    world.exit(W3, Died::Exited(3));
    world.settle();
    let expected = "answer 1: 3 Traceback\nSyntaxError\ngeneration 1 goes on serving";
    assert_eq!(answers(&mut world), [expected]);
    ask(&mut world, 2, Command::Reload);
    ask(&mut world, 3, Command::Stop);
    let answers = answers(&mut world);
    assert_eq!(
        answers[0],
        "answer 2: 1 the gateway was told to end meanwhile"
    );
    assert_eq!(answers[1], "answer 3: 0 ended");
}

#[test]
fn the_last_failure_is_kept_behind_a_success() {
    let mut world = serving(1, 1);
    ask(&mut world, 1, Command::Reload);
    world.exit(ChildId::Worker(2), Died::Exited(3));
    world.settle();
    world.pass(seconds(1.0));
    ask(&mut world, 2, Command::Reload);
    world.all_ready();
    world.all_ready();
    world.pass(seconds(2.0));
    let plan = plan(1, 1);
    let reloads = world.state.seen(&plan, world.now).reloads;
    assert_eq!((reloads.succeeded, reloads.failed), (1, 1));
    assert_eq!(reloads.last.unwrap().failure, None);
    let failed = reloads.last_failed.unwrap();
    assert!(failed.failure.is_some() && failed.age >= seconds(3.0));
}

#[test]
fn the_stacks_are_those_that_come_in_time() {
    let mut world = serving(2, 2);
    ask(&mut world, 1, Command::Stacks(Some(9)));
    assert_eq!(answers(&mut world), ["answer 1: 1 there is no worker 9"]);
    ask(&mut world, 2, Command::Stacks(None));
    world.say(W1, ChildMessage::Stacks("here\u{1b}\n".to_owned()));
    assert!(answers(&mut world).is_empty());
    world.pass(seconds(5.0));
    let told = answers(&mut world);
    assert!(
        told[0].starts_with("answer 2: 0 worker 1:\nhere\u{fffd}\nworker 2:\nit has not answered")
    );
    ask(&mut world, 3, Command::Stacks(Some(1)));
    world.exit(W1, Died::Exited(1));
    assert_eq!(
        answers(&mut world),
        ["answer 3: 0 worker 1:\nit has ended\n"]
    );
    // Of nobody's asking.
    world.say(ChildId::Worker(2), ChildMessage::Stacks("x".to_owned()));
    assert!(answers(&mut world).is_empty());
}

#[test]
fn the_size_is_what_was_asked_for() {
    let mut world = serving(2, 2);
    ask(&mut world, 1, Command::Resize(3));
    assert_eq!(
        answers(&mut world),
        ["answer 1: 0 workers: at least 3, at most 3"]
    );
    world.all_ready();
    assert_eq!(world.numbers(), [1, 2, 3]);
    world.manner = Manner::Obedient;
    ask(&mut world, 2, Command::Resize(1));
    assert_eq!(
        answers(&mut world),
        ["answer 2: 0 workers: at least 1, at most 1"]
    );
    assert_eq!(world.numbers().len(), 1);
}

#[test]
fn an_observer_that_ends_is_made_again() {
    let mut world = serving(1, 1);
    assert!(world.alive.contains_key(&ChildId::Observer));
    ask(&mut world, 1, Command::Reload);
    world.exit(ChildId::Observer, Died::Exited(1));
    world.settle();
    assert!(world.alive.contains_key(&ChildId::Observer));
    world.all_ready();
    // Nobody is there who would know of this one.
    assert!(answers(&mut world).is_empty());
    for _ in 0..5 {
        world.exit(ChildId::Observer, Died::Exited(1));
        world.settle();
    }
    assert!(!world.alive.contains_key(&ChildId::Observer));
    world.pass(seconds(10.0));
    assert!(world.alive.contains_key(&ChildId::Observer));
    assert!(!world.numbers().is_empty());
}
