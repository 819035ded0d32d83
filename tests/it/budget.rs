//! Memory: what callers and workers can make the bridge hold is bounded in bytes, whatever they do.

mod attacks;

use std::time::Duration;

use futures_util::future::join_all;

use crate::support::fake::{Bridge, Worker, pass, timed};

/// The least limit: 7 MiB are shared out, a 32nd of that is 224 KiB.
const SMALL: &str = "memory_limit: 24MiB";
const PART: f64 = 7.0 * 1024.0 * 1024.0 / 32.0;

const CONTINUE: &str = r#"{"action":"Continue"}"#;

/// 60 KB of claims of this person.
fn much_of(person: usize) -> &'static str {
    let text = "x".repeat(60_000);
    Box::leak(format!("{{\"email\":\"{person}@b.c\",\"text\":\"{text}\"}}").into())
}

/// The claims of this person.
fn little_of(person: usize) -> &'static str {
    Box::leak(format!("{{\"email\":\"{person}@b.c\"}}").into())
}

/// A decision of 60 KB.
fn much_returned() -> &'static str {
    let text = "y".repeat(60_000);
    Box::leak(format!(r#"{{"action":"Continue","text":"{text}"}}"#).into())
}

fn bridge(more: &str, script: &[Worker]) -> Bridge {
    let connector = format!("{{protocol: entra, step: before-create, auth: none, {more}}}");
    Bridge::with(&format!("{SMALL}\nconnectors:\n  c: {connector}"), script)
}

fn held(bridge: &Bridge, share: &str) -> f64 {
    bridge.metric(&format!("memory_held_bytes{{share=\"{share}\"}}"))
}

fn refusals(bridge: &Bridge, share: &str) -> f64 {
    bridge.metric(&format!("memory_refusals_total{{share=\"{share}\"}}"))
}

#[tokio::test(start_paused = true)]
async fn however_many_join_a_call_its_body_is_held_once() {
    let bridge = bridge("", &[Worker::SaysAfter(1_000, CONTINUE)]);
    let claims = much_of(1);
    let (heard, ()) = tokio::join!(join_all((0..200).map(|_| bridge.post(claims))), async {
        pass(500).await;
        assert!(held(&bridge, "calls") < 100_000.0, "{}", held(&bridge, "calls"));
    });
    assert!(heard.iter().all(|heard| heard.source == "worker"));
    assert_eq!((bridge.got().len(), held(&bridge, "calls")), (1, 0.0));
    // All of them came while the first one was there: there was room for 20 bodies.
    assert_eq!(refusals(&bridge, "calls"), 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_joined_ends_with_its_caller_and_the_call_goes_on() {
    let bridge = bridge("", &[Worker::SaysAfter(2_000, CONTINUE)]);
    let claims = much_of(1);
    let (leader, ..) = tokio::join!(
        bridge.post_and_hang_up(claims, 100),
        join_all((0..100).map(|_| bridge.post_and_hang_up(claims, 200)))
    );
    let ((), waiting) = (leader, bridge.front.pipeline.sizes());
    assert_eq!(waiting.0, 1, "the call is remembered");
    pass(5_000).await;
    let ended = bridge.metric(
        r#"requests_total{action="continue",code="200",connector="c",source="worker",step="before-create"}"#,
    );
    assert_eq!(ended, 1.0, "of 101 requests only the first had anything left to do");
    assert_eq!(bridge.post(claims).await.source, "replay");
    assert_eq!((bridge.got().len(), held(&bridge, "calls")), (1, 0.0));
}

#[tokio::test(start_paused = true)]
async fn calls_for_whose_bodies_there_is_no_room_get_the_fallback_at_once_and_are_counted() {
    let bridge = bridge("", &[Worker::SaysAfter(1_000, CONTINUE)]);
    let ended = join_all((0..60).map(|person| timed(bridge.post(much_of(person))))).await;
    let asked = bridge.got().len();
    assert!((15..25).contains(&asked), "{asked} bodies fit");
    for (heard, ms) in &ended {
        assert_eq!(heard.source == "worker", *ms == 1_000, "{} after {ms} ms", heard.source);
        assert_eq!(heard.status, 200, "an answer of the contract");
    }
    let turned_away = 60.0 - asked as f64;
    let reason = r#"fallbacks_total{answer="default",connector="c",reason="overload"}"#;
    assert_eq!((bridge.metric(reason), refusals(&bridge, "calls")), (turned_away, turned_away));
    assert_eq!(held(&bridge, "calls"), 0.0);
    assert_eq!(bridge.post(much_of(99)).await.source, "worker", "room is given back");
}

#[tokio::test(start_paused = true)]
async fn where_there_is_no_room_for_a_body_a_repeated_call_is_still_joined_and_replayed() {
    let bridge = bridge("", &[Worker::Says(CONTINUE), Worker::SaysAfter(1_000, CONTINUE)]);
    let (decided, in_flight) = (much_of(1), much_of(2));
    bridge.post(decided).await;
    let full = join_all((2..40).map(|person| bridge.post(much_of(person))));
    let (full, repeated, joined) = tokio::join!(
        full,
        async {
            pass(100).await;
            bridge.post(decided).await
        },
        async {
            pass(100).await;
            bridge.post(in_flight).await
        }
    );
    assert!(full.iter().any(|heard| heard.source == "default"), "there was no room");
    assert_eq!((&*repeated.source, &*joined.source), ("replay", "worker"));
}

#[tokio::test(start_paused = true)]
async fn large_decisions_are_remembered_as_far_as_they_fit_and_forgotten_in_the_order_of_their_ends()
 {
    let bridge = bridge("", &[Worker::Says(much_returned())]);
    for person in 0..40 {
        assert_eq!(bridge.post(little_of(person)).await.source, "worker");
        assert!(held(&bridge, "remembered") <= PART * 4.0);
    }
    let forgotten = refusals(&bridge, "remembered");
    assert!((20.0..30.0).contains(&forgotten), "{forgotten}");
    assert!(held(&bridge, "remembered") > PART * 3.5, "no more than must be");
    assert_eq!(bridge.post(little_of(39)).await.source, "replay");
    assert_eq!(bridge.post(little_of(forgotten as usize)).await.source, "replay");
    assert_eq!(bridge.post(little_of(forgotten as usize - 1)).await.source, "worker");
    pass(60_000).await;
    assert_eq!(held(&bridge, "remembered"), 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_call_in_flight_is_never_forgotten_for_want_of_room() {
    let script = [Worker::SaysAfter(5_000, CONTINUE), Worker::Says(much_returned())];
    let bridge = bridge("", &script);
    let ((first, second), ()) = tokio::join!(
        async {
            let first = bridge.post(little_of(0)).await;
            (first, bridge.post(little_of(0)).await)
        },
        async {
            pass(100).await;
            for person in 1..40 {
                bridge.post(little_of(person)).await;
            }
        }
    );
    assert_eq!((&*first.source, &*second.source), ("worker", "replay"));
}

#[tokio::test(start_paused = true)]
async fn asking_again_and_again_about_one_call_leaves_nothing_behind_but_that_call() {
    let bridge = bridge("", &[Worker::Absent]);
    for _ in 0..200 {
        bridge.post(little_of(1)).await;
        pass(100).await;
    }
    assert_eq!(bridge.front.pipeline.sizes().0, 1);
    assert!(held(&bridge, "remembered") < 1_000.0);
}

#[tokio::test(start_paused = true)]
async fn cached_decisions_are_bounded_in_bytes_and_in_number() {
    let cached = "fallback: {cached: {by: [email], max_entries: 1000}}";
    let bridge = bridge(cached, &[Worker::Says(much_returned())]);
    for person in 0..40 {
        bridge.post(little_of(person)).await;
        assert!(held(&bridge, "cached") <= PART * 3.0);
    }
    bridge.worker(&[Worker::Absent]);
    pass(Duration::from_secs(120).as_millis() as u64).await;
    assert_eq!(bridge.post(little_of(39)).await.source, "cache");
    assert_eq!(bridge.post(little_of(0)).await.source, "default");

    let cached = "fallback: {cached: {by: [email], max_entries: 7}}";
    let few = self::bridge(cached, &[Worker::Says(CONTINUE)]);
    for person in 0..40 {
        few.post(little_of(person)).await;
    }
    assert_eq!(few.lanes[0].cached_decisions(), Some(7));
}

#[tokio::test(start_paused = true)]
async fn what_makes_use_of_late_replies_is_bounded_and_the_oldest_goes_first() {
    let rules = "deadline: 1s, max_in_flight: 100000, breaker: {failures: 1000000}";
    let bridge = bridge(rules, &[Worker::SaysAfter(10_000, CONTINUE)]);
    // There is room for 224 of them.
    for round in 0..4 {
        join_all((0..100).map(|n| bridge.post(little_of(round * 100 + n)))).await;
    }
    assert!(held(&bridge, "late") <= PART);
    assert_eq!(refusals(&bridge, "late"), 400.0 - 224.0);
    pass(10_000).await;
    assert_eq!(bridge.post(little_of(399)).await.source, "replay", "a late decision");
}
