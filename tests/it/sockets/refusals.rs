//! Requests that are turned away before they are calls: what they get, and what is counted.

use super::{NO_TIMEOUT, Site};
use crate::support::real::{Answer, Bridge, NatsServer, exchange, worker};

/// The connector's path.
const C: &str = "/connectors/canary-connector";
const ENTRA: &str = "Authorization: Basic ZW50cmE6c2VjcmV0\r\n";
const CLAIMS: &[u8] = br#"{"email":"canary-claim@example.com"}"#;
const CHALLENGE: &str = r#"Basic realm="connector-bridge", charset="UTF-8""#;

fn request(method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: canary-host\r\n{headers}Content-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// A POST of claims with these headers.
fn headed(headers: &str) -> Vec<u8> {
    request("POST", C, headers, CLAIMS)
}

/// A POST with the right credentials.
fn with_body(body: &[u8]) -> Vec<u8> {
    request("POST", C, ENTRA, body)
}

/// One group of requests that get the same answer: status, code and title.
type Group = (u16, &'static str, &'static str, Vec<Vec<u8>>);

#[rustfmt::skip]
fn groups() -> Vec<Group> {
    let deep = [vec![b'['; 33], vec![b']'; 33]].concat();
    let deep = [br#"{"a":"#.as_slice(), &deep, b"}"].concat();
    let path = |path: &str| request("POST", path, ENTRA, CLAIMS);
    let method = |method: &str| request(method, C, ENTRA, CLAIMS);
    let typed = |headers: &str| headed(&format!("{ENTRA}{headers}\r\n"));
    vec![
        (404, "unknown_path", "Not found", vec![
            path("/"), path("/connectors"), path("/connectors/"), path("/connectors/other"),
            path("/connectors/canary-connector/"), path("/connectors/Canary-Connector"),
            path("//connectors/canary-connector"), path("/metrics"), path("/livez"), path("/readyz"),
            path("/status"), request("GET", "/", "", b""), request("OPTIONS", "*", "", b""),
        ]),
        (405, "method_not_allowed", "Only POST is allowed", vec![
            method("GET"), method("HEAD"), method("PUT"), method("OPTIONS"), method("DELETE"),
            method("PATCH"), method("TRACE"), method("post"), request("GET", C, "", b""),
        ]),
        (401, "unauthorized", "Unauthorized", vec![
            headed(""),
            // entra:wrong, Entra:secret, entra:secret in a header of its own and once more
            headed("Authorization: Basic ZW50cmE6d3Jvbmc=\r\n"),
            headed("Authorization: Basic RW50cmE6c2VjcmV0\r\n"),
            headed(&format!("{ENTRA}{ENTRA}")),
            headed("Authorization: Bearer ZW50cmE6c2VjcmV0\r\n"),
            headed("Authorization: Basic %%%\r\n"),
            headed("Authorization: Basic ZW50cmE=\r\n"),
            headed("Authorization:\r\n"),
            // 8 KiB, and entra:secret with a NUL behind it.
            headed(&format!("Authorization: Basic {}\r\n", "QUFB".repeat(2_000))),
            headed("Authorization: Basic ZW50cmE6c2VjcmV0AA==\r\n"),
        ]),
        (415, "media_type", "Only JSON in UTF-8 is read", vec![
            typed("Content-Type: text/plain"), typed("Content-Type: application/x-www-form-urlencoded"),
            typed("Content-Type: application/json; charset=utf-16"), typed("Content-Type:"),
            typed("Content-Type: application/json\r\nContent-Type: application/json"),
            typed("Content-Encoding: gzip"), typed("Content-Encoding: identity, br"),
        ]),
        (413, "too_large", "The body is too large", vec![with_body(&[b' '; 64 * 1024 + 1])]),
        (422, "not_json", "The body is not JSON", vec![
            with_body(b""), with_body(b"{"), with_body(b"{}{}"), with_body(b"email=a"),
            with_body(b"{\"a\":\"\xff\"}"), with_body(b"\xef\xbb\xbf{}"),
            with_body(br#"{"a":"\ud800"}"#),
        ]),
        (422, "not_an_object", "The body is not a JSON object", vec![
            with_body(b"[]"), with_body(b"null"), with_body(b"\"canary-claim\""), with_body(b"1"),
        ]),
        (422, "key_twice", "A key stands twice in the body", vec![
            with_body(br#"{"canary-claim":1,"canary-claim":2}"#), with_body(br#"{"a":[{"b":1,"\u0062":1}]}"#),
        ]),
        (422, "too_deep", "The body is nested too deeply", vec![with_body(&deep)]),
    ]
}

async fn canary_bridge(server: &NatsServer) -> Bridge {
    let connectors = concat!(
        "  canary-connector: {protocol: entra, step: before-create, subject: canary.subject, ",
        "auth: {basic: [{username: entra, password_file: \"{folder}/password\"}]}}\n"
    );
    Bridge::start_with(server, NO_TIMEOUT, connectors).await.connected().await
}

fn assert_is_problem(answer: &Answer, status: u16, code: &str, title: &str, request: &str) {
    assert_eq!(answer.status, status, "{request}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{request}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{request}");
    assert_eq!(answer.header("allow"), (status == 405).then_some("POST"), "{request}");
    let challenge = (status == 401).then_some(CHALLENGE);
    assert_eq!(answer.header("www-authenticate"), challenge, "{request}");
    let problem = format!(r#"{{"title":"{title}","status":{status},"code":"{code}"}}"#);
    assert_eq!(answer.header("content-length"), Some(&*problem.len().to_string()), "{request}");
    let body = if request.starts_with("HEAD ") { "" } else { &problem };
    assert_eq!(answer.body, body, "{request}");
    for name in ["connector-call-id", "connector-answer-source", "server"] {
        assert_eq!(answer.header(name), None, "{request}");
    }
    let all = format!("{}{}", answer.head, answer.body).to_lowercase();
    for hidden in ["canary", "secret", "nats"] {
        assert!(!all.contains(hidden), "{request}\n{all}");
    }
}

#[tokio::test]
async fn every_refusal_has_its_status_and_says_no_more_than_its_title_and_code() {
    let server = NatsServer::start().await;
    let bridge = canary_bridge(&server).await;
    let asked = worker(&server, "canary.>", |_| None).await;
    for (status, code, title, requests) in groups() {
        for request in requests {
            let answer = exchange(bridge.port, &request).await;
            let request = String::from_utf8_lossy(&request[..request.len().min(300)]).into_owned();
            assert_is_problem(&answer, status, code, title, &request);
        }
    }
    let site = Site { bridge, asked, _server: server };
    site.assert_rejections(&[
        "bad_json 14",
        "media_type 7",
        "method 9",
        "too_large 1",
        "unknown_path 13",
    ])
    .await;
    let labels = |code: u16| {
        format!(
            "{{action=\"none\",code=\"{code}\",connector=\"canary-connector\",source=\"none\",\
             step=\"before-create\"}}"
        )
    };
    assert_eq!(
        site.counted("requests_total").await,
        [(401, 10), (405, 9), (413, 1), (415, 7), (422, 14)]
            .map(|(code, count)| format!("{} {count}", labels(code)))
    );
    assert_eq!(
        site.counted("auth_failures_total").await,
        [("basic", "malformed", 6), ("basic", "wrong", 3), ("none", "missing", 1)].map(
            |(method, reason, count)| format!(
                "{{connector=\"canary-connector\",method=\"{method}\",reason=\"{reason}\"}} \
                 {count}"
            )
        )
    );
    assert_eq!(site.asked(), 0);
}

#[tokio::test]
async fn what_is_left_out_or_written_otherwise_is_no_fault() {
    let site = Site::new(NO_TIMEOUT).await;
    for headers in [
        String::new(),
        "Content-Type: Application/JSON; charset=\"UTF-8\"\r\n".to_owned(),
        "Content-Type: application/json\r\nContent-Encoding: identity\r\n".to_owned(),
    ] {
        for authorization in [ENTRA.to_owned(), ENTRA.replace("Basic", "bASIC")] {
            let headers = format!("{authorization}{headers}");
            let answer = site.exchange(request("POST", "/connectors/c", &headers, CLAIMS)).await;
            assert_eq!(answer.status, 200, "{headers}");
            assert_eq!(answer.header("content-type"), Some("application/json"), "{headers}");
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{headers}");
        }
    }
    let with_query = request("POST", "/connectors/c?a=b", ENTRA, CLAIMS);
    assert_eq!(site.exchange(with_query).await.status, 200);
}

#[tokio::test]
async fn of_several_faults_the_first_in_the_documented_order_counts() {
    let site = Site::new(NO_TIMEOUT).await;
    let long = format!("/{}", "x".repeat(9 * 1024));
    // Each mends one fault of the one before it; the body is `[` and too short to the end.
    let mended: [(&str, &str, u16); 9] = [
        ("", "", 400),
        ("", "Host: x\r\n", 414),
        (&long, "/connectors/d", 404),
        ("/connectors/d", "/connectors/c", 405),
        ("GET", "POST", 401),
        ("Authorization: Basic eDp5", "Authorization: Basic ZW50cmE6c2VjcmV0", 415),
        ("text/plain", "application/json", 413),
        ("Content-Length: 70000", "Content-Length: 1", 422),
        ("Content-Length: 1\r\n\r\n[", "Content-Length: 2\r\n\r\n{}", 200),
    ];
    let mut request = format!(
        "GET {long} HTTP/1.1\r\nAuthorization: Basic eDp5\r\nContent-Type: text/plain\r\n\
         Connection: close\r\nContent-Length: 70000\r\n\r\n["
    );
    for (fault, right, status) in mended {
        request = match fault {
            "" => request.replacen("HTTP/1.1\r\n", &format!("HTTP/1.1\r\n{right}"), 1),
            _ => request.replacen(fault, right, 1),
        };
        let answer = site.exchange(&request).await;
        assert_eq!(answer.status, status, "{}", &request[request.len() - 200..]);
        assert_eq!(site.asked(), u64::from(status == 200));
    }
}
