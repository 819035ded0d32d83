//! Callers who call all the time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::{
    caller::{Caller, Endpoints, claims},
    fleet::{Fleet, NAMES},
    history::{Asked, History},
    support::real::until,
    worker,
};

/// Who calls, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mix {
    /// How many at a time.
    pub(crate) callers: usize,
    /// What each waits between two calls.
    pub(crate) pause: Duration,
    /// What the workers are told, in turn.
    pub(crate) plans: &'static [&'static str],
    /// Each of so many calls is asked again elsewhere.
    pub(crate) asks_again: usize,
    /// Whether connections are kept.
    pub(crate) keep: bool,
}

/// Good workers, a few callers who ask again.
pub(crate) const MIXED: Mix = Mix {
    callers: 48,
    pause: Duration::ZERO,
    plans: &[
        worker::DECIDE,
        worker::DECIDE,
        worker::BLOCK,
        worker::DECIDE,
        worker::INVALID,
        worker::DECIDE,
        worker::DECIDE,
        worker::SLOW,
    ],
    asks_again: 8,
    keep: true,
};

/// A number that no other person of this run has.
pub(crate) fn person() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A new person's call.
pub(crate) fn new_call(plan: &str) -> Asked {
    let person = person();
    Asked { connector: NAMES[person % NAMES.len()], claims: claims(person, plan) }
}

/// The same at one connector.
pub(crate) fn new_call_at(connector: &'static str, plan: &str) -> Asked {
    Asked { connector, claims: claims(person(), plan) }
}

/// The same claims, written otherwise.
pub(crate) fn rewritten(asked: &Asked) -> Asked {
    let claims: serde_json::Value = serde_json::from_slice(&asked.claims).unwrap();
    let text = |name: &str| claims[name].as_str().unwrap().to_owned();
    let (email, name, plan) = (text("email"), text("displayName"), text("plan"));
    let claims = format!(
        "{{ \"plan\" : \"{plan}\",\n\"displayName\":\"{name}\", \"em\\u0061il\":\"{email}\"}}"
    );
    Asked { connector: asked.connector, claims: Bytes::from(claims) }
}

/// Calls until it is stopped.
pub(crate) struct Load {
    history: Arc<History>,
    before: usize,
    stops: Arc<AtomicBool>,
    callers: JoinSet<()>,
}

impl Load {
    pub(crate) fn start(fleet: &Fleet, mix: Mix) -> Self {
        let stops = Arc::new(AtomicBool::new(false));
        let mut callers = JoinSet::new();
        for number in 0..mix.callers {
            let (history, endpoints) = (Arc::clone(&fleet.history), Arc::clone(&fleet.endpoints));
            callers.spawn(calls(history, endpoints, mix, number, Arc::clone(&stops)));
        }
        let history = Arc::clone(&fleet.history);
        Self { before: history.requests(), history, stops, callers }
    }

    /// Waits until so many requests more have been answered.
    pub(crate) async fn until_more(&self, requests: usize) {
        let goal = self.history.requests() + requests;
        let start = self.history.now();
        while self.history.requests() < goal {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let waited = self.history.now() - start;
            let longest = Duration::from_secs(300) + Duration::from_millis(5) * requests as u32;
            assert!(waited < longest, "{requests} requests take too long");
        }
    }

    /// Waits until so many calls have been made in the whole scenario: a quarter more requests, since
    /// some are repeated.
    pub(crate) async fn until_calls(&self, calls: usize) {
        let requests = calls + calls / 4;
        self.until_more(requests.saturating_sub(self.history.requests())).await;
    }

    /// Waits until a worker decides a call that is made from now on.
    pub(crate) async fn until_decided(&self) {
        let start = self.history.now();
        until("a worker decides", async || {
            let events = self.history.events();
            let mut newest = events.requests.iter().rev().take(1_000);
            let decided = newest.any(|request| request.sent > start && request.is_decided());
            decided.then_some(())
        })
        .await;
    }

    /// Ends after the calls under way; returns how many requests there were.
    pub(crate) async fn stop(mut self) -> usize {
        self.stops.store(true, Ordering::Relaxed);
        while let Some(caller) = self.callers.join_next().await {
            caller.expect("a caller");
        }
        self.history.requests() - self.before
    }
}

async fn calls(
    history: Arc<History>,
    endpoints: Arc<Endpoints>,
    mix: Mix,
    number: usize,
    stops: Arc<AtomicBool>,
) {
    let mut caller = Caller::default();
    let mut count = number;
    while !stops.load(Ordering::Relaxed) {
        count += 1;
        let asked = new_call(mix.plans[count % mix.plans.len()]);
        drop(caller.call(&history, &endpoints, &asked, mix.keep).await);
        if mix.asks_again > 0 && count.is_multiple_of(mix.asks_again) {
            // The load balancer takes the next process.
            if let Some(to) = endpoints.pick(None) {
                drop(caller.ask(&history, to, &asked, (3, mix.keep)).await);
            }
        }
        if !mix.pause.is_zero() {
            tokio::time::sleep(mix.pause).await;
        }
    }
}
