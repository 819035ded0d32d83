//! Calls over NATS alone, without a bridge: what the way to the worker and back costs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_nats::{Client, Subject};
use bytes::Bytes;
use serde_json::Value;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    Failure,
    arrivals::Arrivals,
    claims::Claims,
    options::{Nats, Options, Pace},
    tally::Tally,
    window::{Due, Window},
};

/// How long the last answers are waited for.
const LAST_ANSWERS: Duration = Duration::from_secs(20);

struct Caller {
    client: Client,
    subject: Subject,
    claims: Claims,
    expect: String,
    tally: Tally,
    window: Window,
    on_their_way: AtomicUsize,
}

pub(super) async fn run(target: Nats, options: &Options) -> Result<Value, Failure> {
    let caller = Arc::new(Caller {
        client: async_nats::connect(target.url).await?,
        subject: target.subject.into(),
        claims: Claims::new(options.body_bytes),
        expect: options.expect.clone(),
        tally: Tally::new()?,
        window: Window::default(),
        on_their_way: AtomicUsize::new(0),
    });
    let mut callers = JoinSet::new();
    match options.pace {
        Pace::Closed(in_flight) => {
            for who in 0..in_flight {
                callers.spawn(one_after_the_other(Arc::clone(&caller), who));
            }
        }
        Pace::Open(rate) => {
            let arrivals = Arrivals::new(rate)?;
            callers.spawn(as_they_come(Arc::clone(&caller), arrivals));
        }
    }
    let used = caller.window.pass(options).await;
    let all_back = async {
        while callers.join_next().await.is_some() {}
        while caller.on_their_way.load(Ordering::Relaxed) > 0 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let _ = timeout(LAST_ANSWERS, all_back).await;
    caller.tally.unfinished(caller.on_their_way.load(Ordering::Relaxed));
    caller.tally.found(used)
}

async fn one_after_the_other(caller: Arc<Caller>, who: usize) {
    while !caller.window.is_over() {
        caller.call(who, caller.window.due(Instant::now())).await;
    }
}

async fn as_they_come(caller: Arc<Caller>, mut arrivals: Arrivals) {
    for who in 0.. {
        let due = match arrivals.next().await {
            Ok(at) => caller.window.due(at),
            Err(error) => return caller.tally.error(error),
        };
        if caller.window.is_over() {
            return;
        }
        let caller = Arc::clone(&caller);
        tokio::spawn(async move { caller.call(who, due).await });
    }
}

impl Caller {
    async fn call(&self, who: usize, due: Due) {
        self.on_their_way.fetch_add(1, Ordering::Relaxed);
        let mut body = self.claims.body().to_vec();
        self.claims.number(&mut body, self.claims.next());
        match self.client.request(self.subject.clone(), Bytes::from(body)).await {
            Ok(reply) if holds(&reply.payload, &self.expect) => self.tally.record(who, due),
            Ok(_) => self.tally.error("another answer than expected"),
            Err(error) => self.tally.error(error),
        }
        self.on_their_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether an answer is the one that is expected.
pub(super) fn holds(answer: &[u8], expect: &str) -> bool {
    answer.windows(expect.len()).any(|window| window == expect.as_bytes())
}
