//! No worker, a silent one, a late one, and one that fails.

use std::time::Duration;

use async_nats::HeaderMap;

use super::{
    SLACK, SUBJECT, assert_is_decided, assert_is_default, claims_of, connector, fallbacks,
    messages,
    raw::Raw,
    worker::{Reply, Worker, is_silent, lets_in, says},
};
use crate::support::{
    process::Serving,
    real::{Bridge, Folder, NatsServer, post, until},
};

/// What a failing worker says; no caller and no log reader should see it.
const ERROR_TEXT: &str = "no row for jane@example.com";

fn fails(code: Option<&str>) -> Reply {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Service-Error", ERROR_TEXT);
    if let Some(code) = code {
        headers.insert("Nats-Service-Error-Code", code);
    }
    Some((headers, ERROR_TEXT.to_owned()))
}

#[tokio::test]
async fn where_nobody_listens_the_fallback_comes_after_the_grace_and_not_at_the_deadline() {
    let server = NatsServer::start().await;
    let bridge = Bridge::start(&server, &connector("deadline: 18s")).await.connected().await;
    let answer = bridge.post("c", &claims_of(1)).await;
    assert_is_default(&answer);
    assert!(answer.took >= Duration::from_millis(490), "{:?}", answer.took);
    assert!(answer.took < Duration::from_secs(18) / 2, "{:?}", answer.took);
    assert_eq!(fallbacks(&bridge, "no_responders").await, 1.0);
    assert!(messages(&bridge, "no_responders").await >= 1.0);
    for other in ["ok", "timeout", "disconnected", "worker_error", "invalid_reply"] {
        assert_eq!(messages(&bridge, other).await, 0.0, "{other}");
    }
}

#[tokio::test]
async fn a_worker_that_appears_within_the_grace_decides_a_first_attempt() {
    let server = NatsServer::start().await;
    let connector = connector("deadline: 18s, grace: 17s");
    let bridge = Bridge::start(&server, &connector).await.connected().await;
    let appear = async {
        until("the first message finds nobody", async || {
            (messages(&bridge, "no_responders").await >= 1.0).then_some(())
        })
        .await;
        Worker::start(&server, lets_in).await
    };
    let claims = claims_of(1);
    let (answer, worker) = tokio::join!(bridge.post("c", &claims), appear);
    assert_is_decided(&answer);
    assert_eq!(worker.attempts(), ["1"]);
    assert_eq!(messages(&bridge, "ok").await, 1.0);
    assert_eq!(fallbacks(&bridge, "no_responders").await, 0.0);
}

#[tokio::test]
async fn a_late_decision_answers_the_next_identical_call() {
    let server = NatsServer::start().await;
    let deadline = Duration::from_millis(400);
    let bridge = Bridge::start(&server, &connector("deadline: 400ms")).await.connected().await;
    let worker = Worker::start(&server, is_silent).await;
    for posted in 1..=2 {
        let answer = bridge.post("c", &claims_of(1)).await;
        assert_is_default(&answer);
        assert!(answer.took >= deadline * 8 / 10, "{:?}", answer.took);
        assert!(answer.took < deadline + SLACK, "{:?}", answer.took);
        assert_eq!(fallbacks(&bridge, "timeout").await, f64::from(posted));
        assert_eq!(messages(&bridge, "timeout").await, f64::from(posted));
    }
    assert_eq!(worker.attempts(), ["1", "2"]);

    let late = r#"late_replies_total{connector="c"}"#;
    assert_eq!(bridge.metric(late).await, Some(0.0));
    worker.reply_to(0, r#"{"action":"Continue","extension_From":"the first message"}"#).await;
    bridge.until_metric(late, 1.0).await;
    worker.reply_to(1, r#"{"action":"ShowBlockPage","userMessage":"The second."}"#).await;
    bridge.until_metric(late, 2.0).await;
    let answer = bridge.post("c", &claims_of(1)).await;
    assert_eq!(answer.source(), "replay");
    assert!(answer.body.contains("the first message"), "{}", answer.body);
    assert_eq!(worker.attempts(), ["1", "2"], "a replay asks nobody");
}

#[tokio::test]
async fn a_late_decision_of_the_first_message_answers_a_retry_that_waits() {
    let server = NatsServer::start().await;
    let deadline = Duration::from_secs(4);
    let bridge = Bridge::start(&server, &connector("deadline: 4s")).await.connected().await;
    let worker = Worker::start(&server, is_silent).await;
    assert_is_default(&bridge.post("c", &claims_of(1)).await);
    let late = async {
        worker.until_got(2).await;
        worker.reply_to(0, r#"{"action":"Continue"}"#).await;
    };
    let claims = claims_of(1);
    let (answer, ()) = tokio::join!(bridge.post("c", &claims), late);
    assert_is_decided(&answer);
    assert!(answer.took < deadline / 2, "{:?}", answer.took);
    assert_eq!(worker.attempts(), ["1", "2"]);
}

#[tokio::test]
async fn a_worker_that_says_that_it_failed_gives_the_fallback_without_its_words() {
    let server = NatsServer::start().await;
    let bridge = Bridge::start(&server, &connector("deadline: 18s")).await.connected().await;
    let worker = Worker::start(&server, |message| {
        let claims: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
        match claims["code"].as_str() {
            Some("none") => fails(None),
            code => fails(code),
        }
    })
    .await;
    for (count, code) in ["500", "400", "none", "not a number", ""].into_iter().enumerate() {
        let answer = bridge.post("c", &format!(r#"{{"email":"a@b.c","code":"{code}"}}"#)).await;
        assert_is_default(&answer);
        let answer = format!("{}{}", answer.head, answer.body);
        assert!(!answer.contains("jane") && !answer.contains("row"), "{answer}");
        assert_eq!(fallbacks(&bridge, "worker_error").await, count as f64 + 1.0, "{code}");
        assert_eq!(messages(&bridge, "worker_error").await, count as f64 + 1.0, "{code}");
        assert_eq!(worker.got().len(), count + 1, "not sent again: {code}");
    }
}

#[tokio::test]
async fn of_a_failure_only_the_number_is_logged_and_of_a_call_no_claim() {
    let server = NatsServer::start().await;
    let bridge = Serving::start(&server, "", &connector("deadline: 18s")).await.connected().await;
    let _worker = Worker::start(&server, |_| fails(Some("507"))).await;
    assert_is_default(&post(bridge.port, "c", &claims_of(1)).await);
    let log = until("the call is in the log", async || {
        Some(bridge.program.err()).filter(|log| log.contains(r#""message":"answered""#))
    })
    .await;
    assert!(log.contains(r#""code":507"#), "{log}");
    for secret in ["jane", "no row", "person1", "Person 1"] {
        assert!(!log.contains(secret), "{secret} is in {log}");
    }
}

#[tokio::test]
async fn what_has_a_payload_is_a_reply_whatever_status_stands_on_it() {
    let server = NatsServer::start().await;
    let bridge = Bridge::start(&server, &connector("deadline: 18s")).await.connected().await;
    let mut worker = Raw::connect(&server, "").await.unwrap_or_else(|said| panic!("{said:?}"));
    assert!(worker.say(&format!("SUB {SUBJECT} w 1\r\n")).await.is_empty());
    let claims = claims_of(1);
    let (answer, messages) = tokio::join!(bridge.post("c", &claims), async {
        let reply = worker.next_reply_subject().await;
        let (head, body) = ("NATS/1.0 503\r\n\r\n", r#"{"action":"Continue"}"#);
        let lengths = format!("{} {}", head.len(), head.len() + body.len());
        worker.say(&format!("HPUB {reply} {lengths}\r\n{head}{body}\r\n")).await
    });
    assert_is_decided(&answer);
    assert!(messages.is_empty(), "no second message: {messages:?}");
    assert_eq!(super::messages(&bridge, "ok").await, 1.0);
    assert_eq!(super::messages(&bridge, "no_responders").await, 0.0);
}

/// Creates a stream without a client library's help.
async fn add_stream(client: &async_nats::Client, name: &str, subject: &str) {
    let stream = format!(r#"{{"name":"{name}","subjects":["{subject}"],"storage":"memory"}}"#);
    let api = format!("$JS.API.STREAM.CREATE.{name}");
    let made = until("JetStream makes the stream", async || {
        let made = client.request(api.clone(), stream.clone().into()).await.ok()?;
        Some(String::from_utf8(made.payload.to_vec()).unwrap())
    })
    .await;
    assert!(made.contains(r#""config""#) && !made.contains(r#""error""#), "{made}");
}

#[tokio::test]
async fn a_stream_that_captures_the_subject_is_named_as_the_fault() {
    let folder = Folder::new();
    let config = format!("jetstream {{store_dir: {:?}}}", folder.0);
    let server = NatsServer::start_with(&config).await;
    let bridge = Bridge::start(&server, &connector("deadline: 18s")).await.connected().await;
    add_stream(&server.client().await, "CAPTURES", "connectors.>").await;
    let rejected =
        |reason: &str| format!(r#"reply_rejections_total{{connector="c",reason="{reason}"}}"#);
    // The second time, the stream finds the same Nats-Msg-Id and says so.
    for count in [1.0, 2.0] {
        let answer = bridge.post("c", &claims_of(1)).await;
        assert_is_default(&answer);
        assert!(!answer.body.contains("CAPTURES"), "{}", answer.body);
        assert_eq!(bridge.metric(&rejected("jetstream_ack")).await, Some(count));
        assert_eq!(bridge.metric(&rejected("unknown_action")).await, Some(0.0));
        assert_eq!(fallbacks(&bridge, "invalid_reply").await, count);
        assert_eq!(messages(&bridge, "invalid_reply").await, count);
    }
}

#[tokio::test]
async fn a_reply_that_is_no_decision_gives_the_fallback_and_is_not_asked_for_again() {
    let server = NatsServer::start().await;
    let bridge = Bridge::start(&server, &connector("deadline: 18s")).await.connected().await;
    let worker = Worker::start(&server, |_| says("Continue")).await;
    assert_is_default(&bridge.post("c", &claims_of(1)).await);
    assert_eq!(fallbacks(&bridge, "invalid_reply").await, 1.0);
    assert_eq!(worker.got()[0].message.subject.as_str(), SUBJECT);
    assert_eq!(worker.attempts(), ["1"]);
}
