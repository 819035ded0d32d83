//! Connections: kept, shared by several requests, too many of them, and some that stand still.

use std::time::Duration;

use tokio::{io::AsyncWriteExt, time::timeout};

use super::{NO_TIMEOUT, Site, call, is_closed, last_call, next_answer, one_answer};
use crate::support::real::{post_head, until};

fn goes_on(n: u32) -> String {
    format!(r#"{{"version":"1.0.0","action":"Continue","n":{n}}}"#)
}

#[tokio::test]
async fn one_connection_carries_call_after_call() {
    let site = Site::new(NO_TIMEOUT).await;
    let mut stream = site.connect().await;
    for n in 0..20 {
        // Cut where it may hurt: between the head and the body, and inside either.
        let bytes = call(&format!(r#"{{"n":{n}}}"#));
        let cut = bytes.len() * (n as usize + 1) / 21;
        stream.write_all(&bytes.as_bytes()[..cut]).await.unwrap();
        tokio::task::yield_now().await;
        stream.write_all(&bytes.as_bytes()[cut..]).await.unwrap();
        let answer = next_answer(&mut stream).await.expect("kept");
        assert_eq!((answer.status, answer.body), (200, goes_on(n)));
        // Line ends between requests do not count.
        stream.write_all(b"\r\n\r\n").await.unwrap();
    }
    assert_eq!(site.asked(), 20);
}

#[tokio::test]
async fn a_refused_request_leaves_the_connection_for_the_next_one() {
    let site = Site::new(NO_TIMEOUT).await;
    let mut stream = site.connect().await;
    let right = call(r#"{"n":1}"#);
    for (request, status) in [
        (right.replace("Authorization: Basic ", "Authorization: Basic x"), 401),
        (right.replace("/connectors/c", "/connectors/d"), 404),
        (right.replace("application/json", "text/plain"), 415),
        (right.replace("{\"n\":1}", "[     ]"), 422),
        (right.replace("POST", "PUT"), 405),
        (right, 200),
    ] {
        stream.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(next_answer(&mut stream).await.expect("kept").status, status);
    }
}

#[tokio::test]
async fn calls_that_are_sent_without_waiting_are_answered_in_their_order() {
    let site = Site::new(NO_TIMEOUT).await;
    let mut stream = site.connect().await;
    let in_chunks = |n: u32| {
        let head = post_head("c", 0).replace("Content-Length: 0", "Transfer-Encoding: chunked");
        format!("{head}\r\n7\r\n{{\"n\":{n}}}\r\n0\r\n\r\n")
    };
    let all: String = (0..10)
        .map(|n| if n % 3 == 1 { in_chunks(n) } else { call(&format!(r#"{{"n":{n}}}"#)) })
        .collect();
    stream.write_all(all.as_bytes()).await.unwrap();
    for n in 0..10 {
        let answer = next_answer(&mut stream).await.expect("an answer to each");
        assert_eq!((answer.status, answer.body), (200, goes_on(n)));
    }
    assert_eq!(site.asked(), 10);
}

#[tokio::test]
async fn a_long_body_behind_another_call_is_not_taken_for_a_request_line() {
    let site = Site::new(NO_TIMEOUT).await;
    let mut stream = site.connect().await;
    let long = format!("{{\"n\":2{}}}", " ".repeat(30_000));
    let two = call(r#"{"n":1}"#) + &call(&long);
    let head = two.len() - long.len();
    stream.write_all(&two.as_bytes()[..head]).await.unwrap();
    assert_eq!(next_answer(&mut stream).await.unwrap().body, goes_on(1));
    stream.write_all(&two.as_bytes()[head..]).await.unwrap();
    assert_eq!(next_answer(&mut stream).await.expect("an answer").body, goes_on(2));
}

#[tokio::test]
async fn a_bad_head_is_found_wherever_on_a_connection_it_stands() {
    let site = Site::new(NO_TIMEOUT).await;
    let bad = post_head("c", 2) + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    for first in ["POST", "HEAD", "PUT"] {
        let mut stream = site.connect().await;
        let first = call("{}").replace("POST", first);
        stream.write_all(first.as_bytes()).await.unwrap();
        let has_body = !first.starts_with("HEAD");
        one_answer(&mut stream, has_body).await.expect("an answer to the first");
        stream.write_all(bad.as_bytes()).await.unwrap();
        let answer = next_answer(&mut stream).await.expect("an answer to the second");
        assert_eq!((answer.status, &*answer.body), (400, ""), "behind {first}");
        assert!(is_closed(&mut stream).await);
    }
    // Sent without waiting, nothing may be taken for the answer to the first.
    let mut stream = site.connect().await;
    stream.write_all((call("{}") + &bad).as_bytes()).await.unwrap();
    assert!(next_answer(&mut stream).await.is_none());
    site.assert_rejections(&["malformed 4", "method 2"]).await;
}

#[tokio::test]
async fn a_request_has_its_whole_deadline_whatever_came_before_it_on_its_connection() {
    let site = Site::with(NO_TIMEOUT, "deadline: 400ms").await;
    for method in ["HEAD", "PUT", "POST"] {
        let mut stream = site.connect().await;
        let first = call("{}").replace("POST", method);
        stream.write_all(first.as_bytes()).await.unwrap();
        one_answer(&mut stream, method != "HEAD").await.expect("an answer to the first");
        // A body that never comes gets its answer once the deadline of the first has passed too.
        assert_eq!(site.exchange(post_head("c", 2) + "\r\n").await.status, 408);
        stream.write_all(call(r#"{"n":2}"#).as_bytes()).await.unwrap();
        let answer = next_answer(&mut stream).await.expect("an answer");
        assert_eq!((answer.status, answer.body), (200, goes_on(2)), "behind {method}");
    }
}

#[tokio::test]
async fn http_1_0_gets_an_answer_and_the_end_of_the_connection() {
    let site = Site::new(NO_TIMEOUT).await;
    let old = call(r#"{"n":1}"#).replace("HTTP/1.1\r\nHost: x", "HTTP/1.0");
    let answer = site.exchange(old).await;
    assert_eq!((answer.status, answer.body), (200, goes_on(1)));
}

#[tokio::test]
async fn a_connection_too_many_is_closed_at_once_and_the_others_are_unharmed() {
    let site = Site::new(&format!("max_connections: 3\n{NO_TIMEOUT}")).await;
    let mut kept = Vec::new();
    for _ in 0..3 {
        let mut stream = site.connect().await;
        stream.write_all(call("{}").as_bytes()).await.unwrap();
        assert_eq!(next_answer(&mut stream).await.unwrap().status, 200);
        kept.push(stream);
    }
    for _ in 0..5 {
        assert!(is_closed(&mut site.connect().await).await);
    }
    site.assert_rejections(&["connections 5"]).await;
    for stream in &mut kept {
        stream.write_all(call("{}").as_bytes()).await.unwrap();
        assert_eq!(next_answer(stream).await.expect("unharmed").status, 200);
    }
    // A place that is given back is taken again.
    drop(kept.pop());
    until("a free place", async || {
        let mut stream = site.connect().await;
        stream.write_all(call("{}").as_bytes()).await.ok()?;
        next_answer(&mut stream).await
    })
    .await;
}

#[tokio::test]
async fn a_caller_that_reads_no_answer_holds_up_nobody_and_is_given_up() {
    let site = Site::new(&format!("max_connections: 2\n{NO_TIMEOUT}")).await;
    let mut deaf = site.connect().await;
    let many = call("{}").replace("POST", "PUT").repeat(100);
    // Until the answers that nobody reads fill every buffer.
    while let Ok(Ok(())) = timeout(Duration::from_secs(1), deaf.write_all(many.as_bytes())).await {}
    let mut other = site.connect().await;
    for n in 0..20 {
        other.write_all(call(&format!(r#"{{"n":{n}}}"#)).as_bytes()).await.unwrap();
        let answer = next_answer(&mut other).await.expect("unharmed");
        assert_eq!((answer.status, answer.body), (200, goes_on(n)));
    }
    drop(other);
    // Then both places are free.
    until("the deaf caller is given up", async || {
        let mut streams = [site.connect().await, site.connect().await];
        for stream in &mut streams {
            stream.write_all(last_call("{}").as_bytes()).await.ok()?;
        }
        let [mut one, mut other] = streams;
        next_answer(&mut one).await.and(next_answer(&mut other).await)
    })
    .await;
}
