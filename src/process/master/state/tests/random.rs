//! Anything may happen in any order: what always holds.
//!
//! `World` itself sees to it that a number belongs to one process at a time, that nothing is done to one that is not there, that
//! none is forgotten that lives, and that the state comes to rest.

use std::time::Duration;

use nix::sys::signal::Signal as Death;
use nix::unistd::Pid;
use proptest::prelude::*;

use super::super::Stage;
use super::world::{Manner, World, plan};
use crate::process::master::Plan;
use crate::process::master::reaction::{ChildId, Died, Figures, MasterEvent};
use crate::process::messages::ChildMessage;
use crate::process::signals::Signal;

/// Something that may happen. Numbers choose one of those who are there.
#[derive(Clone, Debug)]
enum Happening {
    Pass(u64),
    Ready(usize),
    AllReady,
    Say(usize, usize),
    SayAs(usize, usize, usize),
    Nonsense(usize),
    HangUp(usize),
    Exit(usize, i32),
    Kill(usize),
    Stop(usize, bool),
    Signal(usize),
    Busy(usize),
    Idle(usize),
    Hostile(usize, u64),
    Waits(bool),
    CanStart(bool),
    CanAdopt(bool),
    Manner(usize),
    NewListeners(bool, bool),
    NotPassed(u32),
    FileChanged,
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening::*;
    let who = 0..12_usize;
    prop_oneof![
        4 => (0..40_000_u64).prop_map(Pass),
        4 => (0..400_u64).prop_map(Pass),
        8 => who.clone().prop_map(Ready),
        6 => Just(AllReady),
        4 => (who.clone(), 0..12_usize).prop_map(|(who, what)| Say(who, what)),
        1 => (who.clone(), 0..12_usize, 0..13_usize).prop_map(|(who, what, by)| SayAs(who, what, by)),
        1 => who.clone().prop_map(Nonsense),
        1 => who.clone().prop_map(HangUp),
        3 => (who.clone(), 0..5_i32).prop_map(|(who, code)| Exit(who, code)),
        2 => who.clone().prop_map(Kill),
        1 => (who.clone(), any::<bool>()).prop_map(|(who, is)| Stop(who, is)),
        4 => (0..10_usize).prop_map(Signal),
        4 => who.clone().prop_map(Busy),
        2 => who.clone().prop_map(Idle),
        1 => (who, any::<u64>()).prop_map(|(who, number)| Hostile(who, number)),
        2 => any::<bool>().prop_map(Waits),
        2 => any::<bool>().prop_map(CanStart),
        1 => any::<bool>().prop_map(CanAdopt),
        1 => (0..3_usize).prop_map(Manner),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(new, lost)| NewListeners(new, lost)),
        1 => (0..20_u32).prop_map(NotPassed),
        1 => Just(FileChanged),
    ]
}

fn wanted() -> impl Strategy<Value = Plan> {
    let booleans = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (0..4_usize, 1..5_usize, booleans).prop_map(|(min, max, (preload, watch, trouble, limit))| {
        Plan {
            preload,
            watch_files: watch,
            show_trouble: trouble,
            request_timeout: limit.then_some(Duration::from_secs(10)),
            ..plan(min.min(max), max)
        }
    })
}

fn message(what: usize) -> ChildMessage {
    let text = |text: &str| text.to_owned();
    match what {
        0 => ChildMessage::Ready,
        1 | 2 => ChildMessage::Full,
        3 | 4 => ChildMessage::Retire(text("--max-requests")),
        5 => ChildMessage::Outgrown(text("--max-rss")),
        6 => ChildMessage::Leaving(text("SIGTERM")),
        7 => ChildMessage::Log(3, text("a line")),
        8 => ChildMessage::CannotLoad(text("why")),
        9 => ChildMessage::Files(text("/srv/app.py")),
        10 => ChildMessage::Forked,
        _ => ChildMessage::Log(77, text("")),
    }
}

/// One of the processes that are there.
fn choose(world: &World, who: usize) -> Option<ChildId> {
    let count = world.alive.len();
    let at = who.checked_rem(count)?;
    world.alive.keys().nth(at).copied()
}

fn choose_worker(world: &World, who: usize) -> Option<u32> {
    let numbers = world.numbers();
    numbers.get(who.checked_rem(numbers.len())?).copied()
}

fn happen(world: &mut World, happening: &Happening) {
    match *happening {
        Happening::Pass(time) => world.pass(Duration::from_millis(time)),
        Happening::AllReady => world.all_ready(),
        Happening::Ready(who) => {
            let id = choose(world, who);
            id.into_iter().for_each(|id| world.ready(id));
        }
        Happening::Say(who, what) => {
            let id = choose(world, who);
            id.into_iter().for_each(|id| world.say(id, message(what)));
        }
        Happening::SayAs(who, what, by) => {
            let by = choose(world, by).and_then(|by| world.alive[&by]);
            let by = by.unwrap_or(Pid::from_raw(1));
            let id = choose(world, who);
            id.into_iter()
                .for_each(|id| world.hear(id, message(what), by));
        }
        Happening::Nonsense(who) => {
            if let Some(id) = choose(world, who) {
                world.on(MasterEvent::Nonsense(id, "descriptors"));
            }
        }
        Happening::HangUp(who) => {
            if let Some(id) = choose(world, who) {
                world.on(MasterEvent::HungUp(id));
            }
        }
        Happening::Exit(who, code) => {
            let id = choose(world, who);
            id.into_iter()
                .for_each(|id| world.exit(id, Died::Exited(code)));
        }
        Happening::Kill(who) => {
            let id = choose(world, who);
            id.into_iter()
                .for_each(|id| world.exit(id, Died::Killed(Death::SIGKILL)));
        }
        Happening::Stop(who, is_stopped) => {
            if let Some(id) = choose(world, who) {
                world.on(MasterEvent::Stopped(id, is_stopped));
            }
        }
        Happening::Signal(which) => {
            let signals = [Signal::Reload, Signal::More, Signal::Fewer, Signal::Child];
            let signal = signals.get(which / 3).copied();
            world.on(MasterEvent::Signal(signal.unwrap_or(Signal::ReopenLog)));
        }
        Happening::Busy(who) => {
            let number = choose_worker(world, who);
            number.into_iter().for_each(|number| world.busy(number));
        }
        Happening::Idle(who) => {
            let number = choose_worker(world, who);
            number.into_iter().for_each(|number| world.idle(number));
        }
        Happening::Hostile(who, number) => {
            if let Some(worker) = choose_worker(world, who) {
                let figures = Figures {
                    requests: number,
                    is_full: number % 2 == 0,
                    idle_since: Some(world.start).filter(|_| number % 3 > 0),
                    ..Figures::new(world.now)
                };
                world.figures.insert(worker, figures);
            }
        }
        Happening::Waits(waits) => world.waits = waits,
        Happening::CanStart(can) => world.can_start = can,
        Happening::CanAdopt(can) => world.can_adopt = can,
        Happening::Manner(which) => {
            world.manner = [Manner::Obedient, Manner::Slow, Manner::Deaf][which];
        }
        Happening::NewListeners(are_new, has_lost) => {
            world.found.are_new = are_new;
            world.found.has_lost = has_lost;
        }
        Happening::NotPassed(number) => world.on(MasterEvent::NotPassed(vec![number])),
        Happening::FileChanged => {
            world.on(MasterEvent::FileChanged("/srv/app.py".to_owned()));
        }
    }
}

/// How many serve, as the state knows.
fn serving(world: &World) -> usize {
    world.state.processes.supply.workers.serving()
}

/// What holds at any time.
fn check(world: &World) {
    let workers = &world.state.processes.supply.workers;
    let capacity = workers.capacity();
    let count = world.numbers().len();
    assert!(count <= capacity, "{count} processes of {capacity}");
    let mut known: Vec<u32> = workers.iter().map(|worker| worker.number()).collect();
    known.sort_unstable();
    assert_eq!(
        known,
        world.numbers(),
        "workers that are and that are known"
    );
    let templates = world.alive.len() - count;
    assert!(templates <= 2, "{templates} templates");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_happens(plan in wanted(), happenings in prop::collection::vec(happening(), 1..120)) {
        let mut world = World::new(&plan);
        for happening in &happenings {
            world.done.clear();
            happen(&mut world, happening);
            // What happens to workers is not the state's fault; what follows of it is.
            let before = serving(&world);
            world.tick();
            let after = serving(&world);
            let sizing = &world.state.processes.sizing;
            if before > 0 && after == 0 && world.state.stage == Stage::Serving {
                let is_wanted = sizing.wanted() > 0;
                assert!(!is_wanted, "nobody serves any more: {:?}", world.done);
            }
            check(&world);
            world.settle();
            check(&world);
            if world.ended.is_some() {
                break;
            }
        }
        // In the end nobody is left.
        world.manner = Manner::Deaf;
        world.signal(Signal::Terminate);
        world.pass(Duration::from_secs(60));
        assert!(world.ended.is_some(), "{:?}", world.done);
        assert!(world.alive.is_empty(), "{:?}", world.alive);
    }
}
