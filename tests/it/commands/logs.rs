//! What `serve` writes to standard error.

use serde_json::Value;

use crate::support::{
    process::Serving,
    real::{NatsServer, exchange, metric, post, post_head, worker},
};

const AUTH: &str = r#"auth: {basic: [{username: entra, password_file: "{folder}/password"}]}"#;

async fn serve(server: &NatsServer, root: &str) -> Serving {
    let connectors = format!(
        "  c: {{protocol: entra, step: before-create, {AUTH}}}\n  \
         absent: {{protocol: entra, step: before-create, grace: 50ms, {AUTH}}}\n"
    );
    worker(server, "connectors.c.>", |call| {
        let text = std::str::from_utf8(&call.payload).unwrap();
        Some(if text.contains("broken") {
            r#"{"action":"canary-action","x":"canary-reply"}"#.to_owned()
        } else {
            r#"{"action":"ShowBlockPage","userMessage":"canary-message"}"#.to_owned()
        })
    })
    .await;
    let root = format!("drain_delay: 0s\nread_timeout: 300ms\n{root}");
    Serving::start(server, &root, &connectors).await.connected().await
}

/// Sends requests of every kind, all with something that must not be logged. Returns for each
/// one to a connector: connector, action, source, reason and status.
#[rustfmt::skip]
async fn send_all(port: u16) -> Vec<(&'static str, &'static str, &'static str, &'static str, u64)> {
    let claims = r#"{"email":"canary-claim@example.com","canary-name":"canary-value"}"#;
    post(port, "c", claims).await;
    post(port, "c", claims).await;
    post(port, "c", r#"{"email":"canary-broken@example.com"}"#).await;
    post(port, "absent", claims).await;
    let head = post_head("c", claims.len()) + "Connection: close\r\nX-Canary: canary-header\r\n";
    let send = async |head: String, body: &str| {
        exchange(port, format!("{head}\r\n{body}").as_bytes()).await;
    };
    // entra:canary-credential, and nothing that can be read
    let wrong = head.replace("ZW50cmE6c2VjcmV0", "ZW50cmE6Y2FuYXJ5LWNyZWRlbnRpYWw=");
    send(wrong.clone(), claims).await;
    send(head.replace("ZW50cmE6c2VjcmV0", "canary-credential"), claims).await;
    send(head.replace("POST", "PUT"), claims).await;
    send(head.replace("application/json", "text/canary-type"), claims).await;
    send(post_head("c", 70_000), claims).await;
    send(post_head("c", 1_000), claims).await;
    send(post_head("c", 14) + "Connection: close\r\n", "[\"canary-body\"").await;
    // These name no connector.
    send(head.replace("/connectors/c", "/connectors/canary-path?canary-query"), claims).await;
    send(head.replace("Host: x\r\n", ""), claims).await;
    send("canary not HTTP\r\n".to_owned(), claims).await;
    send(head + "Content-Length: 1\r\n", claims).await;
    vec![
        ("c", "show_block_page", "worker", "", 200),
        ("c", "show_block_page", "replay", "", 200),
        ("c", "show_block_page", "default", "invalid_reply", 200),
        ("absent", "show_block_page", "default", "no_responders", 200),
        ("c", "none", "none", "unauthorized", 401),
        ("c", "none", "none", "unauthorized", 401),
        ("c", "none", "none", "method_not_allowed", 405),
        ("c", "none", "none", "media_type", 415),
        ("c", "none", "none", "too_large", 413),
        ("c", "none", "none", "body_timeout", 408),
        ("c", "none", "none", "not_json", 422),
    ]
}

fn is_32_digits(id: &str) -> bool {
    id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Ends the program and returns what it wrote to standard error.
async fn log_of(serving: Serving) -> String {
    assert_eq!(metric(serving.admin_port, "panics_total").await, Some(0.0));
    let dropped = metric(serving.admin_port, "log_messages_dropped_total").await;
    assert_eq!(dropped, Some(0.0));
    serving.program.signal("TERM");
    let ended = serving.program.ended().await;
    assert_eq!((ended.code, &*ended.out), (Some(0), ""), "{}", ended.err);
    for hidden in ["canary", "Y2FuYXJ5", "secret", "ZW50cmE6", "example.com", "panic"] {
        assert!(!ended.err.contains(hidden), "{hidden} is in\n{}", ended.err);
    }
    ended.err
}

#[tokio::test]
async fn there_is_one_json_object_a_line_and_one_line_a_request_without_anything_personal() {
    let server = NatsServer::start().await;
    let serving = serve(&server, "").await;
    let wanted = send_all(serving.port).await;
    let log = log_of(serving).await;
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let mut ids = Vec::new();
    let mut requests = Vec::new();
    for line in &lines {
        assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
        assert!(line["message"].as_str().is_some_and(|text| !text.is_empty()), "{line}");
        let Some(status) = line["status"].as_u64() else { continue };
        let text = |key: &str| line[key].as_str().unwrap_or_default();
        requests.push((text("connector"), text("action"), text("source"), text("reason"), status));
        assert_eq!(line["level"], "INFO", "{line}");
        assert!(line["ms"].as_f64().is_some_and(|ms| ms > 0.0 && ms < 60_000.0), "{line}");
        assert!(line["trace_id"].as_str().is_some_and(is_32_digits), "{line}");
        if let Some(id) = line["call_id"].as_str() {
            assert!(is_32_digits(id), "{line}");
            ids.push(id);
        }
    }
    assert_eq!(requests, wanted);
    // Every call has its id, and a retry the same.
    assert_eq!((ids.len(), ids[0]), (4, ids[1]));
    assert!(lines.iter().any(|line| line["message"] == "listening"));
}

#[tokio::test]
async fn text_for_people_has_the_same_lines() {
    let server = NatsServer::start().await;
    let serving = serve(&server, "log: {format: text}").await;
    let wanted = send_all(serving.port).await;
    let log = log_of(serving).await;
    assert!(log.lines().all(|line| serde_json::from_str::<Value>(line).is_err()), "{log}");
    assert!(!log.contains('\u{1b}'), "{log}");
    let requests: Vec<_> = log.lines().filter(|line| line.contains(" status=")).collect();
    assert_eq!(requests.len(), wanted.len(), "{log}");
    for (line, (connector, action, source, _, status)) in requests.iter().zip(wanted) {
        for field in [
            format!("connector={connector:?}"),
            format!("action={action:?}"),
            format!("source={source:?}"),
            format!("status={status}"),
            "ms=".to_owned(),
        ] {
            assert!(line.contains(&field), "{field} is not in {line}");
        }
    }
}

#[tokio::test]
async fn nothing_personal_is_logged_at_any_level() {
    let server = NatsServer::start().await;
    for level in ["debug", "trace"] {
        let serving = serve(&server, &format!("log: {{level: {level}}}")).await;
        send_all(serving.port).await;
        let log = log_of(serving).await;
        assert_eq!(log.matches(r#""message":"answered""#).count(), 4, "{log}");
    }
}

/// Sets the level, or asks for it.
async fn level(serving: &Serving, method: &str, name: &str) -> (u16, String) {
    let length = name.len();
    let request = format!(
        "{method} /log-level HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n{name}"
    );
    let answer = exchange(serving.admin_port, request.as_bytes()).await;
    (answer.status, answer.body)
}

#[tokio::test]
async fn the_level_is_changed_while_it_runs() {
    let server = NatsServer::start().await;
    let serving = serve(&server, "log: {level: info}").await;
    let answered = async |email: &str| {
        post(serving.port, "c", &format!(r#"{{"email":"{email}"}}"#)).await;
    };
    answered("1@example.com").await;
    assert_eq!(level(&serving, "GET", "").await, (200, "info\n".to_owned()));
    assert_eq!(level(&serving, "PUT", "error\n").await, (200, "error\n".to_owned()));
    answered("2@example.com").await;
    for wrong in ["", "loud", "INFO", "error warn"] {
        let (status, text) = level(&serving, "PUT", wrong).await;
        assert_eq!(status, 400, "{wrong}");
        assert!(text.contains("error, warn, info, debug, trace"), "{text}");
    }
    assert_eq!(level(&serving, "PUT", &"x".repeat(1_000)).await.0, 413);
    assert_eq!(level(&serving, "GET", "").await, (200, "error\n".to_owned()));
    assert_eq!(level(&serving, "PUT", "debug").await, (200, "debug\n".to_owned()));
    answered("3@example.com").await;
    answered("4@example.com").await;
    let log = log_of(serving).await;
    assert_eq!(log.matches(r#""message":"answered""#).count(), 3, "{log}");
    let changes: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &Value| line["message"] == "the log level is changed")
        .collect();
    let of = |at: usize| (changes[at]["from"].as_str(), changes[at]["to"].as_str());
    assert_eq!(of(0), (Some("info"), Some("error")));
    assert_eq!(of(1), (Some("error"), Some("debug")));
}
