//! How many calls the whole suite makes. Each scenario makes at least as many as stand here, and
//! says so at its end; together they are [`ALL`].

use std::time::Duration;

use tokio::sync::RwLock;

use crate::{
    checker::{Retries, Verdict, check},
    fleet::{Fleet, Store},
    history::Events,
};

/// Calls of the whole suite, retries and repeated requests not counted. `FAULTS_CALLS` asks for more;
/// each scenario then makes more in the same proportion.
const ALL: usize = 200_000;

/// Scenarios and their calls.
pub(crate) const CALLS: &[(&str, usize)] = &[
    ("server killed", 15_000),
    ("server frozen", 15_000),
    ("bad workers", 15_000),
    ("lines to NATS", 15_000),
    ("bad clients", 15_000),
    ("rights taken away", 15_000),
    ("rolling restart", 4_000),
    ("shared rolling restart", 4_000),
    ("processes killed", 15_000),
    ("killed under load", 3_600),
    ("killed under load, shared", 3_600),
    ("storm", 50_000),
    ("retries elsewhere", 10_000),
    ("nine copies", 300),
    ("leader lost", 8_000),
    ("majority lost", 10_000),
    ("bucket broken", 10_000),
    ("store forbidden", 10_000),
    ("claims left behind", 8_000),
    ("owners paused", 5_000),
    ("processes that stand still", 4_000),
    ("decisions shared", 900),
    ("shared storm", 10_000),
];

/// How long each storm lasts at least, where `FAULTS_MINUTES` says so.
pub(crate) fn soak() -> Option<Duration> {
    #[expect(clippy::disallowed_methods, reason = "a test's length, not a setting")]
    let minutes = std::env::var("FAULTS_MINUTES").ok()?;
    Some(Duration::from_secs(60 * minutes.parse::<u64>().expect("FAULTS_MINUTES is a number")))
}

/// How many calls the whole suite has to make.
fn all() -> usize {
    #[expect(clippy::disallowed_methods, reason = "a test's length, not a setting")]
    let calls = std::env::var("FAULTS_CALLS").ok();
    calls.map_or(ALL, |calls| calls.parse().expect("FAULTS_CALLS is a number")).max(ALL)
}

/// Scenarios that measure wait for this alone; the others share it.
pub(crate) static MACHINE: RwLock<()> = RwLock::const_new(());

/// How many calls a scenario has to make.
pub(crate) fn calls_of(scenario: &str) -> usize {
    let found = CALLS.iter().find(|(name, _)| *name == scenario);
    let share = found.unwrap_or_else(|| panic!("{scenario:?} stands in totals.rs")).1;
    let sum: usize = CALLS.iter().map(|(_, calls)| calls).sum();
    (share * all()).div_ceil(sum).max(share)
}

/// The end of a scenario: every promise was kept, over enough calls.
pub(crate) async fn finish(scenario: &str, fleet: &Fleet) -> (Verdict, Events) {
    fleet.assert_sound().await;
    let events = fleet.history.events().clone();
    let mut verdict = check(&fleet.setup.store.rules(), &events);
    let (repeated, retries) = (verdict.repeated_in_health, verdict.retries_after_kills);
    let Verdict { calls, answers, latest, held_back, overdue, broken, .. } = &mut verdict;
    let requests = events.requests.len();
    println!(
        "{scenario}: {:?}: {calls} calls in {requests} requests, answers {answers:?}; {} messages, of \
         which {overdue} after their deadline and {held_back} more held back by what was broken; \
         the slowest answer {latest:?} after its deadline; {} promises broken",
        fleet.history.now(),
        events.messages.len(),
        broken.len(),
    );
    if retries.all > 0 {
        let Retries { all, decided, slowest } = retries;
        println!(
            "{scenario}: after kills {decided} of {all} retries decided, the slowest after {slowest:?}"
        );
    }
    if fleet.setup.store == Store::Jetstream {
        println!("{scenario}: {repeated} calls repeated while the store was well");
        println!("{scenario}: the store: {:?}", fleet.store_operations().await);
    }
    broken.sort();
    for broken in broken.iter().take(10) {
        println!("  {:?}: {}", broken.promise, broken.how);
    }
    assert!(broken.is_empty(), "{scenario}: {} promises broken", broken.len());
    assert!(*calls >= calls_of(scenario), "{scenario}: only {calls} calls");
    (verdict, events)
}

#[test]
fn the_scenarios_together_make_200_000_calls_or_as_many_as_are_asked_for() {
    let sum: usize = CALLS.iter().map(|(scenario, _)| calls_of(scenario)).sum();
    println!("{sum} calls in {} scenarios", CALLS.len());
    assert!(sum >= all(), "only {sum}");
}
