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

/// Requests whose head is `head` with one thing changed, and each whole: what passes is answered
/// with 200, whatever else with an empty 400 and the end.
#[rustfmt::skip]
fn heads() -> Vec<(String, Vec<u8>, bool)> {
    let latin = |text: &str| text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    let head = post_head("c", 2);
    let old = head.replace("HTTP/1.1", "HTTP/1.0");
    let mut rows: Vec<(String, Vec<u8>, bool)> = Vec::new();
    let mut add = |name: &str, head: &str, body: &str, passes| {
        rows.push((name.to_owned(), latin(&format!("{head}\r\n{body}")), passes));
    };
    for (value, passes) in [
        ("a.example", true), ("A_b-c:65535", true), ("[::1]:80", true), ("x:", true), ("", false),
        ("a b", false), ("a\tb", false), ("a\u{1}", false), ("u@x", false), ("u:p@x", false),
        ("a,b", false), ("x:65536", false), ("x:+80", false), ("x:80:80", false), ("::1", false),
        ("[::1", false), ("a/b", false), ("a#b", false), ("a\\b", false), ("\u{e4}", false),
        ("a%20b", false), ("<x>", false),
    ] {
        let name = format!("Host {value:?}");
        add(&name, &head.replace("Host: x", &format!("Host: {value}")), "{}", passes);
        add(&format!("{name}, 1.0"), &old.replace("Host: x", &format!("Host: {value}")), "{}", passes);
    }
    add("no Host, 1.0", &old.replace("Host: x\r\n", ""), "{}", true);
    add("two Hosts, 1.0", &old.replace("Host: x\r\n", "Host: x\r\nHost: y\r\n"), "{}", false);
    for (value, passes) in [
        ("chunked", true), ("\t ChUnKeD \t", true), ("gzip, chunked", false), (",chunked", false),
        ("chunked, chunked", false), ("chunked,", false), ("identity", false), ("xchunked", false),
        ("gzip", false), ("chunked;a=b", false), ("\"chunked\"", false), ("\u{b}chunked", false),
        ("", false),
    ] {
        let coding = format!("Transfer-Encoding:{value}");
        let body = "2\r\n{}\r\n0\r\n\r\n";
        add(&coding, &head.replace("Content-Length: 2", &coding), body, passes);
        add(&format!("{coding}, 1.0"), &old.replace("Content-Length: 2", &coding), body, false);
    }
    let twice = "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked";
    add(twice, &head.replace("Content-Length: 2", twice), "2\r\n{}\r\n0\r\n\r\n", false);
    for (value, passes) in [
        (" 2 ", true), ("\t2\t", true), ("002", true), ("+2", false), ("-0", false), (" 2,2", false),
        ("2, 2", false), ("0x2", false), ("2 2", false), ("2.0", false), ("", false),
        ("18446744073709551614", false), ("18446744073709551616", false), ("\u{b2}", false),
    ] {
        let length = format!("Content-Length:{value}");
        add(&length, &head.replace("Content-Length: 2", &length), "{}", passes);
    }
    let c = "/connectors/c";
    for (target, passes) in [
        ("/connectors/c?a=b&c=%2f", true), ("http://x/connectors/c", true), ("HTTPS://X/connectors/c", true),
        ("/connectors/c#x", false), ("/connectors/c?a#b", false), ("/connectors/c?a b", false),
        ("/connectors/c\t", false), (" /connectors/c", false), ("/connectors/c?\u{1}", false),
        ("/connectors/c?\u{7f}", false), ("/connectors/c?\\", false), ("/connectors\\c", false),
        ("/connectors/c?\u{e4}", false), ("/connectors/c?\u{c3}\u{a4}", false), ("/connectors/c?<", false),
        ("/connectors/c?\"", false), ("/connectors/c?^", true), ("/connectors/c?{|}", true),
        ("/connectors/c?[]", true), ("/connectors/c?%", true), ("/connectors/c?%zz", true),
        ("x:80", false), ("x", false), ("*", false), ("connectors/c", false), ("", false), ("?a", false),
        ("http://y/connectors/c", false), ("http://x:80/connectors/c", false),
        ("http://u@x/connectors/c", false), ("http:///connectors/c", false), ("ftp://x/connectors/c", false),
        ("http://x\\@y/connectors/c", false),
    ] {
        add(&format!("target {target:?}"), &head.replacen(c, target, 1), "{}", passes);
    }
    let absolute = old.replacen(c, "http://x:65536/connectors/c", 1).replace("Host: x\r\n", "");
    add("absolute, no Host, a port that is none", &absolute, "{}", false);
    for line in [
        "POST  /connectors/c HTTP/1.1", "POST\t/connectors/c HTTP/1.1", "POST /connectors/c  HTTP/1.1",
        "POST /connectors/c HTTP/1.1 ", " POST /connectors/c HTTP/1.1", "POST /connectors/c HTTP/1.2",
        "POST /connectors/c HTTP/1.10", "POST /connectors/c http/1.1", "POST /connectors/c HTTP/0.9",
        "POST /connectors/c HTTP/1.1\r", "PO\0ST /connectors/c HTTP/1.1", "P@ST /connectors/c HTTP/1.1",
        "POST /connectors/c\rX HTTP/1.1",
    ] {
        add(line, &head.replacen(LINE.trim_end(), line, 1), "{}", false);
    }
    for (header, passes) in [
        ("A:", true), ("A: b\u{e4}", true), ("A: b\tc", true), ("A: b\r\n c", false),
        ("A: b\r\n\tc", false), (" A: b", false), ("A : b", false), ("A\t: b", false), ("A b: c", false),
        (": b", false), ("A\u{1}: b", false), ("A\u{e4}: b", false), ("A(: b", false), ("\"A\": b", false),
        ("A: b\0", false), ("A: b\u{1}", false), ("A: b\u{7f}", false), ("A: b\rc", false),
        ("A: b\r", false), ("A\r: b", false), ("nothing", false),
    ] {
        add(&format!("header {header:?}"), &format!("{head}{header}\r\n"), "{}", passes);
    }
    rows
}

#[tokio::test]
async fn what_rfc_9112_lets_nobody_send_reaches_no_worker() {
    let site = Site::new(NO_TIMEOUT).await;
    let (mut right, mut wrong) = (0, 0);
    for (name, bytes, passes) in heads() {
        let mut stream = site.connect().await;
        stream.write_all(&bytes).await.unwrap();
        let answer = next_answer(&mut stream).await.unwrap_or_else(|| panic!("{name}: no answer"));
        if passes {
            assert_eq!((answer.status, answer.source()), (200, "worker"), "{name}");
            right += 1;
        } else {
            assert_eq!((answer.status, &*answer.body), (400, ""), "{name}");
            let said = answer.header("connection");
            assert!(said == Some("close") || answer.head.starts_with("HTTP/1.0"), "{name}");
            assert!(is_closed(&mut stream).await, "{name}: not closed");
            wrong += 1;
        }
    }
    site.assert_rejections(&[&format!("malformed {wrong}")]).await;
    assert_eq!(site.asked(), right);
}
