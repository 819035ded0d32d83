//! The breaker and the limit of calls in flight. Time is paused.

use std::sync::Arc;

use futures_util::future::join_all;

use crate::support::{
    fake::{Bridge, Worker, pass, timed},
    fake_store::FakeStore,
};

const CONTINUE: &str = r#"{"action":"Continue"}"#;

fn person(n: usize) -> &'static str {
    Box::leak(format!("{{\"email\":\"{n}@b.c\"}}").into())
}

fn fallbacks(bridge: &Bridge, reason: &str) -> f64 {
    bridge.metric(&format!(
        "fallbacks_total{{answer=\"default\",connector=\"c\",reason=\"{reason}\"}}"
    ))
}

#[tokio::test(start_paused = true)]
async fn after_so_many_time_outs_people_no_longer_wait_and_some_calls_probe() {
    let rules = "deadline: 1s\nbreaker: {failures: 3, open_for: 10s}";
    let bridge = Bridge::new(rules, &[Worker::Silent]);
    for n in 0..3 {
        let (_, ms) = timed(bridge.post(person(n))).await;
        assert!(ms >= 900, "{ms}");
    }
    assert_eq!(bridge.metric(r#"breaker_open{connector="c"}"#), 1.0);
    let (heard, ms) = timed(bridge.post(person(3))).await;
    assert_eq!((&*heard.source, ms, bridge.got().len()), ("default", 0, 3));
    assert_eq!(fallbacks(&bridge, "breaker_open"), 1.0);

    pass(1_000).await;
    let (probe, others) = tokio::join!(timed(bridge.post(person(4))), async {
        pass(1).await;
        timed(bridge.post(person(5))).await
    });
    assert!(probe.1 >= 900 && others.1 == 0, "one probes, the others do not wait");
    assert_eq!(bridge.got().len(), 4);

    // Two seconds after the probe.
    pass(1_050).await;
    assert_eq!(timed(bridge.post(person(6))).await.1, 0);
    pass(50).await;
    bridge.worker(&[Worker::Fails(None), Worker::Says(CONTINUE)]);
    bridge.post(person(7)).await;
    assert_eq!(bridge.metric(r#"breaker_open{connector="c"}"#), 1.0, "one answer is not enough");
    for n in 8..10 {
        assert_eq!(bridge.post(person(n)).await.source, "worker");
    }
    assert_eq!(bridge.metric(r#"breaker_open{connector="c"}"#), 0.0, "answers, however bad");
}

#[tokio::test(start_paused = true)]
async fn who_had_little_time_when_the_message_went_out_does_not_count_for_the_breaker() {
    let rules = "deadline: 3s\nbreaker: {failures: 2}";
    // How long a body takes; whether the silence counts.
    for (slow, opens) in [(700, 1.0), (1_000, 0.0), (2_800, 0.0)] {
        let bridge = Bridge::new(rules, &[Worker::Silent]);
        join_all((0..5).map(|n| bridge.post_slowly(person(n), slow))).await;
        assert_eq!(bridge.got().len(), 5);
        assert_eq!(bridge.metric(r#"breaker_open{connector="c"}"#), opens, "{slow}");
    }
    // Who waited for the connection, or for a worker.
    for connected in [false, true] {
        let bridge = Bridge::new(rules, &[if connected { Worker::Absent } else { Worker::Silent }]);
        bridge.disconnect();
        if connected {
            bridge.reconnect();
        }
        let _ = tokio::join!(join_all((0..5).map(|n| bridge.post(person(n)))), async {
            pass(1_000).await;
            bridge.worker(&[Worker::Silent]);
            if !connected {
                bridge.reconnect();
            }
        });
        assert_eq!(fallbacks(&bridge, "timeout"), 5.0, "{connected}");
        assert_eq!(bridge.metric(r#"breaker_open{connector="c"}"#), 0.0, "{connected}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_waited_for_another_replica_and_had_little_time_left_does_not_count_for_the_breaker() {
    let store = Arc::new(FakeStore::new());
    let rules = "deadline: 3s, breaker: {failures: 2}";
    let replica = || Bridge::replica(rules, &[Worker::Silent], &store);
    let (owner, other) = (Arc::new(replica()), replica());
    for n in 0..5 {
        let owner = Arc::clone(&owner);
        tokio::spawn(async move { owner.post(person(n)).await });
    }
    pass(100).await;
    assert_eq!(owner.got().len(), 5);
    owner.kill();
    pass(900).await;
    let heard = join_all((0..5).map(|n| other.post(person(n)))).await;
    assert!(heard.iter().all(|heard| heard.source == "default"));
    assert_eq!((other.got().len(), fallbacks(&other, "timeout")), (5, 5.0), "it asked in the end");
    assert_eq!(other.metric(r#"breaker_open{connector="c"}"#), 0.0);
}

#[tokio::test(start_paused = true)]
async fn silent_forms_among_answered_ones_do_not_open_the_breaker() {
    let silent = [const { Worker::Silent }; 5];
    let script = [&silent[..], &[Worker::Says(CONTINUE)]].concat();
    let bridge = Bridge::new("deadline: 2s", &script);
    let (_, healthy) = tokio::join!(join_all((0..5).map(|n| bridge.post(person(n)))), async {
        pass(1_000).await;
        bridge.post(person(5)).await
    });
    assert_eq!((&*healthy.source, fallbacks(&bridge, "timeout")), ("worker", 5.0));
    assert_eq!(bridge.metric(r#"breaker_open{connector="c"}"#), 0.0);
}

#[tokio::test(start_paused = true)]
async fn nothing_but_consecutive_time_outs_opens_the_breaker() {
    let rules = "deadline: 1s\nbreaker: {failures: 2, open_for: 10s}";
    for other in [Worker::Absent, Worker::Fails(None), Worker::Says("x")] {
        let bridge = Bridge::new(rules, &[other]);
        for n in 0..5 {
            bridge.post(person(n)).await;
        }
        assert_eq!(bridge.metric(r#"breaker_open{connector="c"}"#), 0.0);
    }
    let script = [Worker::Silent, Worker::Says(CONTINUE), Worker::Silent, Worker::Says(CONTINUE)];
    let bridge = Bridge::new(rules, &script);
    for n in 0..4 {
        bridge.post(person(n)).await;
    }
    assert_eq!(bridge.metric(r#"breaker_open{connector="c"}"#), 0.0);
    let lost = Bridge::new(rules, &[Worker::Silent]);
    for n in 0..4 {
        let (_, ()) = tokio::join!(lost.post(person(n)), async {
            pass(500).await;
            lost.disconnect();
            lost.reconnect();
        });
    }
    assert_eq!(lost.metric(r#"breaker_open{connector="c"}"#), 0.0, "the connection was lost");
}

#[tokio::test(start_paused = true)]
async fn more_calls_than_allowed_get_the_fallback_at_once_and_joined_ones_are_free() {
    let bridge = Bridge::new("max_in_flight: 10", &[Worker::SaysAfter(1_000, CONTINUE)]);
    let calls = join_all((0..30).map(|n| timed(bridge.post(person(n % 15)))));
    let ended = calls.await;
    let from = |source| ended.iter().filter(|(heard, _)| heard.source == source).count();
    assert_eq!((from("worker"), bridge.got().len()), (20, 10), "ten, and ten who joined them");
    assert_eq!(from("default"), 10);
    assert!(ended.iter().all(|(heard, ms)| heard.source == "worker" || *ms == 0));
    assert_eq!(fallbacks(&bridge, "overload"), 10.0);
    assert_eq!(bridge.metric(r#"requests_in_flight{connector="c"}"#), 0.0);
    assert_eq!(bridge.metric(r#"requests_in_flight_limit{connector="c"}"#), 10.0);
    assert_eq!(bridge.post(person(99)).await.source, "worker", "places are given back");
}

#[tokio::test(start_paused = true)]
async fn replayed_calls_need_no_place() {
    let bridge = Bridge::new("max_in_flight: 1", &[Worker::Says(CONTINUE), Worker::Silent]);
    bridge.post(person(1)).await;
    let (_, heard) = tokio::join!(bridge.post(person(2)), async {
        pass(10).await;
        bridge.post(person(1)).await
    });
    assert_eq!(heard.source, "replay");
}

#[tokio::test(start_paused = true)]
async fn stopping_cuts_every_wait_short_and_says_so() {
    let bridge = Bridge::new("deadline: 15s", &[Worker::Silent]);
    let ((heard, ms), ()) = tokio::join!(timed(bridge.post(person(1))), async {
        pass(1_000).await;
        let end = connector_bridge::clock::now() + std::time::Duration::from_secs(2);
        bridge.front.pipeline.cut_short(end);
    });
    assert_eq!(heard.source, "default");
    assert!((3_000..3_010).contains(&ms), "{ms}");
    let (_, ms) = timed(bridge.post(person(2))).await;
    assert_eq!(ms, 0, "no time is left for a new call");
    assert_eq!(fallbacks(&bridge, "shutting_down"), 2.0);
    assert_eq!(bridge.got().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn stopping_cuts_a_wait_that_had_begun_before() {
    let soon = || connector_bridge::clock::now() + std::time::Duration::from_secs(1);
    // In the grace, while there is no connection or no worker, and joined to another request.
    for connected in [false, true] {
        let bridge = Bridge::new("grace: 10s", &[Worker::Absent]);
        if !connected {
            bridge.disconnect();
        }
        let ((heard, ms), (other, _), ()) =
            tokio::join!(timed(bridge.post(person(1))), timed(bridge.post(person(1))), async {
                pass(2_000).await;
                bridge.front.pipeline.cut_short(soon());
            });
        assert_eq!((&*heard.source, ms), ("default", 3_000), "connected: {connected}");
        assert_eq!(heard, other);
        assert_eq!(fallbacks(&bridge, "shutting_down"), 2.0);
    }
    // A cut that comes after the deadline changes nothing.
    let bridge = Bridge::new("deadline: 2s", &[Worker::Silent]);
    let ((_, ms), ()) = tokio::join!(timed(bridge.post(person(1))), async {
        pass(500).await;
        bridge.front.pipeline.cut_short(soon() + std::time::Duration::from_secs(60));
    });
    assert!((1_900..1_910).contains(&ms), "{ms}");
    assert_eq!(fallbacks(&bridge, "timeout"), 1.0);
}
