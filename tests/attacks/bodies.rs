//! Large bodies of callers that have the right credentials.

use std::time::Duration;

use bytes::Bytes;
use tokio::{io::AsyncWriteExt, time::sleep};

use crate::{
    attackers::{Attackers, Tally, connect, send_and_wait},
    callers::{person, post},
    scenario::{Scenario, play},
    site::{BIG, GOOD, SILENT},
};

/// As long as can be posted, of a person whom nobody else has.
fn big_claims() -> Vec<u8> {
    let (person, name) = (person(), "d".repeat(BIG));
    format!(r#"{{"email":"p{person}@example.com","displayName":"{name}"}}"#).into_bytes()
}

/// Posts to a worker that keeps silent, and hangs up once the bridge has it all.
async fn post_and_hang_up(number: usize, port: u16, request: &[u8], tally: &Tally) {
    let Some(mut stream) = connect(number, port, tally).await else { return };
    if stream.write_all(request).await.is_ok() {
        tally.count("posted");
    }
    // Time to read it all, since what was not read is lost with the connection.
    sleep(Duration::from_millis(15)).await;
}

#[tokio::test]
async fn one_caller_that_posts_the_same_claims_again_and_again_harms_nobody() {
    static SCENARIO: Scenario = Scenario::plain("the same 60 KB posted again and again, hung up");
    let request = Bytes::from(post(SILENT, &big_claims()));
    play(&SCENARIO, |site| {
        let port = site.serving.port;
        Attackers::start(4, move |number, tally| {
            let request = request.clone();
            async move { post_and_hang_up(number, port, &request, &tally).await }
        })
    })
    .await;
}

#[tokio::test]
async fn callers_that_post_large_claims_and_hang_up_harm_nobody() {
    static SCENARIO: Scenario = Scenario::plain("different 60 KB posted, hung up");
    play(&SCENARIO, |site| {
        let port = site.serving.port;
        Attackers::start(4, move |number, tally| async move {
            post_and_hang_up(number, port, &post(SILENT, &big_claims()), &tally).await;
        })
    })
    .await;
}

/// Connections with a body that lacks its last byte.
async fn unfinished_bodies(scenario: &'static Scenario) {
    let mut request = post(GOOD, &big_claims());
    request.pop();
    let request = Bytes::from(request);
    play(scenario, |site| {
        let port = site.serving.port;
        Attackers::start(4_000, move |number, tally| {
            let request = request.clone();
            async move { send_and_wait(number, port, &request, &tally).await }
        })
    })
    .await;
}

#[tokio::test]
async fn four_thousand_unfinished_bodies_harm_nobody() {
    static SCENARIO: Scenario = Scenario::crowd("4,000 unfinished bodies of 60 KB");
    unfinished_bodies(&SCENARIO).await;
}

#[tokio::test]
async fn unfinished_bodies_harm_nobody_where_all_are_accepted() {
    static SCENARIO: Scenario = Scenario::crowd_accepted("4,000 unfinished bodies of 60 KB");
    unfinished_bodies(&SCENARIO).await;
}
