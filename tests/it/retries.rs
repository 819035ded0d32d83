//! The same call once more: product rules of section 7, one test each. Time is paused.

use crate::support::fake::{Bridge, Worker, pass, timed};

const CLAIMS: &str = r#"{"email":"a@b.c","city":"Ulm"}"#;
const CONTINUE: &str = r#"{"action":"Continue","tier":"gold"}"#;
const BLOCK: &str = r#"{"action":"ShowBlockPage","userMessage":"No."}"#;
const INVALID: &str = r#"{"action":"ValidationError","userMessage":"Bad zip"}"#;

fn calls(bridge: &Bridge, result: &str) -> f64 {
    bridge.metric(&format!("calls_total{{connector=\"c\",result=\"{result}\"}}"))
}

#[tokio::test(start_paused = true)]
async fn two_equal_calls_at_once_ask_the_worker_once_and_get_the_same_answer() {
    for reply in [CONTINUE, BLOCK, INVALID] {
        let bridge = Bridge::new("", &[Worker::SaysAfter(1_000, reply)]);
        let (first, second) = tokio::join!(bridge.post(CLAIMS), async {
            pass(500).await;
            bridge.post(r#"{ "city": "Ulm", "email": "a@b.c" }"#).await
        });
        assert_eq!(first, second);
        assert_eq!((first.source, bridge.got().len()), ("worker".into(), 1), "{reply}");
        assert_eq!((calls(&bridge, "first"), calls(&bridge, "joined")), (1.0, 1.0));
    }
}

#[tokio::test(start_paused = true)]
async fn who_joins_a_call_that_falls_back_gets_the_fallback_too() {
    let bridge = Bridge::new("deadline: 2s", &[Worker::Silent]);
    let (first, second) = tokio::join!(bridge.post(CLAIMS), async {
        pass(500).await;
        bridge.post(CLAIMS).await
    });
    assert_eq!(first, second);
    assert_eq!((first.source, bridge.got().len()), ("default".into(), 1));
    let fallbacks = r#"fallbacks_total{answer="default",connector="c",reason="timeout"}"#;
    assert_eq!(bridge.metric(fallbacks), 2.0, "each request is counted");
}

#[tokio::test(start_paused = true)]
async fn who_joins_waits_no_longer_than_the_own_deadline() {
    let bridge = Bridge::new("deadline: 2s", &[Worker::Silent]);
    let (older, newer) = tokio::join!(timed(bridge.post_slowly(CLAIMS, 1_000)), async {
        pass(900).await;
        timed(bridge.post(CLAIMS)).await
    });
    assert_eq!((older.1, &*older.0.source), (1_900, "default"), "its first byte came first");
    assert!((1_900..1_905).contains(&newer.1), "{}", newer.1);
    assert_eq!(bridge.got().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_decided_call_is_replayed_for_the_window_with_the_same_bytes() {
    for reply in [CONTINUE, BLOCK] {
        let bridge = Bridge::new("", &[Worker::Says(reply), Worker::Says(CONTINUE)]);
        let first = bridge.post(CLAIMS).await;
        pass(44_900).await;
        let second = bridge.post(CLAIMS).await;
        assert_eq!((&*first.source, &*second.source), ("worker", "replay"));
        assert_eq!((&first.body, &first.call_id), (&second.body, &second.call_id));
        pass(200).await;
        assert_eq!(bridge.post(CLAIMS).await.source, "worker");
        assert_eq!(bridge.attempts(), [1, 1], "after the window it is a first call again");
    }
}

#[tokio::test(start_paused = true)]
async fn the_window_is_the_configured_one() {
    let config = "calls: {replay_window: 2s}\nconnectors: {c: {protocol: entra, step: before-create, auth: none}}";
    let bridge = Bridge::with(config, &[Worker::Says(CONTINUE)]);
    bridge.post(CLAIMS).await;
    pass(1_900).await;
    assert_eq!(bridge.post(CLAIMS).await.source, "replay");
    pass(200).await;
    assert_eq!(bridge.post(CLAIMS).await.source, "worker");
}

#[tokio::test(start_paused = true)]
async fn a_delivered_validation_error_is_checked_again_as_a_first_call() {
    let bridge = Bridge::new("", &[Worker::Says(INVALID), Worker::Says(CONTINUE)]);
    assert_eq!(bridge.post(CLAIMS).await.status, 400);
    let again = bridge.post(CLAIMS).await;
    assert_eq!((again.status, &*again.source), (200, "worker"));
    assert_eq!(bridge.attempts(), [1, 1]);
    let ids: Vec<_> = bridge.got().into_iter().map(|got| got.call_id).collect();
    assert_eq!(ids[0], ids[1]);
}

#[tokio::test(start_paused = true)]
async fn an_undelivered_validation_error_is_replayed_once() {
    let bridge = Bridge::new("", &[Worker::Says(INVALID)]);
    assert_eq!(bridge.post_and_lose(CLAIMS).await.source, "worker");
    let again = bridge.post_and_lose(CLAIMS).await;
    assert_eq!((again.status, &*again.source), (400, "replay"));
    assert_eq!(bridge.post(CLAIMS).await.source, "worker");
    assert_eq!(bridge.attempts(), [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_validation_error_delivered_to_one_who_joined_is_delivered() {
    let bridge = Bridge::new("", &[Worker::SaysAfter(1_000, INVALID)]);
    let (_, ()) = tokio::join!(bridge.post(CLAIMS), bridge.post_and_hang_up(CLAIMS, 500));
    assert_eq!(bridge.post(CLAIMS).await.source, "worker");
    assert_eq!(bridge.got().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_hangs_up_does_not_stop_the_decision() {
    let bridge = Bridge::new("", &[Worker::SaysAfter(1_000, CONTINUE), Worker::Silent]);
    bridge.post_and_hang_up(CLAIMS, 100).await;
    let (heard, ms) = timed(bridge.post(CLAIMS)).await;
    assert_eq!((&*heard.source, ms), ("worker", 900), "the retry joins");
    bridge.post_and_hang_up(r#"{"email":"b@b.c"}"#, 100).await;
    pass(20_000).await;
    assert_eq!(bridge.post(CLAIMS).await.source, "replay");
    let counted = r#"requests_total{action="continue",code="200",connector="c",source="worker",step="before-create"}"#;
    assert_eq!(bridge.metric(counted), 2.0, "the one that hung up is counted too");
}

#[tokio::test(start_paused = true)]
async fn after_a_fallback_the_next_request_asks_again_as_the_next_attempt() {
    let bridge =
        Bridge::new("deadline: 2s", &[Worker::Silent, Worker::Silent, Worker::Says(BLOCK)]);
    for source in ["default", "default", "worker", "replay"] {
        assert_eq!(bridge.post(CLAIMS).await.source, source);
    }
    assert_eq!(bridge.attempts(), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_reached_nobody_does_not_count_as_an_attempt() {
    let bridge = Bridge::new("", &[Worker::Absent]);
    assert_eq!(bridge.post(CLAIMS).await.source, "default");
    bridge.worker(&[Worker::Says(CONTINUE)]);
    assert_eq!(bridge.post(CLAIMS).await.source, "worker");
    assert!(bridge.attempts().iter().all(|attempt| *attempt == 1), "{:?}", bridge.attempts());
}

#[tokio::test(start_paused = true)]
async fn a_failed_worker_is_not_asked_again_in_the_same_call_but_by_the_next_request() {
    for worker in [Worker::Fails(None), Worker::Says("<html>")] {
        let bridge = Bridge::new("", &[worker, Worker::Says(CONTINUE)]);
        let (heard, ms) = timed(bridge.post(CLAIMS)).await;
        assert_eq!((&*heard.source, ms, bridge.got().len()), ("default", 0, 1));
        assert_eq!(bridge.post(CLAIMS).await.source, "worker");
        assert_eq!(bridge.attempts(), [1, 2]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_decision_answers_the_next_identical_call() {
    for reply in [CONTINUE, BLOCK, INVALID] {
        let bridge = Bridge::new("deadline: 2s", &[Worker::SaysAfter(5_000, reply)]);
        assert_eq!(bridge.post(CLAIMS).await.source, "default");
        pass(4_000).await;
        assert_eq!(bridge.post(CLAIMS).await.source, "replay", "{reply}");
        assert_eq!(bridge.got().len(), 1);
        assert_eq!(bridge.metric(r#"late_replies_total{connector="c"}"#), 1.0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_decision_later_than_the_window_is_only_counted() {
    let bridge =
        Bridge::new("deadline: 2s", &[Worker::SaysAfter(44_000, CONTINUE), Worker::Silent]);
    bridge.post(CLAIMS).await;
    pass(42_500).await;
    assert_eq!(bridge.post(CLAIMS).await.source, "replay");
    let other = Bridge::new("deadline: 2s", &[Worker::SaysAfter(46_000, CONTINUE), Worker::Silent]);
    other.post(CLAIMS).await;
    pass(45_000).await;
    assert_eq!(other.post(CLAIMS).await.source, "default");
    assert_eq!(other.attempts(), [1, 1], "after the window it is a first call again");
}

#[tokio::test(start_paused = true)]
async fn the_first_decision_of_either_message_counts() {
    let script = [Worker::SaysAfter(5_000, CONTINUE), Worker::SaysAfter(4_000, BLOCK)];
    let bridge = Bridge::new("deadline: 3s", &script);
    assert_eq!(bridge.post(CLAIMS).await.source, "default"); // at 2,900 ms
    let (second, ms) = timed(bridge.post(CLAIMS)).await;
    assert_eq!((&*second.source, ms), ("worker", 2_100));
    assert!(second.body.contains("Continue"), "{}", second.body);
    pass(10_000).await; // the second message's reply comes, and is too late
    assert_eq!(bridge.post(CLAIMS).await.body, second.body);
    assert_eq!(bridge.attempts(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn calls_that_name_no_person_are_never_joined_or_replayed() {
    let bridge = Bridge::new("identify_by: [badge]", &[Worker::SaysAfter(100, CONTINUE)]);
    for nobody in [r#"{"city":"Ulm"}"#, r#"{"email":"","badge":null}"#] {
        let before = bridge.got().len();
        let (one, other) = tokio::join!(bridge.post(nobody), bridge.post(nobody));
        assert_eq!((&*one.source, &*other.source), ("worker", "worker"));
        assert_eq!(bridge.post(nobody).await.source, "worker");
        assert_eq!(bridge.got().len() - before, 3);
    }
    let badge = r#"{"badge":"7"}"#;
    assert_eq!(bridge.post(badge).await.source, "worker");
    assert_eq!(bridge.post(badge).await.source, "replay");
    assert!(bridge.attempts().iter().all(|attempt| *attempt == 1));
}

#[tokio::test(start_paused = true)]
async fn the_same_claims_at_another_connector_are_another_call() {
    let config = "connectors:\n  c: {protocol: entra, step: before-create, auth: none}\n  d: {protocol: entra, step: before-create, auth: none}\n";
    let bridge = Bridge::with(config, &[Worker::Says(CONTINUE)]);
    let (one, other) = (bridge.post_to("c", CLAIMS).await, bridge.post_to("d", CLAIMS).await);
    assert_ne!(one.call_id, other.call_id);
    assert_eq!(other.source, "worker");
}

#[tokio::test(start_paused = true)]
async fn no_more_calls_are_remembered_than_allowed() {
    let config = "calls: {max_entries: 10}\nconnectors: {c: {protocol: entra, step: before-create, auth: none}}";
    let bridge = Bridge::with(config, &[Worker::Says(CONTINUE)]);
    for n in 0..100 {
        bridge.post(Box::leak(format!("{{\"email\":\"{n}\"}}").into())).await;
        pass(1).await;
    }
    assert_eq!(bridge.front.pipeline.sizes().0, 10);
    assert_eq!(bridge.post(r#"{"email":"99"}"#).await.source, "replay", "the newest are kept");
    assert_eq!(bridge.post(r#"{"email":"0"}"#).await.source, "worker");
}

#[tokio::test(start_paused = true)]
async fn what_is_over_is_forgotten() {
    let bridge = Bridge::new("deadline: 1s", &[Worker::Says(CONTINUE), Worker::Silent]);
    bridge.post(CLAIMS).await;
    bridge.post(r#"{"email":"b"}"#).await;
    assert_eq!(bridge.front.pipeline.sizes(), (2, (0, 1)));
    pass(47_000).await;
    assert_eq!(bridge.front.pipeline.sizes(), (0, (0, 0)));
}

#[tokio::test(start_paused = true)]
async fn a_panic_costs_one_answer_and_nothing_hangs() {
    let bridge = Bridge::new("", &[Worker::Panics, Worker::Says(CONTINUE)]);
    let (one, other) = tokio::join!(bridge.post(CLAIMS), bridge.post(CLAIMS));
    for heard in [one, other] {
        assert!(["default", "worker"].contains(&&*heard.source), "{heard:?}");
    }
    assert_eq!(bridge.post(r#"{"email":"z"}"#).await.source, "worker");
    assert_eq!(bridge.metric(r#"requests_in_flight{connector="c"}"#), 0.0);
}
