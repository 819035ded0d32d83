//! Connections that say nothing, and clients that keep theirs.

use std::{fs, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{sleep, timeout},
};

use crate::{
    attackers::{Attackers, connect, send_and_wait},
    callers::{claims, post},
    scenario::{Nats, Scenario, play, play_with},
    site::{GOOD, Site},
};

#[tokio::test]
async fn with_1100_idle_connections_nats_is_found_again_and_secrets_are_read() {
    static SCENARIO: Scenario = Scenario {
        nats: Nats::Restarts,
        ..Scenario::crowd("1,100 idle connections; NATS restarts, a secret changes")
    };
    play_with(
        &SCENARIO,
        |site| {
            let port = site.serving.port;
            Attackers::start(1_100, move |number, tally| async move {
                send_and_wait(number, port, b"", &tally).await;
            })
        },
        async |site: &mut Site| {
            site.server.kill();
            site.server.run().await;
            // What counts is that it is read, not what is in it.
            fs::write(site.serving.folder.0.join("password"), "secret").unwrap();
            // It is looked at every two seconds.
            sleep(Duration::from_secs(3)).await;
            let err = site.serving.program.err();
            let is_blamed = err.contains("a changed secret file is broken");
            is_blamed
                .then(|| "no file is blamed that could be read".to_owned())
                .into_iter()
                .collect()
        },
    )
    .await;
}

#[tokio::test]
async fn four_hundred_clients_that_keep_their_connections_harm_nobody() {
    static SCENARIO: Scenario = Scenario::plain("400 clients with idle keep-alive connections");
    play(&SCENARIO, |site| {
        let port = site.serving.port;
        Attackers::start(400, move |number, tally| async move {
            let Some(mut stream) = connect(number, port, &tally).await else { return };
            if stream.write_all(&post(GOOD, &claims())).await.is_err() {
                return;
            }
            let mut answer = [0; 2_048];
            let read = stream.read(&mut answer).await.unwrap_or(0);
            tally.count(if answer[..read].starts_with(b"HTTP/1.1 200") {
                "200"
            } else {
                "not 200"
            });
            // Idle, until the bridge closes it.
            drop(timeout(Duration::from_secs(60), stream.read(&mut answer)).await);
        })
    })
    .await;
}
