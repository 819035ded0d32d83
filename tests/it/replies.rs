//! What a worker's reply becomes: product rules of section 5, one row each.

use connector_bridge::domain::reply::CacheControl;

use crate::support::fake::{Bridge, Worker};

const CLAIMS: &str = r#"{"email":"a@b.c","ui_locales":"de-DE"}"#;
const FALLBACK: &str = "could not check";

/// Case, reply, status, source, part of the body (the whole body where it begins with a brace).
type Row = (&'static str, &'static str, u16, &'static str, &'static str);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("continue",                   r#"{"action":"Continue"}"#, 200, "worker", r#"{"version":"1.0.0","action":"Continue"}"#),
    ("action in any case",         r#"{"action":"cONTINUE"}"#, 200, "worker", r#"{"version":"1.0.0","action":"Continue"}"#),
    ("white space around",         " \n{\"action\" : \"Continue\"}\n", 200, "worker", r#"{"version":"1.0.0","action":"Continue"}"#),
    ("version, status and message are not claims", r#"{"version":"0.0.1","status":200,"action":"Continue","userMessage":"x"}"#, 200, "worker", r#"{"version":"1.0.0","action":"Continue"}"#),
    ("string, number, boolean",    r#"{"action":"Continue","a":"x","b":1.50,"c":true}"#, 200, "worker", r#"{"version":"1.0.0","action":"Continue","a":"x","b":1.50,"c":true}"#),
    ("numbers digit for digit",    r#"{"action":"Continue","a":18446744073709551616,"b":0.1000000000000000055511151231257827,"c":1e400,"d":-0}"#, 200, "worker", r#"{"version":"1.0.0","action":"Continue","a":18446744073709551616,"b":0.1000000000000000055511151231257827,"c":1e400,"d":-0}"#),
    ("a null claim is dropped",    r#"{"action":"Continue","a":null,"b":"y"}"#, 200, "worker", r#"{"version":"1.0.0","action":"Continue","b":"y"}"#),
    ("an escaped name is one name", r#"{"action":"Continue","\u0061\"":"\u00e9"}"#, 200, "worker", r#""a\"":"\u00e9""#),
    ("block",                      r#"{"action":"ShowBlockPage","userMessage":"No."}"#, 200, "worker", r#"{"version":"1.0.0","action":"ShowBlockPage","userMessage":"No."}"#),
    ("validation error",           r#"{"action":"ValidationError","userMessage":"Bad zip"}"#, 400, "worker", r#"{"version":"1.0.0","status":400,"action":"ValidationError","userMessage":"Bad zip"}"#),
    ("markup and line breaks stay", r#"{"action":"ShowBlockPage","userMessage":"<b>a</b>\r\nb"}"#, 200, "worker", r#""userMessage":"<b>a</b>\r\nb""#),
    ("claims of a block are dropped", r#"{"action":"ShowBlockPage","userMessage":"No.","errors":[1]}"#, 200, "worker", r#"{"version":"1.0.0","action":"ShowBlockPage","userMessage":"No."}"#),
    ("no message",                 r#"{"action":"ShowBlockPage"}"#, 200, "worker", "Nicht jetzt"),
    ("null message",               r#"{"action":"ShowBlockPage","userMessage":null}"#, 200, "worker", "Nicht jetzt"),
    ("a number as message",        r#"{"action":"ValidationError","userMessage":5}"#, 400, "worker", "Nicht jetzt"),
    ("blank message",              r#"{"action":"ValidationError","userMessage":" \n"}"#, 400, "worker", "Nicht jetzt"),
    ("a wrong status is ignored",  r#"{"action":"ValidationError","status":500,"userMessage":"x"}"#, 400, "worker", r#""status":400"#),
    ("not JSON",                   "<html>", 200, "default", FALLBACK),
    ("nothing",                    "", 200, "default", FALLBACK),
    ("an array",                   "[]", 200, "default", FALLBACK),
    ("no action",                  r#"{"userMessage":"x"}"#, 200, "default", FALLBACK),
    ("an unknown action",          r#"{"action":"Allow"}"#, 200, "default", FALLBACK),
    ("an action that is no text",  r#"{"action":true}"#, 200, "default", FALLBACK),
    ("an array as claim",          r#"{"action":"Continue","a":[]}"#, 200, "default", FALLBACK),
    ("an object as claim",         r#"{"action":"Continue","a":{}}"#, 200, "default", FALLBACK),
    ("a claim twice",              r#"{"action":"Continue","a":1,"a":2}"#, 200, "default", FALLBACK),
    ("an unpaired surrogate",      r#"{"action":"Continue","a":"\ud800"}"#, 200, "default", FALLBACK),
    ("a JetStream acknowledgement", r#"{"stream":"CALLS","seq":7}"#, 200, "default", FALLBACK),
];

const MESSAGES: &str =
    "fallback: {message: \"We could not check.\", messages: {de: \"Nicht jetzt\"}}";

#[tokio::test(start_paused = true)]
async fn every_reply_becomes_an_answer_of_the_contract() {
    for (name, reply, status, source, body) in ROWS {
        // A fallback is in the person's language too, so its rows ask for none.
        let claims = if *source == "default" { r#"{"email":"a@b.c"}"# } else { CLAIMS };
        let bridge = Bridge::new(MESSAGES, &[Worker::Says(reply)]);
        let heard = bridge.post(claims).await;
        assert_eq!(bridge.got()[0].body, claims, "the worker gets the caller's bytes");
        assert_eq!((heard.status, &*heard.source), (*status, *source), "{name}: {}", heard.body);
        let fits =
            if body.starts_with('{') { heard.body == *body } else { heard.body.contains(body) };
        assert!(fits, "{name}: {}", heard.body);
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_breaks_the_contract_is_counted_by_its_reason() {
    let deep: &str =
        Box::leak(format!("{{\"action\":\"Continue\",\"a\":{}}}", "[".repeat(64)).into());
    let large: &str =
        Box::leak(format!("{{\"action\":\"Continue\",\"a\":\"{}\"}}", "x".repeat(65_536)).into());
    for (reply, reason) in [
        ("<html>", "not_json"),
        (deep, "not_json"),
        ("[]", "not_object"),
        ("{}", "unknown_action"),
        (r#"{"action":"Continue","a":[]}"#, "bad_claim"),
        (r#"{"action":"Continue","a":1,"a":1}"#, "bad_claim"),
        (r#"{"stream":"S","seq":1}"#, "jetstream_ack"),
        (large, "too_large"),
    ] {
        let bridge = Bridge::new("", &[Worker::Says(reply)]);
        bridge.post(r#"{"email":"a@b.c"}"#).await;
        let series = format!("reply_rejections_total{{connector=\"c\",reason=\"{reason}\"}}");
        assert_eq!(bridge.metric(&series), 1.0, "{reason}");
        let result = r#"nats_requests_total{connector="c",result="invalid_reply"}"#;
        assert_eq!(bridge.metric(result), 1.0, "{reason}");
        let fallback = r#"fallbacks_total{answer="default",connector="c",reason="invalid_reply"}"#;
        assert_eq!(bridge.metric(fallback), 1.0, "{reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_is_not_listed_is_dropped_and_counted() {
    let reply = r#"{"action":"Continue","postalCode":"1","tier":"gold","role":"admin","x":null}"#;
    let bridge = Bridge::new("claims: {return: [postalCode, tier]}", &[Worker::Says(reply)]);
    let body = bridge.post(r#"{"email":"a@b.c"}"#).await.body;
    assert_eq!(body, r#"{"version":"1.0.0","action":"Continue","postalCode":"1","tier":"gold"}"#);
    let series = r#"reply_rejections_total{connector="c",reason="claim_not_listed"}"#;
    assert_eq!(bridge.metric(series), 1.0);
    let array = r#"{"action":"Continue","role":["admin"]}"#;
    bridge.worker(&[Worker::Says(array)]);
    assert_eq!(bridge.post(r#"{"email":"b@b.c"}"#).await.source, "default");
}

#[tokio::test(start_paused = true)]
async fn a_long_message_is_cut_at_2000_characters() {
    let long = "ä".repeat(2_001);
    let reply: &str =
        Box::leak(format!(r#"{{"action":"ShowBlockPage","userMessage":"{long}"}}"#).into());
    let bridge = Bridge::new("", &[Worker::Says(reply)]);
    let body = bridge.post(r#"{"email":"a@b.c"}"#).await.body;
    assert_eq!(body.matches('ä').count(), 2_000);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_says_it_failed_is_a_fallback() {
    for code in [Some(500), None] {
        let bridge = Bridge::new("", &[Worker::Fails(code)]);
        assert_eq!(bridge.post(r#"{"email":"a@b.c"}"#).await.source, "default");
        let series = r#"nats_requests_total{connector="c",result="worker_error"}"#;
        assert_eq!(bridge.metric(series), 1.0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_decision_that_the_step_lacks_becomes_the_nearest_or_503() {
    let block = r#"{"action":"ShowBlockPage","userMessage":"No."}"#;
    let invalid = r#"{"action":"ValidationError","userMessage":"No."}"#;
    let refuse = "fallback: {default: refuse}";
    for (protocol, step, reply, status, action) in [
        ("entra", "after-federation", invalid, 200, "show_block_page"),
        ("b2c", "after-federation", invalid, 200, "show_block_page"),
        ("b2c", "before-token", block, 503, "show_block_page"),
        ("b2c", "before-token", invalid, 503, "validation_error"),
        ("b2c-policy", "custom", block, 409, "show_block_page"),
        ("b2c-policy", "custom", invalid, 409, "validation_error"),
    ] {
        let bridge = Bridge::at(protocol, step, refuse, &[Worker::Says(reply)]);
        let heard = bridge.post(r#"{"email":"a@b.c"}"#).await;
        assert_eq!((heard.status, &*heard.source), (status, "worker"), "{protocol} {step}");
        let series = format!(
            r#"requests_total{{action="{action}",code="{status}",connector="c",source="worker",step="{step}"}}"#
        );
        assert_eq!(bridge.metric(&series), 1.0);
    }
}

#[tokio::test(start_paused = true)]
async fn no_store_keeps_a_decision_out_of_the_cache_but_not_out_of_the_retry_memory() {
    let no_store = CacheControl { no_store: true, stale_if_error: None };
    let worker = Worker::SaysWith(r#"{"action":"Continue"}"#, no_store);
    let bridge = Bridge::new("fallback: {cached: {by: [email]}}", &[worker, Worker::Absent]);
    let claims = r#"{"email":"a@b.c"}"#;
    assert_eq!(bridge.post(claims).await.source, "worker");
    assert_eq!(bridge.post(claims).await.source, "replay");
    tokio::time::sleep(std::time::Duration::from_secs(46)).await;
    assert_eq!(bridge.post(claims).await.source, "default");
}
