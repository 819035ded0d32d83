//! Counting workers that answer `$SRV.INFO` (NATS services API, ADR-32).

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use futures_util::StreamExt;
use tokio::task::JoinHandle;

use super::{
    connector,
    worker::{Worker, lets_in},
};
use crate::support::real::{Bridge, NatsServer, round_trip, until};

const AVAILABLE: &str = r#"workers_available{connector="c"}"#;

/// Answers `$SRV.INFO` as a service with an endpoint on `subject` does.
async fn service(server: &NatsServer, id: &str, subject: &str) -> JoinHandle<()> {
    let info = format!(
        r#"{{"name":"approve","id":"{id}","version":"1.0.0","metadata":{{}},
            "type":"io.nats.micro.v1.info_response","description":"",
            "endpoints":[{{"name":"other","subject":"other.>","queue_group":"q","metadata":null}},
                         {{"name":"decide","subject":"{subject}","queue_group":"q"}}]}}"#
    );
    let client = server.client().await;
    let mut asked = client.subscribe("$SRV.INFO").await.unwrap();
    round_trip(&client).await;
    tokio::spawn(async move {
        while let Some(message) = asked.next().await {
            client.publish(message.reply.unwrap(), info.clone().into()).await.unwrap();
        }
    })
}

/// How often workers were asked for so far.
async fn count_questions(server: &NatsServer) -> Arc<AtomicU64> {
    let client = server.client().await;
    let mut asked = client.subscribe("$SRV.INFO").await.unwrap();
    round_trip(&client).await;
    let count = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&count);
    tokio::spawn(async move {
        while asked.next().await.is_some() {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    count
}

async fn until_asked(questions: &AtomicU64, times: u64) {
    let what = format!("workers are asked for {times} times");
    until(&what, async || (questions.load(Ordering::Relaxed) >= times).then_some(())).await;
}

#[tokio::test]
async fn workers_that_describe_themselves_are_counted_and_those_that_leave_are_missed() {
    let server = NatsServer::start().await;
    let questions = count_questions(&server).await;
    let services = [
        service(&server, "A", "connectors.*.before-create").await,
        service(&server, "B", "connectors.>").await,
        service(&server, "C", "connectors.c").await,
        service(&server, "D", "connectors.d.before-create").await,
    ];
    let bridge = Bridge::start(&server, &connector("")).await.connected().await;
    bridge.until_metric(AVAILABLE, 2.0).await;
    services.iter().for_each(JoinHandle::abort);
    until_asked(&questions, 2).await;
    bridge.until_metric(AVAILABLE, 0.0).await;
}

#[tokio::test]
async fn plain_subscribers_do_not_describe_themselves_and_are_not_taken_for_absent() {
    let server = NatsServer::start().await;
    let questions = count_questions(&server).await;
    let _worker = Worker::start(&server, lets_in).await;
    let bridge = Bridge::start(&server, &connector("")).await.connected().await;
    assert_eq!(bridge.metric(AVAILABLE).await, Some(-1.0));
    // The second question is asked when the answers to the first have been counted.
    until_asked(&questions, 2).await;
    assert_eq!(bridge.metric(AVAILABLE).await, Some(-1.0));
}
