//! The message as a worker gets it, read from the socket without a client library.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use super::{
    SUBJECT, claims_of, connector,
    worker::{Worker, says},
};
use crate::support::real::{Bridge, NatsServer, SOON, exchange, post_head};

/// A subscriber that sees every byte.
struct RawWorker(BufReader<TcpStream>);

/// A message as it was on the wire.
struct RawMessage {
    subject: String,
    /// Names in the case in which they came.
    headers: BTreeMap<String, String>,
    head: String,
    payload: Vec<u8>,
}

impl RawWorker {
    async fn start(server: &NatsServer) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
        let mut worker = Self(BufReader::new(stream));
        assert!(worker.line().await.starts_with("INFO "));
        let hello = format!(
            "CONNECT {{\"verbose\":false,\"headers\":true}}\r\nSUB {SUBJECT} 1\r\nPING\r\n"
        );
        worker.0.get_mut().write_all(hello.as_bytes()).await.unwrap();
        while worker.line().await != "PONG" {}
        worker
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        line.strip_suffix("\r\n").unwrap().to_owned()
    }

    /// The next message: `HMSG subject sid reply head-bytes all-bytes`.
    async fn next(&mut self) -> RawMessage {
        tokio::time::timeout(SOON, self.read()).await.unwrap()
    }

    async fn read(&mut self) -> RawMessage {
        let line = loop {
            let line = self.line().await;
            if line.starts_with("HMSG ") {
                break line;
            }
        };
        let fields: Vec<&str> = line.split(' ').collect();
        let (head_bytes, bytes): (usize, usize) =
            (fields[4].parse().unwrap(), fields[5].parse().unwrap());
        let mut both = vec![0; bytes + "\r\n".len()];
        self.0.read_exact(&mut both).await.unwrap();
        let payload = both[head_bytes..bytes].to_vec();
        let head = String::from_utf8(both[..head_bytes].to_vec()).unwrap();
        let mut headers = BTreeMap::new();
        let lines = head.strip_prefix("NATS/1.0\r\n").unwrap().strip_suffix("\r\n").unwrap();
        for header in lines.lines() {
            let (name, value) = header.split_once(':').unwrap();
            let twice = headers.insert(name.to_owned(), value.trim().to_owned());
            assert_eq!(twice, None, "{name} stands twice");
        }
        RawMessage { subject: fields[1].to_owned(), headers, head, payload }
    }
}

/// Posts to `c` with the default deadline and returns what the worker gets, and the wall clock's
/// readings before and after. Nobody waits for the answer.
async fn message_for(claims: &str, more_head: &str) -> (RawMessage, SystemTime, SystemTime) {
    let server = NatsServer::start().await;
    let bridge = Bridge::start(&server, &connector("")).await.connected().await;
    message_at(&server, &bridge, claims, more_head).await
}

async fn message_at(
    server: &NatsServer,
    bridge: &Bridge,
    claims: &str,
    more_head: &str,
) -> (RawMessage, SystemTime, SystemTime) {
    let mut worker = RawWorker::start(server).await;
    let before = SystemTime::now();
    let head = post_head("c", claims.len());
    let mut caller = bridge.connect().await;
    let request = format!("{head}{more_head}\r\n{claims}");
    caller.write_all(request.as_bytes()).await.unwrap();
    let message = worker.next().await;
    (message, before, SystemTime::now())
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length
        && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
        && text.bytes().any(|c| c != b'0')
}

/// The trace id and the flags of a `traceparent`.
fn trace_of(message: &RawMessage) -> (String, String) {
    let parent = &message.headers["traceparent"];
    let fields: Vec<&str> = parent.split('-').collect();
    assert_eq!(fields.len(), 4, "{parent}");
    assert_eq!(fields[0], "00");
    assert!(is_hex(fields[1], 32) && is_hex(fields[2], 16), "{parent}");
    (fields[1].to_owned(), fields[3].to_owned())
}

#[tokio::test]
async fn the_payload_is_the_callers_body_byte_for_byte() {
    let long = "x".repeat(60_000);
    let many: String = (0..5_000).map(|n| format!(r#""{n:04}":1,"#)).collect();
    for claims in [
        r#"{"email":"a@b.c"}"#,
        " \t\r\n {\r\n\t\"email\" :\n\"a@b.c\" ,  \"n\": 1.50e+02 }\n\n ",
        r#"{"email":"a\r\nNats-Msg-Id: forged\r\n\r\n@b.c","x":"\u0000\u000d\u000a","y":"a\/b"}"#,
        r#"{"email":"*","subject":">","connectors.c.*":"connectors.>"}"#,
        r#"{"email":"ä€😀@b.c","same":"\u00e4\u20ac\uD83D\uDE00"}"#,
        r#"{"email":"a@b.c","n":9007199254740993,"m":18446744073709551616,"x":0.1000000000000000055511151231257827,"y":1e400}"#,
        r#"{"displayName":null,"extension_0123_Unknown":"x","":"","__proto__":{"a":[null]}}"#,
        &format!(r#"{{"email":"a@b.c","long":"{long}"}}"#),
        &format!(r#"{{{many}"email":"a@b.c"}}"#),
    ] {
        let (message, ..) = message_for(claims, "").await;
        assert_eq!(message.subject, SUBJECT);
        assert!(message.payload == claims.as_bytes(), "{claims:?}");
    }
}

#[tokio::test]
async fn the_headers_are_the_documented_ones_in_their_case_with_their_values() {
    let (message, before, after) = message_for(&claims_of(1), "").await;
    let names: Vec<&str> = message.headers.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "Connector-Attempt",
            "Connector-Call-Id",
            "Connector-Deadline",
            "Connector-Name",
            "Connector-Protocol",
            "Connector-Step",
            "Content-Type",
            "Nats-Msg-Id",
            "traceparent",
            "tracestate",
        ]
    );
    let header = |name: &str| message.headers[name].as_str();
    assert_eq!(header("Content-Type"), "application/json");
    assert_eq!(header("Connector-Name"), "c");
    assert_eq!(header("Connector-Step"), "before-create");
    assert_eq!(header("Connector-Protocol"), "entra");
    assert_eq!(header("Connector-Attempt"), "1");
    assert_eq!(header("Nats-Msg-Id"), header("Connector-Call-Id"));
    assert!(header("Connector-Call-Id").len() >= 32);

    // It was sent between `before` and `after`.
    let left = Duration::from_millis(14_900);
    let deadline = header("Connector-Deadline");
    assert_eq!(deadline.len(), "2026-01-01T00:00:00.000Z".len(), "{deadline}");
    assert_eq!((deadline.get(19..20), deadline.get(23..)), (Some("."), Some("Z")), "{deadline}");
    let deadline = humantime::parse_rfc3339(deadline).unwrap();
    let rounding = Duration::from_millis(5);
    assert!(deadline >= before + left - rounding && deadline <= after + left + rounding);

    let (_, flags) = trace_of(&message);
    assert_eq!(flags, "00", "not sampled");
    assert!(!header("tracestate").is_empty());
}

#[tokio::test]
async fn every_connector_has_its_own_subject_name_step_and_protocol() {
    let server = NatsServer::start().await;
    let connectors = format!(
        "  c: {{protocol: b2c-policy, step: custom, subject: {SUBJECT}, identify_by: [email], \
         auth: none, deadline: 3s}}\n"
    );
    let bridge = Bridge::start(&server, &connectors).await.connected().await;
    let (message, _, after) = message_at(&server, &bridge, &claims_of(1), "").await;
    assert_eq!(message.subject, SUBJECT);
    assert_eq!(message.headers["Connector-Name"], "c");
    assert_eq!(message.headers["Connector-Step"], "custom");
    assert_eq!(message.headers["Connector-Protocol"], "b2c-policy");
    let deadline = humantime::parse_rfc3339(&message.headers["Connector-Deadline"]).unwrap();
    assert!(deadline <= after + Duration::from_secs(3), "{deadline:?}");
}

#[tokio::test]
async fn no_claim_is_in_the_subject_or_in_a_header() {
    let claims = r#"{"email":"marker@b.c","marker":"marker","Connector-Name":"marker",
        "ui_locales":"marker","step":"before-token.marker","client_id":"marker"}"#;
    let (message, ..) = message_for(claims, "x-ms-marker: marker\r\n").await;
    assert_eq!(message.subject, SUBJECT);
    assert!(!message.head.to_ascii_lowercase().contains("marker"), "{}", message.head);
}

#[tokio::test]
async fn a_callers_trace_is_continued_only_where_it_is_trusted() {
    const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";
    let head = format!("traceparent: 00-{TRACE_ID}-b7ad6b7169203331-01\r\ntracestate: a=1\r\n");
    let (message, ..) = message_for(&claims_of(1), &head).await;
    assert_ne!(trace_of(&message).0, TRACE_ID);
    assert_eq!(trace_of(&message).1, "00");
    assert!(!message.headers["tracestate"].contains("a=1"));

    let server = NatsServer::start().await;
    let root = "traces: {trust_incoming: true}";
    let bridge = Bridge::start_with(&server, root, &connector("")).await.connected().await;
    let (message, ..) = message_at(&server, &bridge, &claims_of(1), &head).await;
    assert_eq!(trace_of(&message), (TRACE_ID.to_owned(), "01".to_owned()));
    assert!(!message.headers["traceparent"].contains("b7ad6b7169203331"), "a span of its own");
    assert!(message.headers["tracestate"].ends_with(",a=1"));
}

#[tokio::test]
async fn the_call_id_is_that_of_the_claims_and_not_of_their_order_or_white_space() {
    let server = NatsServer::start().await;
    let bridge = Bridge::start(&server, &connector("deadline: 400ms")).await.connected().await;
    let worker = Worker::start(&server, super::worker::is_silent).await;
    for claims in [
        r#"{"email":"a@b.c","address":{"city":"X","zip":"1"},"n":1.0}"#,
        " {\n \"n\":1.0 , \"address\":{\"zip\":\"1\",\"city\":\"\\u0058\"}, \"email\":\"a@b.c\"}",
        r#"{"email":"a@b.c","address":{"city":"X","zip":"1"},"n":1}"#,
        r#"{"email":"A@b.c","address":{"city":"X","zip":"1"},"n":1.0}"#,
    ] {
        let answer = bridge.post("c", claims).await;
        let got = worker.got();
        let sent = got.last().unwrap().header("Connector-Call-Id");
        assert_eq!(answer.header("Connector-Call-Id"), Some(sent), "{claims}");
    }
    let got = worker.got();
    let ids: Vec<&str> = got.iter().map(|got| got.header("Connector-Call-Id")).collect();
    assert_eq!(ids.len(), 4);
    assert_eq!(ids[0], ids[1]);
    assert!(ids[0] != ids[2] && ids[0] != ids[3] && ids[2] != ids[3], "{ids:?}");
    assert_eq!(worker.attempts(), ["1", "2", "1", "1"]);
}

#[tokio::test]
async fn three_hundred_sign_ups_at_once_each_get_their_own_decision() {
    let server = NatsServer::start().await;
    let bridge = Bridge::start(&server, &connector("")).await.connected().await;
    let echo = |message: &async_nats::Message| {
        let claims: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
        let name = &claims["displayName"];
        says(&format!(r#"{{"action":"Continue","extension_Name":{name}}}"#))
    };
    let workers = [Worker::start(&server, echo).await, Worker::start(&server, echo).await];
    let answers = super::post_all(&bridge, 0..300).await;
    for (person, answer) in answers.iter().enumerate() {
        super::assert_is_decided(answer);
        let own = format!(r#""extension_Name":"Person {person}""#);
        assert!(answer.body.contains(&own), "{person}: {}", answer.body);
    }
    assert_eq!(workers.iter().map(|worker| worker.got().len()).sum::<usize>(), 300);
}

#[tokio::test]
async fn a_call_that_the_server_takes_no_payload_of_holds_up_no_other() {
    let server = NatsServer::start_with("max_payload: 8KB").await;
    let bridge = Bridge::start(&server, &connector("deadline: 4s")).await.connected().await;
    let worker = Worker::start(&server, super::worker::lets_in).await;
    let large = format!(r#"{{"email":"a@b.c","long":"{}"}}"#, "x".repeat(20_000));
    let request = format!("{}Connection: close\r\n\r\n{large}", post_head("c", large.len()));
    let other = claims_of(1);
    let (large, other) =
        tokio::join!(exchange(bridge.port, request.as_bytes()), bridge.post("c", &other));
    super::assert_is_default(&large);
    super::assert_is_decided(&other);
    assert_eq!(worker.got().len(), 1);
}
