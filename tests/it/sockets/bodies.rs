//! Bodies that do not come, are too large, or come in chunks.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{NO_TIMEOUT, SHORT, SHORT_TIMEOUT, Site, is_closed, last_call, next_answer};
use crate::support::real::{Answer, post_head, read_answer};

const TIMEOUT: &str =
    r#"{"title":"The body did not come in time","status":408,"code":"body_timeout"}"#;
const TOO_LARGE: &str = r#"{"title":"The body is too large","status":413,"code":"too_large"}"#;

/// A head that announces chunks.
fn chunked() -> String {
    post_head("c", 0).replace("Content-Length: 0", "Transfer-Encoding: chunked") + "\r\n"
}

fn assert_refused(answer: &Answer, status: u16, body: &str, name: &str) {
    assert_eq!((answer.status, &*answer.body), (status, body), "{name}");
    assert_eq!(answer.header("connection"), Some("close"), "{name}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{name}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{name}");
}

#[tokio::test]
async fn half_a_body_gets_408_by_read_timeout_or_by_the_deadline_and_is_closed() {
    for (root, connector) in [(SHORT_TIMEOUT, "deadline: 15s"), (NO_TIMEOUT, "deadline: 300ms")] {
        let site = Site::with(root, connector).await;
        for start_of_body in ["", "{\"email\":\"a"] {
            let head = post_head("c", 100);
            let answer = site.exchange(format!("{head}\r\n{start_of_body}")).await;
            assert_refused(&answer, 408, TIMEOUT, connector);
            assert!(answer.took >= SHORT, "{connector}: after {:?}", answer.took);
        }
        let answer = site.exchange(chunked() + "5\r\n{\"a\":\r\n").await;
        assert_refused(&answer, 408, TIMEOUT, "chunks");
        site.assert_rejections(&["timeout 3"]).await;
        let counted = site.counted("requests_total").await;
        let series =
            r#"{action="none",code="408",connector="c",source="none",step="before-create"} 3"#;
        assert_eq!((counted, site.asked()), (vec![series.to_owned()], 0));
    }
}

#[tokio::test]
async fn a_body_that_comes_byte_by_byte_gets_408_at_read_timeout_in_total() {
    let site = Site::new(SHORT_TIMEOUT).await;
    let mut stream = site.connect().await;
    stream.write_all(format!("{}\r\n", post_head("c", 1_000)).as_bytes()).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let drip = async {
        let mut pace = tokio::time::interval(Duration::from_millis(30));
        while writer.write_all(b" ").await.is_ok() {
            pace.tick().await;
        }
    };
    let mut answer = [0; 12];
    let read = async { reader.read_exact(&mut answer).await.unwrap() };
    // The last byte would come after half a minute.
    tokio::select! {
        () = drip => panic!("closed without an answer"),
        _ = read => {}
    }
    assert_eq!(&answer, b"HTTP/1.1 408");
}

#[tokio::test]
async fn a_body_larger_than_max_body_gets_413_at_once_without_being_read() {
    let site = Site::new(&format!("max_body: 1KiB\n{NO_TIMEOUT}")).await;
    let announced = site.exchange(format!("{}\r\n", post_head("c", 1_025))).await;
    assert_refused(&announced, 413, TOO_LARGE, "announced");
    let huge = site.exchange(format!("{}\r\n", post_head("c", usize::MAX / 2))).await;
    assert_refused(&huge, 413, TOO_LARGE, "announced, huge");
    let chunk = format!("400\r\n{}\r\n", " ".repeat(1_024));
    let in_chunks = site.exchange(chunked() + &chunk + "1\r\n ").await;
    assert_refused(&in_chunks, 413, TOO_LARGE, "in chunks");
    site.assert_rejections(&["too_large 3"]).await;

    let exactly = format!("{{\"n\":1{}}}", " ".repeat(1_024 - 7));
    assert_eq!(exactly.len(), 1_024);
    assert_eq!(site.exchange(last_call(&exactly)).await.status, 200);
    assert_eq!(site.asked(), 1);
}

#[tokio::test]
async fn a_body_in_chunks_is_read_whatever_their_sizes() {
    let site = Site::new(NO_TIMEOUT).await;
    let mut stream = site.connect().await;
    let by_bytes: String = r#"{"n":2}"#.chars().map(|byte| format!("1\r\n{byte}\r\n")).collect();
    for (body, n) in [
        ("7\r\n{\"n\":1}\r\n0\r\n\r\n".to_owned(), 1),
        (by_bytes + "0\r\n\r\n", 2),
        ("2;a=b\r\n{\"\r\n005\r\nn\":3}\r\n0\r\nTrailer: x\r\n\r\n".to_owned(), 3),
        ("A\r\n   {\"n\":4}\r\n0\r\n\r\n".to_owned(), 4),
    ] {
        stream.write_all((chunked() + &body).as_bytes()).await.unwrap();
        let answer = next_answer(&mut stream).await.expect("an answer");
        let wanted = format!(r#"{{"version":"1.0.0","action":"Continue","n":{n}}}"#);
        assert_eq!((answer.status, &*answer.body), (200, &*wanted));
    }
}

#[tokio::test]
async fn broken_chunks_are_not_http() {
    let site = Site::new(NO_TIMEOUT).await;
    let extended = format!("2;{}\r\n{{}}\r\n", "x".repeat(20_000));
    for body in
        ["zz\r\n{}\r\n", "-2\r\n{}\r\n", "2\r\n{}0\r\n", "11111111111111111\r\n{}", &extended]
    {
        let answer = site.exchange(chunked() + body + "0\r\n\r\n").await;
        assert_eq!((answer.status, &*answer.body), (400, ""), "{:?}", &body[..body.len().min(20)]);
    }
    site.assert_rejections(&["malformed 5"]).await;
}

#[tokio::test]
async fn a_caller_that_waits_for_100_continue_gets_it_unless_it_is_refused() {
    let site = Site::new(NO_TIMEOUT).await;
    let head = post_head("c", 7) + "Expect: 100-continue\r\n\r\n";
    let mut stream = site.connect().await;
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(next_answer(&mut stream).await.unwrap().status, 100);
    stream.write_all(br#"{"n":1}"#).await.unwrap();
    let answer = next_answer(&mut stream).await.unwrap();
    assert_eq!((answer.status, answer.source()), (200, "worker"));

    for (head, status) in [
        (head.replace("Authorization: Basic ", "Authorization: Basic x"), 401),
        (head.replace("/connectors/c", "/connectors/d"), 404),
        (head.replace("POST", "PUT"), 405),
        (head.replace("application/json", "text/plain"), 415),
        (head.replace("Content-Length: 7", "Content-Length: 70000"), 413),
    ] {
        let mut stream = site.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = next_answer(&mut stream).await.unwrap();
        assert_eq!(answer.status, status, "without a 100 before it");
        // Whatever came next could be the body or a request.
        assert!(is_closed(&mut stream).await, "{status}");
    }
}

#[tokio::test]
async fn an_early_refusal_is_not_lost_to_a_reset_while_the_body_is_still_being_sent() {
    let site = Site::new(NO_TIMEOUT).await;
    let right = post_head("c", 60_000);
    for (head, status) in [
        (right.replace("Authorization: Basic ", "Authorization: Basic x"), 401),
        (right.replace("/connectors/c", "/connectors/d"), 404),
        (right.replace("60000", "90000"), 413),
    ] {
        let mut stream = site.connect().await;
        stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
        let answer = read_answer(&mut stream, Instant::now()).await;
        assert_eq!(answer.status, status);
        // A reset would make the second write fail, and elsewhere lose an answer not yet read.
        for _ in 0..60 {
            stream.write_all(&[b' '; 1_000]).await.expect("no reset");
            tokio::task::yield_now().await;
        }
    }
}
