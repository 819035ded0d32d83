//! What is answered when no decision comes: product rules of section 6. Time is paused.

use connector_bridge::domain::reply::CacheControl;

use crate::support::fake::{Bridge, Worker, pass, timed};

const CLAIMS: &str = r#"{"email":"a@b.c","city":"Ulm"}"#;
const OTHER_FORM: &str = r#"{"email":"a@b.c","city":"Bonn"}"#;
const CONTINUE: &str = r#"{"action":"Continue","tier":"gold"}"#;
const BARE_CONTINUE: &str = r#"{"version":"1.0.0","action":"Continue"}"#;
const BLOCK: &str = r#"{"action":"ShowBlockPage","userMessage":"No."}"#;
const INVALID: &str = r#"{"action":"ValidationError","userMessage":"Bad zip"}"#;

fn person(n: u64) -> &'static str {
    Box::leak(format!("{{\"email\":\"{n}@b.c\"}}").into())
}

fn fallbacks(bridge: &Bridge, reason: &str) -> f64 {
    bridge.metric(&format!(
        "fallbacks_total{{answer=\"default\",connector=\"c\",reason=\"{reason}\"}}"
    ))
}

/// Later than anything is replayed.
async fn pass_the_window() {
    pass(46_000).await;
}

#[tokio::test(start_paused = true)]
async fn silence_is_answered_just_before_the_deadline() {
    for (deadline, answered) in [("50ms", 40), ("500ms", 450), ("2s", 1_900), ("19s", 18_900)] {
        let bridge = Bridge::new(&format!("deadline: {deadline}"), &[Worker::Silent]);
        let (heard, ms) = timed(bridge.post(CLAIMS)).await;
        assert_eq!((heard.status, &*heard.source), (200, "default"));
        assert!((answered..answered + 5).contains(&ms), "{deadline}: {ms} ms");
        assert_eq!(fallbacks(&bridge, "timeout"), 1.0);
        let left = bridge.got()[0].time_left.as_millis();
        assert_eq!(left, answered, "the worker is told until when");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_listening_is_noticed_at_once_and_waited_for_only_in_the_grace() {
    for (grace, ms) in [("500ms", 500), ("0ms", 0), ("1h", 14_900)] {
        let bridge = Bridge::new(&format!("grace: {grace}"), &[Worker::Absent]);
        let (heard, took) = timed(bridge.post(CLAIMS)).await;
        assert_eq!((&*heard.source, took), ("default", ms), "grace {grace}");
        assert_eq!(fallbacks(&bridge, "no_responders"), 1.0, "grace {grace}");
    }
    let script = [Worker::Absent, Worker::Absent, Worker::Says(CONTINUE)];
    let bridge = Bridge::new("", &script);
    let (heard, took) = timed(bridge.post(CLAIMS)).await;
    assert_eq!((&*heard.source, took), ("worker", 60), "a worker that comes back in time decides");
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_waited_for_from_its_loss_and_then_only_in_the_grace() {
    for (keys, waits) in [
        ("", [10_000, 6_000, 500]),
        ("reconnect_grace: 5s", [5_000, 1_000, 500]),
        ("reconnect_grace: 0s", [500, 500, 500]),
        ("deadline: 8s", [7_900, 6_000, 500]),
    ] {
        let bridge = Bridge::new(keys, &[Worker::Says(CONTINUE)]);
        bridge.disconnect();
        let (first, (second, third)) = tokio::join!(timed(bridge.post(person(1))), async {
            pass(4_000).await;
            let second = timed(bridge.post(person(2))).await;
            pass(10_000).await;
            (second, timed(bridge.post(person(3))).await)
        });
        assert_eq!([first.1, second.1, third.1], waits, "{keys}");
        assert_eq!(fallbacks(&bridge, "disconnected"), 3.0, "{keys}");
        let result = r#"nats_requests_total{connector="c",result="disconnected"}"#;
        assert_eq!((bridge.metric(result), bridge.got().len()), (3.0, 0), "{keys}");
        let (heard, ()) = tokio::join!(bridge.post(CLAIMS), async {
            pass(300).await;
            bridge.reconnect();
        });
        assert_eq!((&*heard.source, bridge.attempts()), ("worker", vec![1]), "{keys}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_never_was_is_waited_for_only_in_the_grace() {
    let bridge = Bridge::new("", &[Worker::Says(CONTINUE)]);
    bridge.never_connected();
    let (heard, ms) = timed(bridge.post(CLAIMS)).await;
    assert_eq!((&*heard.source, ms, bridge.got().len()), ("default", 500, 0));
    assert_eq!(fallbacks(&bridge, "disconnected"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_five_seconds_costs_nobody_the_decision_and_who_waited_longest_goes_first() {
    let bridge = Bridge::new("deadline: 10s", &[Worker::Says(CONTINUE)]);
    bridge.disconnect();
    let calls = (0..200).map(async |n: u64| {
        // Not in the order of their numbers.
        pass((n * 37 % 200) * 20).await;
        bridge.post(person(n)).await
    });
    let (heard, ()) = tokio::join!(futures_util::future::join_all(calls), async {
        pass(5_000).await;
        bridge.reconnect();
    });
    assert!(heard.iter().all(|heard| heard.source == "worker"));
    let got: Vec<_> = bridge.got().into_iter().map(|got| got.body).collect();
    let mut by_arrival: Vec<u64> = (0..200).collect();
    by_arrival.sort_by_key(|n| n * 37 % 200);
    let expected: Vec<_> = by_arrival.into_iter().map(person).collect();
    assert_eq!(got, expected);
    let left = bridge.got()[0].time_left.as_millis();
    assert_eq!(left, 4_900, "the one that came first has been told the truth");
}

#[tokio::test(start_paused = true)]
async fn workers_that_return_two_seconds_after_the_connection_decide_all_the_same() {
    let bridge = Bridge::new("", &[Worker::Absent]);
    bridge.disconnect();
    let calls = (0..40).map(async |n| bridge.post(person(n)).await);
    let (heard, ()) = tokio::join!(futures_util::future::join_all(calls), async {
        pass(5_000).await;
        bridge.reconnect();
        pass(2_000).await;
        bridge.worker(&[Worker::Says(CONTINUE)]);
    });
    assert!(heard.iter().all(|heard| heard.source == "worker"));
    assert!(bridge.attempts().iter().all(|attempt| *attempt == 1));
    // Who comes while the connection is long there, and finds nobody, does not wait so long.
    pass(10_000).await;
    bridge.worker(&[Worker::Absent]);
    assert_eq!(timed(bridge.post(person(99))).await.1, 500);
}

#[tokio::test(start_paused = true)]
async fn no_more_calls_wait_for_the_connection_than_may_be_in_flight() {
    let bridge = Bridge::new("max_in_flight: 3", &[Worker::Says(CONTINUE)]);
    bridge.disconnect();
    let calls = (0..5).map(async |n| timed(bridge.post(person(n))).await.1);
    let mut took = futures_util::future::join_all(calls).await;
    took.sort_unstable();
    assert_eq!(took, [0, 0, 10_000, 10_000, 10_000]);
    assert_eq!(fallbacks(&bridge, "overload"), 2.0);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_stood_still_looks_at_the_clock_once_more_before_it_sends() {
    for (still, left) in [(0, Some(1_900)), (1_899, Some(1)), (1_900, None), (30_000, None)] {
        let bridge = Bridge::new("deadline: 2s", &[Worker::Silent]);
        bridge.stand_still(std::time::Duration::from_millis(still));
        let heard = bridge.post(CLAIMS).await;
        assert_eq!(heard.source, "default");
        let sent: Vec<_> = bridge.got().iter().map(|got| got.time_left.as_millis()).collect();
        assert_eq!(sent, Vec::from_iter(left), "{still}");
        assert_eq!(fallbacks(&bridge, "timeout"), 1.0, "{still}");
        let again = bridge.got().len();
        bridge.stand_still(std::time::Duration::ZERO);
        bridge.worker(&[Worker::Says(CONTINUE)]);
        assert_eq!(bridge.post(CLAIMS).await.source, "worker");
        let attempt = bridge.got()[again].attempt;
        assert_eq!(attempt as usize, again + 1, "what was not sent is no attempt");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_is_sent_once_more_after_the_connection_was_lost_and_returned() {
    let bridge = Bridge::new("deadline: 10s", &[Worker::Silent, Worker::Says(CONTINUE)]);
    let (heard, ()) = tokio::join!(bridge.post(CLAIMS), async {
        pass(1_000).await;
        bridge.disconnect();
        pass(1_000).await;
        bridge.reconnect();
    });
    assert_eq!((&*heard.source, bridge.attempts()), ("worker", vec![1, 2]));

    let silent = Bridge::new("deadline: 10s", &[Worker::Silent]);
    let ((heard, ms), ()) = tokio::join!(timed(silent.post(CLAIMS)), async {
        for _ in 0..3 {
            pass(1_000).await;
            silent.disconnect();
            pass(1_000).await;
            silent.reconnect();
        }
    });
    assert_eq!((&*heard.source, silent.attempts()), ("default", vec![1, 2]), "once, not thrice");
    assert!((9_900..9_910).contains(&ms), "a message that was sent is waited for: {ms} ms");

    let late = Bridge::new("deadline: 2s", &[Worker::Silent]);
    let (_, ()) = tokio::join!(late.post(CLAIMS), async {
        pass(950).await;
        late.disconnect();
        late.reconnect();
    });
    assert_eq!(late.attempts(), [1], "less than a second is left");
    assert_eq!(fallbacks(&late, "disconnected"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn the_first_message_may_still_decide_after_the_connection_was_lost() {
    let script = [Worker::SaysAfter(3_000, BLOCK), Worker::Silent];
    let bridge = Bridge::new("deadline: 10s", &script);
    let ((heard, ms), ()) = tokio::join!(timed(bridge.post(CLAIMS)), async {
        pass(1_000).await;
        bridge.disconnect();
        bridge.reconnect();
    });
    assert_eq!((&*heard.source, ms, bridge.attempts()), ("worker", 3_000, vec![1, 2]));
}

#[tokio::test(start_paused = true)]
async fn every_default_has_its_answer_in_the_persons_language() {
    let messages = "message: Later., messages: {de: Später.}";
    let german = r#"{"email":"a@b.c","ui_locales":"de-CH"}"#;
    for (default, status, body) in [
        ("block", 200, r#"{"version":"1.0.0","action":"ShowBlockPage","userMessage":"Später."}"#),
        ("continue", 200, BARE_CONTINUE),
        ("refuse", 503, r#"{"title":"No decision","status":503,"code":"no_decision"}"#),
    ] {
        let rules = format!("fallback: {{default: {default}, {messages}}}");
        let bridge = Bridge::new(&rules, &[Worker::Fails(None)]);
        let heard = bridge.post(german).await;
        assert_eq!((heard.status, &*heard.body, &*heard.source), (status, body, "default"));
        assert!(!heard.call_id.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_claim_is_answered_without_asking_a_worker() {
    let rules =
        "claims: {require: [email, city], require_message: Please.}\nfallback: {default: refuse}";
    let decided =
        r#"{"version":"1.0.0","status":400,"action":"ValidationError","userMessage":"Please."}"#;
    let block = r#"{"version":"1.0.0","action":"ShowBlockPage","userMessage":"Please."}"#;
    let none = r#"{"title":"No decision","status":503,"code":"no_decision"}"#;
    for (protocol, step, status, body) in [
        ("entra", "before-create", 400, decided),
        ("entra", "after-federation", 200, block),
        ("b2c", "before-token", 503, none),
        (
            "b2c-policy",
            "custom",
            409,
            r#"{"version":"1.0.0","status":409,"userMessage":"Please."}"#,
        ),
    ] {
        for claims in
            [r#"{"email":"a"}"#, r#"{"email":"a","city":null}"#, r#"{"email":"a","city":""}"#]
        {
            let bridge = Bridge::at(protocol, step, rules, &[Worker::Says(CONTINUE)]);
            let heard = bridge.post(claims).await;
            assert_eq!((heard.status, &*heard.body), (status, body), "{protocol} {step}");
            assert_eq!((&*heard.source, bridge.got().len()), ("default", 0));
            assert_eq!(fallbacks(&bridge, "missing_claim"), 1.0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_decision_of_the_same_call_is_used_whole() {
    for (reply, part) in [(CONTINUE, "\"tier\":\"gold\""), (BLOCK, "No.")] {
        let bridge = Bridge::new(
            "fallback: {cached: {by: [email]}}",
            &[Worker::Says(reply), Worker::Absent],
        );
        bridge.post(CLAIMS).await;
        pass_the_window().await;
        let heard = bridge.post(CLAIMS).await;
        assert_eq!(heard.source, "cache");
        assert!(heard.body.contains(part), "{}", heard.body);
        let hit = r#"cache_lookups_total{connector="c",result="hit"}"#;
        assert_eq!(bridge.metric(hit), 1.0);
        assert_eq!(bridge.metric("cache_entries"), 1.0);
    }
}

/// One entry can stand for a person and for one form of theirs; another form must not lose its own.
#[tokio::test(start_paused = true)]
async fn each_form_of_a_person_keeps_its_own_last_decision_whole() {
    const SILVER: &str = r#"{"action":"Continue","tier":"silver"}"#;
    const BRONZE: &str = r#"{"action":"Continue","tier":"bronze"}"#;
    let no_store = CacheControl { no_store: true, stale_if_error: None };
    // What is said of the form, of another one, and of the first again; what both get afterwards.
    for (third, form, other) in [
        (Worker::Says(BRONZE), "bronze", "silver"),
        (Worker::Says(INVALID), BARE_CONTINUE, "silver"),
        (Worker::SaysWith(BRONZE, no_store), "503", "silver"),
    ] {
        let rules = "fallback: {default: refuse, cached: {by: [email]}}";
        let said = [Worker::Says(CONTINUE), Worker::Says(SILVER), third, Worker::Absent];
        let bridge = Bridge::new(rules, &said);
        for (number, claims) in [CLAIMS, OTHER_FORM, CLAIMS].into_iter().enumerate() {
            if number == 2 {
                assert_eq!(bridge.metric("cache_entries"), 2.0);
            }
            bridge.post(claims).await;
            pass_the_window().await;
        }
        for (claims, wanted) in [(CLAIMS, form), (OTHER_FORM, other)] {
            let heard = bridge.post(claims).await;
            assert!(heard.body.contains(wanted), "{claims}: {wanted:?} not in {}", heard.body);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn however_many_calls_have_the_same_values_each_keeps_its_own_decision() {
    let rules = "fallback: {default: refuse, cached: {by: [company]}}";
    let bridge = Bridge::new(rules, &[Worker::Says(CONTINUE)]);
    let colleague = |n: usize| -> &'static str {
        Box::leak(format!(r#"{{"email":"{n}","company":"Contoso"}}"#).into())
    };
    for n in 0..7 {
        bridge.post(colleague(n)).await;
    }
    // Of whom nothing of the form is kept, the company's last decision is used.
    bridge.worker(&[Worker::Says(INVALID), Worker::Absent]);
    bridge.post(colleague(7)).await;
    pass_the_window().await;
    for n in 0..8 {
        let heard = bridge.post(colleague(n)).await;
        assert_eq!(heard.body.contains("gold"), n < 7, "colleague {n}: {}", heard.body);
        assert_eq!(heard.source, "cache");
    }
}

#[tokio::test(start_paused = true)]
async fn by_the_same_values_claims_are_left_out_where_they_could_overwrite_a_form() {
    let rules = "fallback: {default: refuse, cached: {by: [email]}}";
    for (protocol, step, body) in [
        ("entra", "before-create", BARE_CONTINUE),
        ("entra", "after-federation", BARE_CONTINUE),
        ("b2c", "before-token", r#"{"version":"1.0.0","action":"Continue","tier":"gold"}"#),
        ("b2c-policy", "custom", "{}"),
    ] {
        let bridge = Bridge::at(protocol, step, rules, &[Worker::Says(CONTINUE), Worker::Absent]);
        bridge.post(CLAIMS).await;
        let heard = bridge.post(OTHER_FORM).await;
        assert_eq!((&*heard.source, &*heard.body), ("cache", body), "{protocol} {step}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fallback_and_a_validation_error_are_never_cached() {
    let rules = "fallback: {default: continue, cached: {by: [email]}}";
    for worker in [Worker::Fails(None), Worker::Says(INVALID), Worker::Says("x")] {
        let bridge = Bridge::new(rules, &[worker, Worker::Absent]);
        bridge.post(CLAIMS).await;
        pass_the_window().await;
        assert_eq!(bridge.post(CLAIMS).await.source, "default");
    }
}

#[tokio::test(start_paused = true)]
async fn a_newer_decision_overtakes_what_was_cached() {
    let rules = "fallback: {cached: {by: [email]}}";
    let no_store = CacheControl { no_store: true, stale_if_error: None };
    // Second decision on the same form; what the same form and another form get afterwards.
    for (second, same, other) in [
        (Worker::Says(BLOCK), "cache", "cache"),
        (Worker::Says(INVALID), "cache", "cache"),
        (Worker::SaysWith(BLOCK, no_store), "default", "default"),
    ] {
        let is_invalid = matches!(second, Worker::Says(INVALID));
        let bridge = Bridge::new(rules, &[Worker::Says(CONTINUE), second, Worker::Absent]);
        bridge.post(CLAIMS).await;
        pass_the_window().await;
        bridge.post(CLAIMS).await;
        pass_the_window().await;
        let heard = bridge.post(CLAIMS).await;
        assert_eq!(heard.source, same);
        if is_invalid {
            assert_eq!(heard.body, BARE_CONTINUE, "of the person, no longer of the form");
        }
        assert_eq!(bridge.post(OTHER_FORM).await.source, other);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cached_decision_has_an_age_limit() {
    let stale =
        CacheControl { no_store: false, stale_if_error: Some(std::time::Duration::from_secs(60)) };
    for (worker, usable) in [(Worker::Says(CONTINUE), 119), (Worker::SaysWith(CONTINUE, stale), 59)]
    {
        let rules = "fallback: {cached: {by: [email], max_age: 2m}}";
        let bridge = Bridge::new(rules, &[worker, Worker::Absent]);
        bridge.post(CLAIMS).await;
        pass(usable * 1_000).await;
        assert_eq!(bridge.post(CLAIMS).await.source, "cache");
        pass(2_000).await;
        assert_eq!(bridge.post(CLAIMS).await.source, "default");
        let expired = r#"cache_lookups_total{connector="c",result="expired"}"#;
        assert_eq!(bridge.metric(expired), 1.0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_without_the_named_claims_or_a_person_is_not_cached() {
    let rules = "fallback: {cached: {by: [city]}}";
    for claims in [r#"{"email":"a","city":""}"#, r#"{"email":"a"}"#, r#"{"city":"Ulm"}"#] {
        let bridge = Bridge::new(rules, &[Worker::Says(CONTINUE), Worker::Absent]);
        bridge.post(claims).await;
        let other: &str = Box::leak(claims.replacen('{', "{\"x\":1,", 1).into());
        assert_eq!(bridge.post(other).await.source, "default", "{claims}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_cache_is_bounded() {
    let rules = "fallback: {cached: {by: [city], max_entries: 20}}";
    let bridge = Bridge::new(rules, &[Worker::Says(CONTINUE)]);
    for n in 0..200 {
        bridge.post(Box::leak(format!("{{\"email\":\"{n}\",\"city\":\"{n}\"}}").into())).await;
    }
    assert!(bridge.metric("cache_entries") <= 20.0);
    pass_the_window().await;
    bridge.worker(&[Worker::Absent]);
    let newest = r#"{"email":"199","city":"199"}"#;
    assert_eq!(bridge.post(newest).await.source, "cache", "the newest are kept");
    assert_eq!(bridge.post(r#"{"email":"0","city":"0"}"#).await.source, "default");
}

#[tokio::test(start_paused = true)]
async fn a_late_decision_is_cached_too() {
    let rules = "deadline: 2s\nfallback: {cached: {by: [email]}}";
    let bridge = Bridge::new(rules, &[Worker::SaysAfter(5_000, CONTINUE), Worker::Absent]);
    assert_eq!(bridge.post(CLAIMS).await.source, "default");
    pass(4_000).await;
    assert_eq!(bridge.post(OTHER_FORM).await.source, "cache");
}
