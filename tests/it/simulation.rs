//! Three replicas, simulated: real pipelines, memories, inboxes and shared calls at one store that
//! fails as a seed says. Everything in a run is drawn from its seed, and time is paused; so a seed
//! gives the same history every time.
//!
//! `SIMULATION_SEEDS=1000000 cargo test --release --test it simulation` runs more of them;
//! `SIMULATION_SEED=7 cargo test --test it simulation -- --nocapture` runs one and prints it.

// What looks for something in a history passes over everything else; and runs say what states
// they have come to.
#![allow(clippy::wildcard_enum_match_arm, clippy::print_stdout)]

mod caller;
mod checker;
mod counts;
mod dice;
mod gate;
mod history;
mod plan;
mod replica;
mod setting;
mod workers;
mod world;

use std::{env, fmt::Write, thread};

use self::{
    counts::Counts,
    plan::Class::{self, *},
    world::Run,
};

/// How many seeds are run where nothing else is said.
const SEEDS: u64 = 20_007;

/// With fewer seeds than these, rare states need not be reached.
const SEEDS_MANY: u64 = 20_000;

/// A number from the environment.
fn asked_for(name: &str) -> Option<u64> {
    let number = env::var(name).ok()?;
    Some(number.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}

/// What a run was, and which promises it broke.
fn told(seed: u64, run: &Run, broken: &[String]) -> String {
    let mut text = format!("seed {seed}: {:#?}\n{}", run.plan, run.history.text());
    broken.iter().for_each(|what| writeln!(text, "BROKEN: {what}").unwrap());
    text
}

/// Runs one seed and holds it against what is promised.
fn run(seed: u64) -> Counts {
    let run = Run::of(seed);
    let broken = checker::broken_promises(&run);
    assert!(
        broken.is_empty(),
        "{}\nto see it again: SIMULATION_SEED={seed} cargo test --test it simulation -- --nocapture",
        told(seed, &run, &broken)
    );
    Counts::of(&run)
}

/// Runs all seeds of some classes. Each of `states` must have been reached.
fn run_all(classes: &[Class], states: &[counts::State]) {
    if let Some(seed) = asked_for("SIMULATION_SEED") {
        if classes.contains(&Class::of(seed)) {
            let run = Run::of(seed);
            println!("{}", told(seed, &run, &[]));
            self::run(seed);
        }
        return;
    }
    let seeds = asked_for("SIMULATION_SEEDS").unwrap_or(SEEDS);
    let mut all = Counts::default();
    for class in classes {
        let mut counts = Counts::default();
        (0..seeds)
            .filter(|seed| Class::of(*seed) == *class)
            .for_each(|seed| counts.add(&run(seed)));
        println!("{class:?}: {counts}");
        all.add(&counts);
    }
    for state in states.iter().filter(|_| seeds >= SEEDS_MANY) {
        assert!(all[*state] > 0, "no run has come to {state:?}: it says nothing about that");
    }
}

#[test]
fn where_nothing_fails_a_call_is_asked_about_once_and_answered_the_same_everywhere() {
    use counts::State::*;
    run_all(&[Healthy], &[JoinedElsewhere, Joined, Replayed, FormReplayed, LostToAnother]);
}

#[test]
fn with_slow_workers_late_decisions_answer_who_asks_again() {
    use counts::State::*;
    run_all(&[SlowWorkers], &[FellBack, AskedAgain, LateDecision, DecidedElsewhere]);
}

#[test]
fn with_replicas_that_die_or_stand_still_others_take_over_as_the_next_attempt() {
    use counts::State::*;
    run_all(
        &[Crashes, Pauses],
        &[TakenOver, TakenOverEarly, AskedAgain, DiedAsking, StoodStillAsking],
    );
}

#[test]
fn with_a_store_that_fails_answers_come_in_time_and_decisions_stay() {
    use counts::State::*;
    run_all(
        &[LossyStore, StoreOutages],
        &[AskedUnclaimed, OwnWriteSeen, AskedMoreThanOnce, WrittenLater, LostToAnother],
    );
}

#[test]
fn with_connections_that_break_and_clocks_that_are_wrong_decisions_stay() {
    use counts::State::*;
    run_all(&[LostConnections, WrongClocks], &[SentAgain, TakenOverEarly, AskedUnclaimed]);
}

#[test]
fn whatever_fails_together_every_call_gets_one_answer_in_time() {
    use counts::State::*;
    run_all(&[Everything], &[FellBack, TakenOver, CachedAnswer, AskedMoreThanOnce, SentAgain]);
}

#[test]
fn a_seed_gives_the_same_history_every_time() {
    let first = |seed| Run::of(seed).history.text();
    let other = thread::spawn(move || (0..300).map(first).collect::<Vec<_>>());
    let histories: Vec<_> = (0..300).map(first).collect();
    for (seed, (one, other)) in histories.iter().zip(other.join().unwrap()).enumerate() {
        assert_eq!(*one, other, "seed {seed}");
    }
}
