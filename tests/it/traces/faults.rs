//! A collector that hangs, refuses or is gone: it costs spans, and nothing else.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{CLAIMS, Collector, NatsServer, Serving, YES, connector, post, serve, until, worker};
use crate::support::proxy::{Flow, Proxy};

const FULL: &str = r#"spans_dropped_total{reason="queue_full"}"#;
const FAILED: &str = r#"spans_dropped_total{reason="export_failed"}"#;

/// Calls that are all decided by the worker, each by a new person.
async fn calls(serving: &Serving, count: usize) {
    static PERSON: AtomicUsize = AtomicUsize::new(0);
    for _ in 0..count {
        let person = PERSON.fetch_add(1, Ordering::Relaxed);
        let claims = format!(r#"{{"email":"{person}@example.com"}}"#);
        let answer = post(serving.port, "c", &claims).await;
        assert!(answer.head.contains("connector-answer-source: worker"), "{answer:?}");
    }
}

async fn until_more(serving: &Serving, series: &str, than: f64) -> f64 {
    until(series, async || serving.metric(series).await.filter(|value| *value > than)).await
}

#[tokio::test]
async fn a_collector_that_hangs_or_is_gone_costs_spans_which_are_counted_and_no_call() {
    let (server, collector) = (NatsServer::start().await, Collector::start().await);
    worker(&server, "connectors.>", |_| Some(YES.to_owned())).await;
    let line = Proxy::to(collector.port).await;
    let endpoint = format!("http://127.0.0.1:{}", line.port);
    let small = [
        ("OTEL_BSP_MAX_QUEUE_SIZE", "16"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "700"),
    ];
    let serving = serve(&server, &endpoint, &small, "", &connector("c", "")).await;
    calls(&serving, 1).await;
    collector.until_spans(2).await;
    assert_eq!(serving.metric(FULL).await, Some(0.0));
    assert_eq!(serving.metric(FAILED).await, Some(0.0));

    // It takes connections and says nothing: the queue fills up, and batches fail.
    line.set(Flow::Stalled);
    calls(&serving, 40).await;
    let full = until_more(&serving, FULL, 0.0).await;
    let failed = until_more(&serving, FAILED, 0.0).await;
    calls(&serving, 1).await;

    // It takes none: batches fail at once.
    line.set(Flow::Refused);
    line.reset();
    calls(&serving, 10).await;
    until_more(&serving, FAILED, failed).await;

    line.set(Flow::Free);
    until("spans again", async || {
        calls(&serving, 1).await;
        (collector.spans().len() > 2).then_some(())
    })
    .await;
    let sent = 2.0 * serving.metric(r#"calls_total{connector="c",result="first"}"#).await.unwrap();
    let lost = serving.metric(FULL).await.unwrap() + serving.metric(FAILED).await.unwrap();
    assert!(lost >= full + failed && lost < sent, "{lost} of {sent}");
    assert_eq!(
        serving.metric(r#"fallbacks_total{answer="default",connector="c",reason="timeout"}"#).await,
        Some(0.0)
    );
    let log = serving.program.err();
    assert_eq!(log.matches("spans cannot be exported").count(), 1, "{log}");
    assert!(log.contains(r#""cause":"the collector did not answer in time""#), "{log}");
    until("the log", async || {
        serving.program.err().contains("spans are exported again").then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_last_spans_are_sent_before_the_end() {
    let (server, collector) = (NatsServer::start().await, Collector::start().await);
    worker(&server, "connectors.>", |_| Some(YES.to_owned())).await;
    let seldom = [("OTEL_BSP_SCHEDULE_DELAY", "600000")];
    let serving = serve(&server, &collector.endpoint(), &seldom, "", &connector("c", "")).await;
    assert_eq!(post(serving.port, "c", CLAIMS).await.status, 200);
    serving.program.signal("TERM");
    let ended = serving.program.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    collector.until_spans(2).await;
}

#[tokio::test]
async fn the_end_does_not_wait_for_a_collector_that_hangs() {
    let (server, collector) = (NatsServer::start().await, Collector::start().await);
    worker(&server, "connectors.>", |_| Some(YES.to_owned())).await;
    let line = Proxy::to(collector.port).await;
    line.set(Flow::Stalled);
    let endpoint = format!("http://127.0.0.1:{}", line.port);
    let serving = serve(&server, &endpoint, &[], "shutdown_grace: 4s", &connector("c", "")).await;
    assert_eq!(post(serving.port, "c", CLAIMS).await.status, 200);
    serving.program.signal("TERM");
    let ended = serving.program.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(ended.err.contains("spans were left"), "{}", ended.err);
    assert!(ended.err.contains("stopped; every call was answered"), "{}", ended.err);
}
