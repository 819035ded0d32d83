//! The faults, round after round, and the alerts that each must raise.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    collector::Mood,
    expected::Expected,
    monitors::until,
    receiver::{ALL, PAGE, State},
    story::Story,
    support::proxy::Flow,
    traffic::{CALLERS_MAX, GOOD, Manner, repeat},
    worker::Worker,
};

/// So many lines, and some more, are kept while nobody reads the log.
const LINES_KEPT: usize = 8_192 + 2_000;

const NAMESPACE: (&str, &str) = ("namespace", "identity");
const SIGNUP: (&str, &str) = ("job", "signup");

const fn alert(
    name: &'static str,
    severity: &'static str,
    labels: &'static [(&'static str, &'static str)],
) -> Expected {
    Expected { name, severity, labels }
}

/// Nothing is told while nothing is wrong.
pub(crate) async fn a_good_day(story: &Story) {
    // On a busy machine a Prometheus that begins may see nobody for longer than an alert waits.
    story.prometheus.until("min(count_over_time(connector_bridge_build_info[5s])) > 5").await;
    let began = Instant::now();
    // As long as the longest `for` and the shorter windows, and a quiet connector among them.
    story.prometheus.until("min(count_over_time(connector_bridge_build_info[30s])) > 50").await;
    for connector in ["approve", "lookup", "slow", "repeated"] {
        let calls = format!(
            r#"sum(increase(connector_bridge_requests_total{{connector="{connector}", source="worker"}}[20s])) > 20"#
        );
        story.prometheus.until(&calls).await;
    }
    story.prometheus.until(r#"connector_bridge_workers_available{connector="idle"} == 1"#).await;
    assert_eq!(story.prometheus.sick_rules().await, [""; 0]);
    let mut told = story.notices();
    told.retain(|notice| notice.at > began && notice.status == State::Firing);
    assert!(told.is_empty(), "told on a good day: {told:#?}");
    let firing = r#"count(ALERTS{alertstate="firing"})"#;
    assert_eq!(story.prometheus.value(firing).await, None, "fires on a good day");
}

/// Somebody who does not speak TLS, at a port where it is spoken, again and again.
async fn speak_no_tls(port: u16) {
    loop {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        drop(stream.read_to_end(&mut Vec::new()).await);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// What goes wrong with calls at one connector each, and with files.
pub(crate) async fn bad_calls_and_bad_files(story: &mut Story) {
    const FAILING: &[Expected] = &[
        alert("AvailabilityBudgetBurn", "critical", &[SIGNUP, NAMESPACE]),
        alert("AvailabilityBudgetBurn", "warning", &[SIGNUP, NAMESPACE]),
        alert("UnexpectedStatus", "warning", &[SIGNUP, ("connector", "lookup")]),
    ];
    const SLOW: &[Expected] = &[
        alert("LatencyBudgetBurn", "warning", &[("job", "tokens")]),
        alert("LatencyBudgetBurn", "info", &[("job", "tokens")]),
        alert("DeadlinePressure", "warning", &[("connector", "slow")]),
    ];
    const SILENT: &[Expected] = &[
        alert("ServingFallback", "critical", &[SIGNUP, ("connector", "silent")]),
        alert("ServingFallback", "warning", &[SIGNUP, ("connector", "silent")]),
        alert("BreakerOpen", "warning", &[SIGNUP, ("connector", "silent")]),
    ];
    const GARBAGE: &[Expected] =
        &[alert("InvalidReplies", "warning", &[SIGNUP, ("connector", "garbage")])];
    const CROWD: &[Expected] =
        &[alert("Overloaded", "warning", &[SIGNUP, ("connector", "narrow")])];
    const SOME: &[Expected] =
        &[alert("AuthFailures", "warning", &[SIGNUP, ("connector", "approve")])];
    const NO_JSON: &[Expected] =
        &[alert("UnexpectedStatus", "warning", &[SIGNUP, ("connector", "approve")])];
    const LOCKED: &[Expected] =
        &[alert("AllRequestsRefused", "critical", &[SIGNUP, ("connector", "locked")])];
    const AGAIN: &[Expected] = &[alert("Retries", "warning", &[("connector", "repeated")])];
    const UNREAD: &[Expected] = &[alert("LogLinesDropped", "warning", &[("job", "unread")])];
    const CERTIFICATE: &[Expected] = &[
        alert(
            "CertificateExpiry",
            "critical",
            &[("job", "edge-connector-bridge"), ("role", "server")],
        ),
        alert(
            "CertificateExpiry",
            "warning",
            &[("job", "edge-connector-bridge"), ("role", "server")],
        ),
    ];
    const NO_TLS: &[Expected] = &[alert(
        "ConnectionsRefused",
        "warning",
        &[("job", "edge-connector-bridge"), ("reason", "tls_handshake")],
    )];
    const FILE: &[Expected] =
        &[alert("ReloadFailed", "warning", &[("job", "edge-connector-bridge")])];
    const SPANS: &[Expected] = &[alert("SpansDropped", "info", &[("job", "tokens")])];
    const STORE: &[Expected] = &[alert("StoreUnavailable", "warning", &[("job", "shared")])];
    const RECORDS: &[Expected] = &[alert("RecordsLost", "warning", &[("job", "shared")])];

    let then = Instant::now();
    let set = |connector, manner| story.traffic.set(connector, manner);
    set("lookup", Manner { plans: &["fails 0"], ..GOOD });
    set("slow", Manner { plans: &["decide 2700"], at_once: 12, ..GOOD });
    set("silent", Manner { plans: &["silent 0"], at_once: 4, ..GOOD });
    set("garbage", Manner { plans: &["garbage 0", "decide 0"], ..GOOD });
    set("narrow", Manner { plans: &["decide 400"], at_once: 12, ..GOOD });
    set("approve", Manner { wrong_password: Some(4), nonsense: Some(7), ..GOOD });
    set("locked", Manner { wrong_password: Some(1), ..GOOD });
    set("repeated", Manner { repeats: Some(3), ..GOOD });
    let stranger = tokio::spawn(speak_no_tls(story.edge.port));
    story.edge.certify(&story.authority, 1);
    story.edge.write("password", "");
    story.collector.set(Mood::Refuses);
    story.lose_streams().await;
    repeat(story.unread.place.port, "repeated", LINES_KEPT).await.unwrap();

    story.raised(then, "workers that fail, and no fallback", FAILING).await;
    story.raised(then, "workers that take 2.7 s", SLOW).await;
    story.raised(then, "workers that keep silent", SILENT).await;
    story.raised(then, "replies that are no decisions", GARBAGE).await;
    story.raised(then, "more calls than `max_in_flight`", CROWD).await;
    story.raised(then, "some wrong passwords", SOME).await;
    story.raised(then, "bodies that are no JSON", NO_JSON).await;
    story.raised(then, "wrong passwords only", LOCKED).await;
    story.raised(then, "calls that are repeated", AGAIN).await;
    story.raised(then, "standard error that nobody reads", UNREAD).await;
    story.raised(then, "a certificate that ends in a day", CERTIFICATE).await;
    story.raised(then, "an empty password file", FILE).await;
    story.raised(then, "handshakes that all fail", NO_TLS).await;
    story.raised(then, "the stream of calls deleted", STORE).await;
    story.raised(then, "the stream of records deleted", RECORDS).await;
    story.raised(then, "a collector that refuses spans", SPANS).await;

    let then = Instant::now();
    story.traffic.set_all_good();
    stranger.abort();
    story.edge.certify(&story.authority, 60);
    story.edge.write("password", "secret");
    story.collector.set(Mood::Takes);
    story.return_streams().await;
    story.unread.read();
    for mended in [
        FAILING,
        SLOW,
        SILENT,
        GARBAGE,
        CROWD,
        SOME,
        NO_JSON,
        LOCKED,
        AGAIN,
        UNREAD,
        CERTIFICATE,
        FILE,
        NO_TLS,
        STORE,
        RECORDS,
        SPANS,
    ] {
        story.ended(then, mended).await;
    }
}

/// All workers leave. Nobody calls `idle`: its worker is missed because it described itself.
pub(crate) async fn workers_gone(story: &mut Story) {
    const NOBODY: &[Expected] = &[
        alert("NoWorkers", "critical", &[SIGNUP, ("connector", "approve")]),
        alert("NoWorkers", "critical", &[("job", "tokens"), ("connector", "slow")]),
    ];
    const UNCALLED: &[Expected] =
        &[alert("NoWorkers", "critical", &[SIGNUP, ("connector", "idle")])];
    story.until_quiet().await;
    let then = Instant::now();
    story.worker = None;
    story.raised(then, "workers gone, met by calls", NOBODY).await;
    story.raised(then, "workers gone, before any call", UNCALLED).await;
    let then = Instant::now();
    story.worker = Some(Worker::start(&story.nats.url()).await);
    story.ended(then, NOBODY).await;
    story.ended(then, UNCALLED).await;
}

/// One instance of two has no line to NATS.
pub(crate) async fn one_line_cut(story: &mut Story) {
    const CUT: &[Expected] = &[alert("NatsInstanceDisconnected", "warning", &[SIGNUP, NAMESPACE])];
    story.until_quiet().await;
    let then = Instant::now();
    story.line.set(Flow::Refused);
    story.line.cut();
    story.raised(then, "the line of one instance to NATS cut", CUT).await;
    let all = story.receiver.since(then, ALL);
    let is_all = |name: &str| name == "ConnectorBridgeNatsDisconnected";
    assert!(!all.iter().any(|notice| is_all(&notice.labels["alertname"])), "{all:#?}");
    let then = Instant::now();
    story.line.set(Flow::Free);
    story.ended(then, CUT).await;
}

/// NATS is gone. Everything that follows from it is muted: one fault, one page.
pub(crate) async fn nats_gone(story: &mut Story) {
    const GONE: &[Expected] = &[alert("NatsDisconnected", "critical", &[SIGNUP, NAMESPACE])];
    const FOLLOWS: &[Expected] =
        &[alert("ServingFallback", "critical", &[SIGNUP, ("connector", "approve")])];
    story.until_quiet().await;
    let then = Instant::now();
    story.nats.kill();
    story.raised(then, "nats-server killed", GONE).await;
    story.raised(then, "nats-server killed", FOLLOWS).await;
    until("what follows is muted", async || {
        let muted = story.pages.are_muted("ConnectorBridgeServingFallback", SIGNUP.1).await;
        (!muted.is_empty() && muted.iter().all(|is_muted| *is_muted)).then_some(())
    })
    .await;
    let receiver = story.receiver.clone();
    let pages = || {
        let pages = receiver.since(then, PAGE).into_iter();
        let pages = pages.filter(|notice| notice.labels["job"] == "signup");
        pages.filter(|notice| notice.status == State::Firing).collect::<Vec<_>>()
    };
    until("a page", async || (!pages().is_empty()).then_some(())).await;
    let paged = pages();
    let is_cause = |name: &str| name == "ConnectorBridgeNatsDisconnected";
    assert!(paged.iter().all(|notice| is_cause(&notice.labels["alertname"])), "{paged:#?}");
    let then = Instant::now();
    story.nats.run().await;
    story.ended(then, GONE).await;
    story.ended(then, FOLLOWS).await;
}

/// One instance stands still for longer than a caller of B2C waits, with calls in its hands.
pub(crate) async fn frozen(story: &mut Story) {
    const LATE: &[Expected] = &[
        alert("LateResponses", "critical", &[SIGNUP, ("connector", "lookup")]),
        alert("LateResponses", "warning", &[SIGNUP, ("connector", "lookup")]),
        alert("Stalled", "warning", &[SIGNUP]),
    ];
    const STILL: Duration = Duration::from_millis(5_500);
    story.until_quiet().await;
    story.traffic.set("lookup", Manner { plans: &["decide 1000"], at_once: CALLERS_MAX, ..GOOD });
    until("calls in its hands", async || {
        let held = story.b.metric(r#"requests_in_flight{connector="lookup"}"#).await?;
        (held >= 14.0).then_some(())
    })
    .await;
    let then = Instant::now();
    story.b.signal("STOP");
    // Nothing to wait for but time.
    tokio::time::sleep(STILL).await;
    story.b.signal("CONT");
    story.raised(then, "one instance stopped for 5.5 s", LATE).await;
    let then = Instant::now();
    story.traffic.set_all_good();
    story.ended(then, LATE).await;
}

/// One instance is killed, then the other; then one starts again and again.
pub(crate) async fn killed(story: &mut Story) {
    const DOWN: &[Expected] = &[alert("Down", "warning", &[SIGNUP, NAMESPACE])];
    const ABSENT: &[Expected] = &[alert("Absent", "critical", &[SIGNUP, NAMESPACE])];
    const RESTARTS: &[Expected] = &[alert("Restarting", "warning", &[SIGNUP, NAMESPACE])];
    story.until_quiet().await;
    let then = Instant::now();
    story.b.kill();
    story.raised(then, "one instance killed", DOWN).await;
    let then = Instant::now();
    story.a.kill();
    story.raised(then, "all instances of a job killed", ABSENT).await;
    let then = Instant::now();
    story.a.start().await;
    story.b.start().await;
    story.ended(then, ABSENT).await;
    story.ended(then, DOWN).await;

    let started =
        format!(r#"process_start_time_seconds{{instance="127.0.0.1:{}"}}"#, story.b.admin_port);
    let then = Instant::now();
    for restart in 1..=3 {
        // Starts are known to the second.
        story.prometheus.until(&format!("time() - {started} > 1.5")).await;
        story.b.kill();
        story.b.start().await;
        let seen = format!("changes({started}[30s]) >= {restart}");
        story.prometheus.until(&seen).await;
    }
    story.raised(then, "one instance started again three times", RESTARTS).await;
    story.ended(Instant::now(), RESTARTS).await;
}
