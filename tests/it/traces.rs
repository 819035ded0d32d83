//! Spans of the program, as a collector that nobody here wrote gets them.

mod faults;
mod settings;

use std::{collections::BTreeMap, path::Path};

use crate::support::{
    collector::{Collector, Span},
    process::{Program, Serving, example, python},
    real::{Folder, NatsServer, config_at, exchange, post, post_head, round_trip, until, worker},
};

const AUTH: &str = r#"auth: {basic: [{username: entra, password_file: "{folder}/password"}]}"#;
const CLAIMS: &str = r#"{"email":"ada@example.com"}"#;
const YES: &str = r#"{"action":"Continue"}"#;
const CALLER: &str = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331";

/// A bridge that exports what it does, soon.
async fn serve(
    server: &NatsServer,
    endpoint: &str,
    more: &[(&str, &str)],
    root: &str,
    connectors: &str,
) -> Serving {
    let (folder, nats) = (Folder::new(), format!("servers: [\"{}\"]", server.url()));
    let root = format!("drain_delay: 0s\n{root}");
    let config = config_at(&folder, &nats, &root, connectors);
    let common = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint), ("OTEL_BSP_SCHEDULE_DELAY", "50")];
    let environment: Vec<_> =
        common.iter().chain(more).map(|(name, value)| (*name, Path::new(*value))).collect();
    Serving::start_as(folder, &environment, &config).await.connected().await
}

fn connector(name: &str, more: &str) -> String {
    format!("  {name}: {{protocol: entra, step: before-create, deadline: 2s, {AUTH}{more}}}\n")
}

/// Posts claims with more headers.
async fn post_with(port: u16, connector: &str, headers: &str, claims: &str) -> u16 {
    let head = post_head(connector, claims.len());
    let request = format!("{head}Connection: close\r\n{headers}\r\n{claims}");
    exchange(port, request.as_bytes()).await.status
}

fn of_kind<'a>(spans: &'a [Span], kind: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.kind == kind).collect()
}

fn attributes(rows: &[(&str, &str)]) -> BTreeMap<String, String> {
    rows.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn a_call_is_a_span_with_its_message_below_it_and_the_workers_below_that() {
    let (server, collector) = (NatsServer::start().await, Collector::start().await);
    let folder = Folder::new();
    let mut command = python();
    command.arg(example("approval-python/worker.py"));
    command.env("NATS_URL", server.url()).env("DATABASE", folder.0.join("requests.db"));
    command.env("SUBJECT", "connectors.approve-signup.before-create");
    command.env("OTEL_SERVICE_NAME", "approvals").env("OTEL_BSP_SCHEDULE_DELAY", "50");
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint());
    let python = Program::spawn(command);
    let connectors = connector("approve-signup", ", claims: {require: [email]}");
    let serving = serve(&server, &collector.endpoint(), &[], "", &connectors).await;
    until("the worker", async || {
        assert!(python.is_running(), "{}", python.err());
        let answer = post(serving.port, "approve-signup", r#"{"email":"first@example.com"}"#).await;
        answer.body.contains("waiting for approval").then_some(())
    })
    .await;
    let answer = post(serving.port, "approve-signup", CLAIMS).await;
    let call_id = answer.header("connector-call-id").unwrap().to_owned();
    let spans = collector.until_trace(&call_id, 3).await;
    let [request] = of_kind(&spans, "SERVER")[..] else { panic!("{spans:#?}") };
    let [message] = of_kind(&spans, "PRODUCER")[..] else { panic!("{spans:#?}") };
    let [worker] = of_kind(&spans, "CONSUMER")[..] else { panic!("{spans:#?}") };
    assert_eq!(request.parent_id, "");
    assert_eq!((&message.parent_id, &worker.parent_id), (&request.id, &message.id));
    for span in [message, worker] {
        assert_eq!(span.trace_id, request.trace_id);
        assert!(request.start <= span.start && span.end <= request.end + 1_000_000, "{spans:#?}");
    }
    for span in &spans {
        assert_eq!((&*span.status, span.links.len()), ("UNSET", 0), "{span:#?}");
        assert!(span.end > span.start && span.start > 1_700_000_000_000_000_000, "{span:#?}");
    }
    let length = CLAIMS.len().to_string();
    let expected = attributes(&[
        ("connector-bridge.action", "show_block_page"),
        ("connector-bridge.call.id", &call_id),
        ("connector-bridge.call.result", "first"),
        ("connector-bridge.connector", "approve-signup"),
        ("connector-bridge.deadline_ms", "2000"),
        ("connector-bridge.protocol", "entra"),
        ("connector-bridge.source", "worker"),
        ("connector-bridge.step", "before-create"),
        ("http.request.body.size", &length),
        ("http.request.method", "POST"),
        ("http.response.status_code", "200"),
        ("http.route", "/connectors/approve-signup"),
        ("url.path", "/connectors/approve-signup"),
        ("url.scheme", "http"),
    ]);
    assert_eq!(request.attributes, expected);
    assert_eq!(request.name, "POST /connectors/approve-signup");
    let subject = "connectors.approve-signup.before-create";
    let expected = attributes(&[
        ("connector-bridge.attempt", "1"),
        ("messaging.destination.name", subject),
        ("messaging.message.body.size", &length),
        ("messaging.message.id", &call_id),
        ("messaging.operation.name", "request"),
        ("messaging.operation.type", "send"),
        ("messaging.system", "nats"),
    ]);
    assert_eq!(message.attributes, expected);
    assert_eq!(message.name, format!("request {subject}"));
    assert_eq!(worker.name, format!("process {subject}"));
    assert_eq!(worker.attribute("messaging.message.id"), call_id);
    let service = |span: &Span| span.resource["service.name"].clone();
    assert_eq!(
        (service(request), service(message), service(worker)),
        ("connector-bridge".to_owned(), "connector-bridge".to_owned(), "approvals".to_owned())
    );
    assert_eq!(request.resource["service.version"], env!("CARGO_PKG_VERSION"));

    // The log line and the exemplar say the same.
    let line = format!(r#""trace_id":"{}""#, request.trace_id);
    assert!(serving.program.err().contains(&line), "{}", serving.program.err());
    let head = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
                Accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3\r\n\r\n";
    let metrics = exchange(serving.admin_port, head.as_bytes()).await;
    assert!(metrics.head.contains("content-type: application/openmetrics-text"), "{metrics:?}");
    let exemplar = format!("# {{trace_id=\"{}\"}} 0.", request.trace_id);
    let line = metrics.body.lines().find(|line| line.contains(&exemplar)).unwrap();
    assert!(line.contains("_bucket{connector=\"approve-signup\",source=\"worker\",le="), "{line}");
}

#[tokio::test]
async fn joined_and_replayed_requests_are_linked_to_the_one_that_led() {
    let (server, collector) = (NatsServer::start().await, Collector::start().await);
    let slow = std::time::Duration::from_millis(300);
    let client = server.client().await;
    let mut calls = client.subscribe("connectors.>").await.unwrap();
    round_trip(&client).await;
    tokio::spawn(async move {
        while let Some(call) = futures_util::StreamExt::next(&mut calls).await {
            tokio::time::sleep(slow).await;
            client.publish(call.reply.unwrap(), YES.into()).await.unwrap();
        }
    });
    let serving = serve(&server, &collector.endpoint(), &[], "", &connector("c", "")).await;
    let (first, second) = tokio::join!(post(serving.port, "c", CLAIMS), async {
        let messages = r#"calls_total{connector="c",result="first"}"#;
        until("the first", async || (serving.metric(messages).await == Some(1.0)).then_some(()))
            .await;
        post(serving.port, "c", CLAIMS).await
    });
    assert_eq!((first.status, second.status), (200, 200));
    assert_eq!(post(serving.port, "c", CLAIMS).await.status, 200);
    let spans = collector.until_spans(4).await;
    let requests = of_kind(&spans, "SERVER");
    let found = |result| {
        let is = |span: &&&Span| span.attribute("connector-bridge.call.result") == result;
        requests.iter().find(is).copied().unwrap()
    };
    let led = found("first");
    let ids = (led.trace_id.clone(), led.id.clone());
    for result in ["joined", "replayed"] {
        let span = found(result);
        assert_eq!(span.links, std::slice::from_ref(&ids), "{result}");
        assert_ne!(span.trace_id, led.trace_id, "{result}");
        let call_id = "connector-bridge.call.id";
        assert_eq!(span.attribute(call_id), led.attribute(call_id));
    }
    assert_eq!(found("joined").attribute("connector-bridge.source"), "worker");
    assert_eq!(found("replayed").attribute("connector-bridge.source"), "replay");
    assert!(led.links.is_empty());
}

#[tokio::test]
async fn a_callers_trace_is_linked_or_where_it_is_trusted_continued() {
    let (server, collector) = (NatsServer::start().await, Collector::start().await);
    worker(&server, "connectors.>", |_| Some(YES.to_owned())).await;
    let headers = format!("traceparent: 00-{CALLER}-01\r\ntracestate: a=1\r\n");
    let (trace_id, span_id) = CALLER.split_once('-').unwrap();
    let mut known = 0;
    for (root, is_trusted) in [("", false), ("traces: {trust_incoming: true}", true)] {
        let serving = serve(&server, &collector.endpoint(), &[], root, &connector("c", "")).await;
        assert_eq!(post_with(serving.port, "c", &headers, CLAIMS).await, 200);
        let spans = collector.until_spans(known + 2).await;
        let [request] = of_kind(&spans[known..], "SERVER")[..] else { panic!("{spans:#?}") };
        known += 2;
        assert_eq!(request.trace_id == trace_id, is_trusted);
        assert_eq!(request.parent_id == span_id, is_trusted);
        let links = if is_trusted { vec![] } else { vec![(trace_id.into(), span_id.into())] };
        assert_eq!(request.links, links);
    }
}

#[tokio::test]
async fn what_went_wrong_can_be_seen_in_the_spans() {
    let (server, collector) = (NatsServer::start().await, Collector::start().await);
    worker(&server, "connectors.>", |call| {
        let text = std::str::from_utf8(&call.payload).unwrap();
        let reply = if text.contains("silent") { None } else { Some("nonsense".to_owned()) };
        reply.filter(|_| !text.contains("absent"))
    })
    .await;
    let connectors = [
        connector("c", ", breaker: {failures: 1000}").replace("2s", "300ms"),
        connector("absent", ", grace: 0s, subject: nobody.listens, fallback: {default: refuse}"),
    ];
    let serving = serve(&server, &collector.endpoint(), &[], "", &connectors.concat()).await;
    let port = serving.port;
    for (connector, claims, status) in [
        ("c", r#"{"email":"silent"}"#, 200),
        ("c", r#"{"email":"broken"}"#, 200),
        ("absent", CLAIMS, 503),
        ("c", "[]", 422),
    ] {
        assert_eq!(post(port, connector, claims).await.status, status, "{claims}");
    }
    let wrong = post_head("c", CLAIMS.len()).replace("ZW50cmE6c2VjcmV0", "ZW50cmE6d3Jvbmc=");
    let wrong = format!("{wrong}Connection: close\r\n\r\n{CLAIMS}");
    assert_eq!(exchange(port, wrong.as_bytes()).await.status, 401);
    let other = post_head("c", 0).replace("POST", "OTHER");
    let other = format!("{other}Connection: close\r\n\r\n");
    assert_eq!(exchange(port, other.as_bytes()).await.status, 405);

    let spans = collector.until_spans(9).await;
    let requests = of_kind(&spans, "SERVER");
    let seen: Vec<_> = requests
        .iter()
        .map(|span| {
            (
                span.attribute("http.response.status_code"),
                &*span.status,
                span.attribute("connector-bridge.source"),
                span.attribute("connector-bridge.fallback.reason"),
                span.attribute("error.type"),
            )
        })
        .collect();
    for wanted in [
        ("200", "UNSET", "default", "timeout", ""),
        ("200", "UNSET", "default", "invalid_reply", ""),
        ("503", "ERROR", "default", "no_responders", "503"),
        ("422", "UNSET", "", "", ""),
        ("401", "UNSET", "", "", ""),
        ("405", "UNSET", "", "", ""),
    ] {
        assert!(seen.contains(&wanted), "{wanted:?} is not in {seen:#?}");
    }
    let other = requests.iter().find(|span| span.name.starts_with("HTTP ")).unwrap();
    assert_eq!(other.attribute("http.request.method"), "_OTHER");
    let mut messages: Vec<_> = of_kind(&spans, "PRODUCER")
        .iter()
        .map(|span| {
            (span.attribute("error.type").to_owned(), span.status.clone(), span.events.clone())
        })
        .collect();
    messages.sort();
    let error = |kind: &str, events: &[&str]| {
        let events: Vec<String> = events.iter().map(|event| (*event).to_owned()).collect();
        (kind.to_owned(), "ERROR".to_owned(), events)
    };
    assert_eq!(
        messages,
        [
            error("invalid_reply", &[]),
            error("no_responders", &[]),
            error("timeout", &["deadline_reached"]),
        ]
    );
}
