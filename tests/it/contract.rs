//! Placeholder of the first commit: a call decided by a worker.

use crate::support::{
    fake::{self, Worker},
    real,
};

#[tokio::test(start_paused = true)]
async fn a_worker_decides() {
    let bridge = fake::Bridge::new("", &[Worker::Says(r#"{"action":"Continue","tier":"gold"}"#)]);
    let heard = bridge.post(r#"{"email":"a@b.c"}"#).await;
    assert_eq!((heard.status, &*heard.source), (200, "worker"));
    assert_eq!(heard.body, r#"{"version":"1.0.0","action":"Continue","tier":"gold"}"#);
}

#[tokio::test]
async fn a_worker_decides_over_real_nats() {
    let server = real::NatsServer::start().await;
    let connectors = "  c: {protocol: entra, step: before-create, auth: {basic: [{username: entra, password_file: \"{folder}/password\"}]}}\n";
    let bridge = real::Bridge::start(&server, connectors).await.connected().await;
    real::worker(&server, "connectors.c.before-create", |_| {
        Some(r#"{"action":"ShowBlockPage","userMessage":"No."}"#.to_owned())
    })
    .await;
    let answer = bridge.post("c", r#"{"email":"a@b.c"}"#).await;
    assert_eq!((answer.status, answer.source()), (200, "worker"));
}
