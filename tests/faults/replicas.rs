//! Several processes that share a healthy store behave as one.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures_util::future::join_all;
use tokio::task::JoinSet;

use crate::{
    caller::{Caller, Endpoints},
    cluster::Cluster,
    fleet::{Fleet, Setup, Store},
    history::{Answer, Asked, History},
    load::{new_call, rewritten},
    totals::{MACHINE, calls_of, finish},
    worker::{self, Worker},
};

const PLANS: [&str; 4] = [worker::DECIDE, worker::BLOCK, worker::TWICE, "decide 20"];

/// A process at each server, and workers.
async fn fleet(cluster: &Cluster) -> (Fleet, [Worker; 2]) {
    let mut fleet = Fleet::empty(Setup::at(&[], Store::Jetstream));
    for number in 0..3 {
        fleet.add_at(&format!("servers: [\"{}\"]", cluster.url(number))).await;
    }
    let workers = [
        Worker::start(&fleet.history, &cluster.url(0)).await,
        Worker::start(&fleet.history, &cluster.url(1)).await,
    ];
    (fleet, workers)
}

async fn ask(
    history: &History,
    caller: &mut Caller,
    (endpoints, number): (&Endpoints, usize),
    asked: &Asked,
    attempt: u32,
) -> Answer {
    let to = endpoints.at(number);
    let answer = caller.ask(history, to, asked, (attempt, true)).await;
    answer.ok().flatten().expect("an answer")
}

/// Calls, each of them once more at the next process, until there are enough.
async fn call_and_retry(fleet: Arc<Shared>) {
    let Shared { history, endpoints, next, goal } = &*fleet;
    let mut callers = [Caller::default(), Caller::default(), Caller::default()];
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= *goal {
            return;
        }
        let asked = new_call(PLANS[number % PLANS.len()]);
        let (first, second) = (number % 3, (number + 1) % 3);
        ask(history, &mut callers[first], (endpoints, first), &asked, 1).await;
        // Some callers write their claims otherwise the second time.
        let again = if number.is_multiple_of(7) { rewritten(&asked) } else { asked };
        ask(history, &mut callers[second], (endpoints, second), &again, 2).await;
    }
}

/// What callers share.
struct Shared {
    history: Arc<History>,
    endpoints: Arc<Endpoints>,
    next: AtomicUsize,
    goal: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_retries_elsewhere_get_the_same_bytes_and_no_worker_is_asked_again() {
    let _alone = MACHINE.write().await;
    let cluster = Cluster::start().await;
    let (mut fleet, _workers) = fleet(&cluster).await;
    fleet.watch_store();
    let calls = calls_of("retries elsewhere");
    let shared = Shared {
        history: Arc::clone(&fleet.history),
        endpoints: Arc::clone(&fleet.endpoints),
        next: AtomicUsize::new(0),
        goal: calls + calls / 5,
    };
    let shared = Arc::new(shared);
    let mut callers = JoinSet::new();
    for _ in 0..8 {
        callers.spawn(call_and_retry(Arc::clone(&shared)));
    }
    while let Some(caller) = callers.join_next().await {
        caller.expect("a caller");
    }
    let (verdict, events) = finish("retries elsewhere", &fleet).await;
    let (retries, messages) = (events.requests.len() / 2, events.messages.len());
    let in_health = verdict.repeated_in_health;
    println!("{retries} retries, {in_health} of them with a healthy store; {messages} messages");
    assert!(in_health >= calls, "the store was ill too often");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nine_copies_of_a_call_at_once_at_three_processes_reach_a_worker_once() {
    const COPIES: usize = 9;
    let _alone = MACHINE.write().await;
    let cluster = Cluster::start().await;
    let (mut fleet, _workers) = fleet(&cluster).await;
    fleet.watch_store();
    let calls = calls_of("nine copies");
    let mut callers: Vec<Caller> = (0..COPIES).map(|_| Caller::default()).collect();
    for number in 0..calls + calls / 5 {
        let asked = new_call(["decide 0", "decide 30", "block 100"][number % 3]);
        let asks = callers.iter_mut().enumerate().map(async |(copy, caller)| {
            ask(&fleet.history, caller, (&fleet.endpoints, copy % 3), &asked, 1).await
        });
        join_all(asks).await;
    }
    let (verdict, events) = finish("nine copies", &fleet).await;
    let slowest = events.requests.iter().map(|request| request.done - request.sent).max();
    let (requests, messages) = (events.requests.len(), events.messages.len());
    let in_health = verdict.repeated_in_health;
    println!(
        "{requests} requests of {COPIES} copies each, {in_health} calls with a healthy store, \
         {messages} messages; the slowest answer took {slowest:?}"
    );
    assert!(in_health >= calls, "the store was ill too often");
}
