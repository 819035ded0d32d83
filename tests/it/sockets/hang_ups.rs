//! Callers that hang up before they have their answer.

use async_nats::{Client, Message, Subscriber};
use futures_util::StreamExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{NO_TIMEOUT, bridge, call, last_call, next_answer};
use crate::support::real::{Answer, Bridge, NatsServer, SOON, post_head, round_trip, until};

const CLAIMS: &str = r#"{"email":"a@example.com"}"#;
const CONTINUE: &str = r#"{"action":"Continue","tier":"gold"}"#;
const INVALID: &str = r#"{"action":"ValidationError","userMessage":"No."}"#;

/// How a caller ends a connection.
#[derive(Clone, Copy, Debug)]
enum HangUp {
    Close,
    Reset,
}

impl HangUp {
    fn end(self, stream: TcpStream) {
        match self {
            HangUp::Close => {}
            HangUp::Reset => stream.set_zero_linger().unwrap(),
        }
        drop(stream);
    }
}

/// A bridge with room for one connection, and a worker that decides when the test says so.
struct Site {
    bridge: Bridge,
    client: Client,
    calls: Subscriber,
    _server: NatsServer,
}

impl Site {
    async fn new() -> Self {
        let server = NatsServer::start().await;
        let bridge = bridge(&server, &format!("max_connections: 1\n{NO_TIMEOUT}"), "").await;
        let client = server.client().await;
        let calls = client.subscribe("connectors.c.before-create").await.unwrap();
        round_trip(&client).await;
        Self { bridge, client, calls, _server: server }
    }

    /// The next message to the worker.
    async fn asked(&mut self) -> Message {
        timeout(SOON, self.calls.next()).await.expect("a message").unwrap()
    }

    /// The worker replies to a message.
    async fn reply(&self, message: Message, decision: &'static str) {
        self.client.publish(message.reply.unwrap(), decision.into()).await.unwrap();
        self.client.flush().await.unwrap();
    }

    /// One attempt to post. `None` where the only place was taken.
    async fn try_to_send(&self, request: &str) -> Option<Answer> {
        let mut stream = self.bridge.connect().await;
        stream.write_all(request.as_bytes()).await.ok()?;
        next_answer(&mut stream).await
    }

    /// Posts claims, as soon as there is a place.
    async fn post(&self, claims: &str) -> Answer {
        let request = last_call(claims);
        until("an answer", async || self.try_to_send(&request).await).await
    }

    /// Posts claims and hangs up while the worker thinks. Returns once the bridge has noticed.
    async fn post_and_hang_up(&mut self, claims: &str, how: HangUp) -> Message {
        let (stream, message) = loop {
            let mut stream = self.bridge.connect().await;
            stream.write_all(call(claims).as_bytes()).await.unwrap();
            tokio::select! {
                message = self.asked() => break (stream, message),
                // The place is not free yet.
                _ = stream.read_u8() => {}
            }
        };
        how.end(stream);
        let no_call = last_call(claims).replace("POST", "PUT");
        until("a free place", async || self.try_to_send(&no_call).await).await;
        message
    }

    /// Posts claims and has the worker decide. Returns the answer and the message's attempt.
    async fn post_and_decide(&mut self, claims: &str, decision: &'static str) -> (Answer, String) {
        let request = last_call(claims);
        let bridge = &self.bridge;
        let answer = async {
            until("an answer", async || {
                let mut stream = bridge.connect().await;
                stream.write_all(request.as_bytes()).await.ok()?;
                next_answer(&mut stream).await
            })
            .await
        };
        let worker = async {
            let message = timeout(SOON, self.calls.next()).await.expect("a message").unwrap();
            let attempt = attempt(&message);
            self.client.publish(message.reply.unwrap(), decision.into()).await.unwrap();
            attempt
        };
        tokio::join!(answer, worker)
    }

    async fn until_calls(&self, result: &str, count: f64) {
        let series = format!("calls_total{{connector=\"c\",result=\"{result}\"}}");
        self.bridge.until_metric(&series, count).await;
    }

    /// Waits until this many calls were decided by a worker.
    async fn until_decided(&self, action: &str, code: u16, count: f64) {
        let series = format!(
            "requests_total{{action=\"{action}\",code=\"{code}\",connector=\"c\",\
             source=\"worker\",step=\"before-create\"}}"
        );
        self.bridge.until_metric(&series, count).await;
    }
}

fn attempt(message: &Message) -> String {
    let headers = message.headers.as_ref().unwrap();
    headers.get("Connector-Attempt").unwrap().to_string()
}

#[tokio::test]
async fn the_decision_for_a_caller_that_hung_up_is_recorded_and_answers_its_retry() {
    let mut site = Site::new().await;
    for (count, how) in (1..).zip([HangUp::Close, HangUp::Reset]) {
        let claims = format!(r#"{{"email":"{how:?}@example.com"}}"#);
        let message = site.post_and_hang_up(&claims, how).await;
        site.reply(message, CONTINUE).await;
        site.until_decided("continue", 200, f64::from(count)).await;
        let retry = site.post(&claims).await;
        assert_eq!((retry.status, retry.source()), (200, "replay"), "{how:?}");
        assert_eq!(retry.body, r#"{"version":"1.0.0","action":"Continue","tier":"gold"}"#);
    }
    site.until_calls("first", 2.0).await;
    site.until_calls("replayed", 2.0).await;
}

#[tokio::test]
async fn a_retry_after_hanging_up_joins_the_call_that_is_still_in_flight() {
    let mut site = Site::new().await;
    let message = site.post_and_hang_up(CLAIMS, HangUp::Reset).await;
    let retry = site.post(CLAIMS);
    let decide = async {
        site.until_calls("joined", 1.0).await;
        site.reply(message, CONTINUE).await;
    };
    let (retry, ()) = tokio::join!(retry, decide);
    assert_eq!((retry.status, retry.source()), (200, "worker"));
    site.until_calls("first", 1.0).await;
}

#[tokio::test]
async fn a_validation_error_that_reached_nobody_is_replayed_once_and_then_decided_anew() {
    let mut site = Site::new().await;
    for (count, how) in (1..).zip([HangUp::Close, HangUp::Reset]) {
        let claims = format!(r#"{{"email":"{how:?}@example.com"}}"#);
        let message = site.post_and_hang_up(&claims, how).await;
        site.reply(message, INVALID).await;
        site.until_decided("validation_error", 400, f64::from(count)).await;
        let retry = site.post(&claims).await;
        assert_eq!((retry.status, retry.source()), (400, "replay"), "{how:?}");
        let (again, attempt) = site.post_and_decide(&claims, CONTINUE).await;
        assert_eq!((again.status, again.source(), &*attempt), (200, "worker", "1"), "{how:?}");
    }
}

#[tokio::test]
async fn a_validation_error_that_was_delivered_is_decided_anew() {
    let mut site = Site::new().await;
    for _ in 0..3 {
        let (answer, attempt) = site.post_and_decide(CLAIMS, INVALID).await;
        assert_eq!((answer.status, answer.source(), &*attempt), (400, "worker", "1"));
    }
    site.until_calls("first", 3.0).await;
}

#[tokio::test]
async fn a_caller_that_will_not_send_any_more_is_taken_for_one_that_hung_up() {
    let mut site = Site::new().await;
    let mut stream = site.bridge.connect().await;
    stream.write_all(call(CLAIMS).as_bytes()).await.unwrap();
    let message = site.asked().await;
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    timeout(SOON, stream.read_to_end(&mut answer)).await.expect("an end").unwrap();
    assert!(answer.is_empty(), "there is no telling whether it still reads");
    site.reply(message, CONTINUE).await;
    site.until_decided("continue", 200, 1.0).await;
    let answer = site.post(CLAIMS).await;
    assert_eq!((answer.status, answer.source()), (200, "replay"));
}

#[tokio::test]
async fn a_caller_that_hangs_up_within_its_request_asks_nobody() {
    let site = Site::new().await;
    for how in [HangUp::Close, HangUp::Reset] {
        for length in [0, 20, post_head("c", 2).len() + 2, call(CLAIMS).len() - 1] {
            let mut stream = site.bridge.connect().await;
            stream.write_all(&call(CLAIMS).as_bytes()[..length]).await.unwrap();
            how.end(stream);
        }
    }
    let no_call = last_call(CLAIMS).replace("POST", "PUT");
    until("a free place", async || site.try_to_send(&no_call).await).await;
    site.until_calls("first", 0.0).await;
}
