//! Heads that do not come, never end, or are not what HTTP says.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{NO_TIMEOUT, SHORT, SHORT_TIMEOUT, Site, is_closed, last_call, next_answer};
use crate::support::real::{post_head, read_answer};

const LINE: &str = "POST /connectors/c HTTP/1.1\r\n";

#[tokio::test]
async fn a_silent_connection_and_half_a_head_are_closed_at_read_timeout() {
    let site = Site::new(SHORT_TIMEOUT).await;
    for start_of_head in ["", "POST /conn", "POST /connectors/c HTTP/1.1\r\nHost: x\r\n"] {
        let answer = site.exchange(start_of_head).await;
        assert_eq!((answer.status, &*answer.head), (0, ""), "{start_of_head:?}");
        assert!(answer.took >= SHORT, "{start_of_head:?} closed after {:?}", answer.took);
    }
    site.assert_rejections(&["timeout 3"]).await;
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_closed_at_read_timeout_in_total() {
    let site = Site::new(SHORT_TIMEOUT).await;
    let mut stream = site.connect().await;
    let (mut reader, mut writer) = stream.split();
    let start = Instant::now();
    let mut pace = tokio::time::interval(Duration::from_millis(30));
    let mut closed = Box::pin(reader.read_u8());
    let mut sent = 0;
    for byte in last_call("{}").bytes() {
        tokio::select! {
            read = &mut closed => {
                assert!(read.is_err(), "an answer");
                break;
            }
            _ = pace.tick() => {}
        }
        drop(writer.write_all(&[byte]).await);
        sent += 1;
    }
    // No byte was late by itself.
    assert!(sent < last_call("{}").len(), "the whole head was taken");
    assert!(start.elapsed() >= SHORT);
    site.assert_rejections(&["timeout 1"]).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_at_read_timeout_and_that_is_no_fault() {
    let site = Site::new(SHORT_TIMEOUT).await;
    let mut stream = site.connect().await;
    stream.write_all(super::call("{}").as_bytes()).await.unwrap();
    assert_eq!(next_answer(&mut stream).await.unwrap().status, 200);
    let start = Instant::now();
    assert!(is_closed(&mut stream).await);
    assert!(start.elapsed() >= SHORT / 2);
    site.assert_rejections(&[]).await;
}

#[tokio::test]
async fn what_is_not_http_gets_an_empty_400_and_the_end_of_the_connection() {
    let head = post_head("c", 2);
    let bare = head.replace("Content-Length: 2\r\n", "");
    let hello: String = "\u{16}\u{3}\u{1}".chars().chain(['a'; 600]).collect();
    let rows: &[(&str, String)] = &[
        ("two lengths", format!("{bare}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}")),
        ("the same length twice", format!("{head}content-length: 2\r\n\r\n{{}}")),
        ("a length, then chunks", format!("{head}Transfer-Encoding: chunked\r\n\r\n{{}}")),
        (
            "chunks, then a length",
            format!("{bare}Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{{}}"),
        ),
        ("a length that is no number", format!("{bare}Content-Length: -2\r\n\r\n{{}}")),
        ("a coding that is not chunks", format!("{bare}Transfer-Encoding: gzip\r\n\r\n")),
        ("no Host", head.replace("Host: x\r\n", "") + "\r\n{}"),
        ("two Hosts", format!("{head}Host: x\r\n\r\n{{}}")),
        ("not HTTP", "hello\r\n\r\n".to_owned()),
        ("a TLS hello", hello),
        ("no version", "POST /connectors/c\r\nHost: x\r\n\r\n".to_owned()),
        ("an unknown version", "POST /connectors/c HTTP/2.0\r\nHost: x\r\n\r\n".to_owned()),
        ("a space in front of a colon", format!("{bare}Content-Length : 2\r\n\r\n{{}}")),
        ("a header line that goes on", format!("{head}A: b\r\n c\r\n\r\n{{}}")),
        ("a NUL in a header", format!("{head}Authorization: Basic \0\r\n\r\n{{}}")),
        ("a header line without a colon", format!("{head}nothing\r\n\r\n{{}}")),
    ];
    let site = Site::new(NO_TIMEOUT).await;
    for (name, bytes) in rows {
        let answer = site.exchange(bytes).await;
        assert_eq!((answer.status, &*answer.body), (400, ""), "{name}");
        assert_eq!(answer.header("content-length"), Some("0"), "{name}");
        let mut stream = site.connect().await;
        let half = bytes.len() / 2;
        stream.write_all(&bytes.as_bytes()[..half]).await.unwrap();
        stream.flush().await.unwrap();
        tokio::task::yield_now().await;
        stream.write_all(&bytes.as_bytes()[half..]).await.unwrap();
        let answer = read_answer(&mut stream, Instant::now()).await;
        assert_eq!((answer.status, &*answer.body), (400, ""), "{name}, in two pieces");
    }
    site.assert_rejections(&[&format!("malformed {}", 2 * rows.len())]).await;
    assert_eq!(site.asked(), 0);
}

#[tokio::test]
async fn a_head_has_at_most_16_kib_and_100_lines() {
    let site = Site::new(NO_TIMEOUT).await;
    let head = post_head("c", 2);
    let lines = head.lines().count() - 1;
    let end = "Connection: close\r\n\r\n{}";
    for (name, more, status) in [
        ("200 lines", "A: b\r\n".repeat(200), 431),
        ("101 lines", "A: b\r\n".repeat(100 - lines), 431),
        ("100 lines", "A: b\r\n".repeat(99 - lines), 200),
        ("20 KiB in a line", format!("A: {}\r\n", "b".repeat(20 * 1024)), 431),
        ("200 KiB in a line", format!("A: {}\r\n", "b".repeat(200 * 1024)), 431),
        ("20 KiB in 20 lines", format!("A: {}\r\n", "b".repeat(1024)).repeat(20), 431),
        ("15 KiB in a line", format!("A: {}\r\n", "b".repeat(15 * 1024)), 200),
    ] {
        let answer = site.exchange(format!("{head}{more}{end}")).await;
        assert_eq!(answer.status, status, "{name}");
        assert_eq!(answer.body.is_empty(), status == 431, "{name}");
    }
    site.assert_rejections(&["head_too_large 5"]).await;
    assert_eq!(site.asked(), 2);
}

#[tokio::test]
async fn an_address_has_at_most_8_kib_with_its_query() {
    let site = Site::new(NO_TIMEOUT).await;
    let rest = last_call("{}").split_off(LINE.len());
    let title = r#"{"title":"Address too long","status":414,"code":"target_too_long"}"#;
    for kib in [9, 20, 100] {
        for start in ["c", "c?", "c?code="] {
            let long = "x".repeat(kib * 1024);
            let bytes = format!("POST /connectors/{start}{long} HTTP/1.1\r\n{rest}");
            let answer = site.exchange(bytes).await;
            assert_eq!((answer.status, &*answer.body), (414, title), "{start} {kib} KiB");
            assert_eq!(answer.header("content-type"), Some("application/problem+json"));
            assert_eq!(answer.header("cache-control"), Some("no-store"));
        }
    }
    site.assert_rejections(&["head_too_large 9"]).await;
    let query = "x".repeat(7 * 1024);
    let answer = site.exchange(format!("POST /connectors/c?{query} HTTP/1.1\r\n{rest}")).await;
    assert_eq!((answer.status, site.asked()), (200, 1));
}
