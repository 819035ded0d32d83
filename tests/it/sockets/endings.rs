//! What an answer says of its connection: a proxy that keeps the connection sends the next person's
//! call into it.

use std::time::Duration;

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{NO_TIMEOUT, SHORT_TIMEOUT, Site, call, is_closed, next_answer, one_answer};
use crate::support::real::{Answer, SOON, post_head};

const GOOD: &str = r#"{"n":1}"#;

/// A request in two packets, with the status that it gets.
struct Refused {
    name: String,
    head: String,
    body: String,
    status: u16,
}

/// One for each refusal that does not need the body, and the form of its body.
fn refused() -> Vec<Refused> {
    let right = post_head("c", 0);
    let heads = [
        (400, right.replace("Host: x\r\n", "")),
        (400, right.replace("Host: x", "Host: a, b")),
        (400, right.replace("/connectors/c", "*")),
        (400, right.replace("/connectors/c", "/connectors/c#d")),
        (414, right.replace("/connectors/c", &format!("/connectors/c?{}", "x".repeat(9_000)))),
        (431, right.replace("Host: x", &format!("A: {}\r\nHost: x", "x".repeat(17_000)))),
        (404, right.replace("/connectors/c", "/connectors/d")),
        (404, right.replace("/connectors/c", "/livez")),
        (405, right.replace("POST", "PUT")),
        (405, right.replace("POST", "GET")),
        (405, right.replace("POST", "HEAD")),
        (401, right.replace("Authorization: Basic ", "Authorization: Basic x")),
        (401, right.replace("Authorization: ", "X: ")),
        (415, right.replace("application/json", "text/plain")),
        (415, right.replace("Host: x", "Content-Encoding: gzip\r\nHost: x")),
    ];
    let mut all = Vec::new();
    for (status, head) in heads {
        for (how, length, body) in [
            ("length", "Content-Length: 7", GOOD.to_owned()),
            ("long", "Content-Length: 60000", format!("{GOOD:60000}")),
            ("chunks", "Transfer-Encoding: chunked", "7\r\n{\"n\":1}\r\n0\r\n\r\n".to_owned()),
            ("small chunks", "Transfer-Encoding: chunked", "1\r\n \r\n".repeat(200) + "0\r\n\r\n"),
            ("expected", "Content-Length: 7\r\nExpect: 100-continue", GOOD.to_owned()),
        ] {
            let head = head.replace("Content-Length: 0", length);
            let line: String = head.chars().take(40).collect();
            let name = format!("{status} {how} {line:?}");
            all.push(Refused { name, head: head + "\r\n", body, status });
        }
    }
    all.push(Refused {
        name: "413 announced".to_owned(),
        head: post_head("c", 70_000) + "\r\n",
        body: " ".repeat(70_000),
        status: 413,
    });
    all
}

fn says_close(answer: &Answer) -> bool {
    answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
}

/// An answer that leaves the connection is followed by another one; behind any other, the connection
/// ends.
async fn assert_said<S>(stream: &mut S, answer: &Answer, name: &str)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if says_close(answer) {
        let end = timeout(SOON, one_answer(stream, true)).await.expect("an end");
        assert!(end.is_none(), "{name}: an answer behind the last one");
        return;
    }
    stream.write_all(call(GOOD).as_bytes()).await.expect("kept");
    let next = next_answer(stream).await;
    let next = next.unwrap_or_else(|| panic!("{name}: ends without having said so"));
    assert_eq!(next.status, 200, "{name}");
}

#[tokio::test]
async fn a_refusal_before_the_body_came_says_close_or_leaves_the_connection_for_the_next_call() {
    let site = Site::new(NO_TIMEOUT).await;
    for Refused { name, head, body, status } in refused() {
        let mut stream = site.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        let has_body = !head.starts_with("HEAD");
        let answer = timeout(SOON, one_answer(&mut stream, has_body)).await.unwrap().unwrap();
        assert_eq!(answer.status, status, "{name}");
        // The sender may be busy sending still, and may get no reset for it.
        stream.write_all(body.as_bytes()).await.unwrap_or_else(|_| panic!("{name}: a reset"));
        assert_said(&mut stream, &answer, &name).await;
    }
}

#[tokio::test]
async fn a_refusal_of_a_request_that_came_whole_keeps_the_connection() {
    let site = Site::new(NO_TIMEOUT).await;
    for Refused { name, head, body, status } in refused() {
        // In pieces of these sizes the body is not looked at to its end.
        let is_kept = !matches!(status, 400 | 413 | 414 | 431)
            && !["expected", "long", "small chunks"].iter().any(|how| name.contains(how));
        let mut stream = site.connect().await;
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        let has_body = !head.starts_with("HEAD");
        let answer = timeout(SOON, one_answer(&mut stream, has_body)).await.unwrap().unwrap();
        assert_eq!(answer.status, status, "{name}");
        assert!(!is_kept || !says_close(&answer), "{name}: {}", answer.head);
        assert_said(&mut stream, &answer, &name).await;
    }
}

#[tokio::test]
async fn a_refusal_of_a_call_sent_ahead_of_others_says_how_it_goes_on() {
    let site = Site::new(NO_TIMEOUT).await;
    for Refused { name, head, body, status } in refused() {
        let mut stream = site.connect().await;
        let all = format!("{head}{body}{}", call(GOOD));
        stream.write_all(all.as_bytes()).await.unwrap();
        let has_body = !head.starts_with("HEAD");
        let answer = timeout(SOON, one_answer(&mut stream, has_body)).await.unwrap().unwrap();
        assert_eq!(answer.status, status, "{name}");
        if !says_close(&answer) {
            let next = next_answer(&mut stream).await;
            let next = next.unwrap_or_else(|| panic!("{name}: ends without having said so"));
            assert_eq!(next.status, 200, "{name}");
        }
        assert_said(&mut stream, &answer, &name).await;
    }
}

#[tokio::test]
async fn requests_without_a_body_keep_the_connection_whatever_they_get() {
    let site = Site::new(NO_TIMEOUT).await;
    for (line, status) in [
        ("GET /connectors/c", 405),
        ("HEAD /connectors/c", 405),
        ("GET /", 404),
        ("OPTIONS *", 404),
    ] {
        let mut stream = site.connect().await;
        for more in ["", "Content-Length: 0\r\n", "Expect: 100-continue\r\n", "Upgrade: h2c\r\n"] {
            let request = format!("{line} HTTP/1.1\r\nHost: x\r\n{more}\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let has_body = !line.starts_with("HEAD");
            let answer = timeout(SOON, one_answer(&mut stream, has_body)).await.unwrap();
            let answer = answer.unwrap_or_else(|| panic!("{line} {more}: closed"));
            assert_eq!((answer.status, says_close(&answer)), (status, false), "{line} {more}");
        }
        stream.write_all(call(GOOD).as_bytes()).await.unwrap();
        assert_eq!(next_answer(&mut stream).await.expect("kept").status, 200, "{line}");
    }
}

#[tokio::test]
async fn http_1_0_is_told_to_keep_a_connection_or_to_close_it_and_never_both() {
    let site = Site::new(NO_TIMEOUT).await;
    let right =
        post_head("c", 7).replace("HTTP/1.1\r\nHost: x", "HTTP/1.0\r\nConnection: keep-alive");
    for (head, status) in [
        (right.clone(), 200),
        (right.replace("Authorization: Basic ", "Authorization: Basic x"), 401),
        (right.replace("/connectors/c", "/connectors/d"), 404),
        (right.replace("Content-Length: 7", "Content-Length: 70000"), 413),
    ] {
        for in_two in [false, true] {
            let mut stream = site.connect().await;
            let body = if in_two && status != 200 { "" } else { GOOD };
            stream.write_all(format!("{head}\r\n{body}").as_bytes()).await.unwrap();
            let answer = next_answer(&mut stream).await.unwrap();
            assert_eq!(answer.status, status);
            let said: Vec<&str> =
                answer.head.lines().filter(|line| line.starts_with("connection:")).collect();
            let is_kept = status == 200 || (status != 413 && !in_two);
            let wanted = if is_kept { "connection: keep-alive" } else { "connection: close" };
            assert_eq!(said, [wanted], "{status}");
            if is_kept {
                stream.write_all(call(GOOD).as_bytes()).await.unwrap();
                assert_eq!(next_answer(&mut stream).await.expect("kept").status, 200);
            } else {
                assert!(is_closed(&mut stream).await);
            }
        }
    }
}

#[tokio::test]
async fn a_body_that_is_too_late_or_broken_gets_its_refusal_and_an_end_that_was_said() {
    let site = Site::new(SHORT_TIMEOUT).await;
    let chunks = post_head("c", 0).replace("Content-Length: 0", "Transfer-Encoding: chunked");
    for (bytes, status) in [
        (post_head("c", 7) + "\r\n{", 408),
        (format!("{chunks}\r\n7\r\n{{"), 408),
        (format!("{chunks}\r\nx\r\n"), 400),
        (
            format!(
                "{chunks}\r\n{}0\r\n\r\n",
                "5000\r\n".to_owned() + &" ".repeat(0x5000) + "\r\n"
            ),
            422,
        ),
    ] {
        let mut stream = site.connect().await;
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let answer = next_answer(&mut stream).await.unwrap();
        assert_eq!(answer.status, status);
        assert_said(&mut stream, &answer, &status.to_string()).await;
    }
}

/// What administration answers without reading the body.
#[tokio::test]
async fn no_other_port_leaves_a_connection_that_ends_without_having_said_so() {
    let site = Site::new("read_timeout: 5m\nplayground_listen: 127.0.0.1:0").await;
    let ports = [site.bridge.admin_port, site.bridge.playground_port.unwrap()];
    for port in ports {
        for line in [
            "GET /livez",
            "POST /livez",
            "GET /metrics",
            "POST /nowhere",
            "PUT /log-level",
            "GET /",
        ] {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let head =
                format!("{line} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let answer = match timeout(Duration::from_millis(300), next_answer(&mut stream)).await {
                Ok(answer) => answer.unwrap(),
                // Reads the body first.
                Err(_) => {
                    assert_eq!(line, "PUT /log-level");
                    continue;
                }
            };
            stream.write_all(" ".repeat(60_000).as_bytes()).await.expect("no reset");
            if says_close(&answer) {
                assert!(is_closed(&mut stream).await, "{line}");
                continue;
            }
            stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
            let next = next_answer(&mut stream).await;
            assert!(next.is_some(), "{port} {line}: ends without having said so");
        }
    }
}
