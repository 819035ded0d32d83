//! The bridge at a real nats-server: what workers get, and what callers get when workers, the
//! server or the connection fail.

mod authentication;
mod breaker;
mod decisions;
mod discovery;
mod events;
mod memory;
mod message;
mod outage;
mod overdue;
mod permissions;
mod raw;
mod replies;
mod restart;
mod rights;
mod store;
mod streams;
mod tls;
mod worker;

use std::time::Duration;

use crate::support::real::{Answer, Bridge, until};

/// What the connector of [`connector`] sends to.
const SUBJECT: &str = "connectors.c.before-create";

/// How much later than promised an answer may be seen on a busy machine.
const SLACK: Duration = Duration::from_secs(2);

/// One connector called `c`, of protocol `entra` at `before-create`, without authentication;
/// `more` are further keys of its section: `deadline: 1s, …`.
fn connector(more: &str) -> String {
    format!("  c: {{protocol: entra, step: before-create, auth: none, {more}}}\n")
}

/// Claims of one of many people.
fn claims_of(person: usize) -> String {
    format!(r#"{{"email":"person{person}@example.com","displayName":"Person {person}"}}"#)
}

/// Whose claims a message carries.
fn person_of(message: &async_nats::Message) -> usize {
    let claims: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
    let name = claims["displayName"].as_str().unwrap();
    name.strip_prefix("Person ").unwrap().parse().unwrap()
}

/// Posts the claims of these people all at once.
async fn post_all(bridge: &Bridge, people: impl Iterator<Item = usize>) -> Vec<Answer> {
    let posts = people.map(async |person| bridge.post("c", &claims_of(person)).await);
    futures_util::future::join_all(posts).await
}

/// The answer is the connector's default: the block page.
#[track_caller]
fn assert_is_default(answer: &Answer) {
    assert_eq!((answer.status, answer.source()), (200, "default"), "{answer:?}");
    assert!(answer.body.contains(r#""action":"ShowBlockPage""#), "{answer:?}");
}

/// The answer comes from a worker.
#[track_caller]
fn assert_is_decided(answer: &Answer) {
    assert_eq!((answer.status, answer.source()), (200, "worker"), "{answer:?}");
}

/// How many calls got the default for `reason`.
async fn fallbacks(bridge: &Bridge, reason: &str) -> f64 {
    let series = format!(r#"fallbacks_total{{answer="default",connector="c",reason="{reason}"}}"#);
    bridge.metric(&series).await.unwrap()
}

/// How many messages ended with `result`.
async fn messages(bridge: &Bridge, result: &str) -> f64 {
    let series = format!(r#"nats_requests_total{{connector="c",result="{result}"}}"#);
    bridge.metric(&series).await.unwrap()
}

/// Posts the claims of one person after the other until a worker decides; returns how many were
/// posted.
async fn post_until_decided(bridge: &Bridge, from: usize) -> usize {
    let person = std::cell::Cell::new(from);
    until("a worker decides", async || {
        let answer = bridge.post("c", &claims_of(person.replace(person.get() + 1))).await;
        (answer.source() == "worker").then_some(())
    })
    .await;
    person.get() - from
}
