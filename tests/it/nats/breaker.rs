//! The breaker with a real worker, some of whose forms it cannot digest.

use std::time::Duration;

use super::{
    assert_is_default, claims_of, connector, fallbacks, person_of, post_all, post_until_decided,
    worker::{Reply, Worker, is_silent, lets_in},
};
use crate::support::real::{Bridge, NatsServer};

/// People whose form no worker answers.
const SILENT: usize = 1_000;

fn some_are_silent(message: &async_nats::Message) -> Reply {
    (person_of(message) < SILENT).then(|| lets_in(message))?
}

/// Twenty people over twelve seconds. Returns how many a worker decided.
async fn healthy(bridge: &Bridge, from: usize) -> usize {
    let mut decided = 0;
    for person in from..from + 20 {
        let answer = bridge.post("c", &claims_of(person)).await;
        decided += usize::from(answer.source() == "worker");
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
    decided
}

#[tokio::test]
async fn five_silent_forms_at_once_cost_healthy_people_no_more_than_a_second() {
    let server = NatsServer::start().await;
    let bridge = Bridge::start(&server, &connector("deadline: 2s")).await.connected().await;
    let _worker = Worker::start(&server, some_are_silent).await;
    post_until_decided(&bridge, 0).await;
    // Nobody else is there meanwhile.
    post_all(&bridge, SILENT..SILENT + 5).await.iter().for_each(assert_is_default);
    assert_eq!(fallbacks(&bridge, "timeout").await, 5.0);
    assert_eq!(bridge.metric(r#"breaker_open{connector="c"}"#).await, Some(1.0));
    let decided = healthy(&bridge, 100).await;
    println!("{decided} of 20 healthy calls decided after five silent ones");
    assert!(decided >= 18, "{decided}");
    assert_eq!(bridge.metric(r#"breaker_open{connector="c"}"#).await, Some(0.0));

    // One in three is silent, all the time.
    let silent = async {
        for person in 0..5 {
            post_all(&bridge, SILENT + 10 * person..SILENT + 10 * person + 5).await;
        }
    };
    let (decided, ()) = tokio::join!(healthy(&bridge, 200), silent);
    assert_eq!(decided, 20, "where others are answered meanwhile, silence is the form's");
}

#[tokio::test]
async fn where_all_workers_are_silent_few_calls_wait_in_vain() {
    let server = NatsServer::start().await;
    let connector = connector("deadline: 1s, breaker: {open_for: 4s}");
    let bridge = Bridge::start(&server, &connector).await.connected().await;
    let worker = Worker::start(&server, is_silent).await;
    post_all(&bridge, 0..5).await.iter().for_each(assert_is_default);
    let posts = (100..180).map(async |person| {
        tokio::time::sleep(Duration::from_millis(100 * (person as u64 - 100))).await;
        bridge.post("c", &claims_of(person)).await
    });
    futures_util::future::join_all(posts).await.iter().for_each(assert_is_default);
    // In eight seconds: after 1, 2 or 3, and then fewer.
    let asked = worker.got().len() - 5;
    assert!((2..=5).contains(&asked), "{asked} of 80 waited in vain");
    assert_eq!(fallbacks(&bridge, "breaker_open").await, (80 - asked) as f64);
}
