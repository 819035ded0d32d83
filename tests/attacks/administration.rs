//! The administration port, for those who can reach it.

use std::time::Duration;

use tokio::{io::AsyncWriteExt, time::timeout};

use crate::{
    attackers::{Attackers, connect, connect_small, until_closed},
    scenario::{Scenario, play},
    site::Site,
};

/// Half of them send a body that never comes; the others ask for all metrics, many times, and read
/// nothing.
fn hold(count: usize, site: &Site) -> Attackers {
    let port = site.serving.admin_port;
    let half = b"PUT /log-level HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nin";
    let many = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(200);
    Attackers::start(count, move |number, tally| {
        let many = many.clone();
        async move {
            if number.is_multiple_of(2) {
                let Some(mut stream) = connect(number, port, &tally).await else { return };
                if stream.write_all(half).await.is_ok() {
                    tally.count("half a body");
                }
                let answered = until_closed(&mut stream).await;
                tally.count(&answered);
            } else {
                let Some(mut stream) = connect_small(number, port, &tally).await else { return };
                drop(timeout(Duration::from_secs(1), stream.write_all(&many)).await);
                tally.count("reads nothing");
                // The bridge closes it, and then writing fails.
                while stream.write_all(b"G").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                tally.count("given up");
            }
            // Where all places are taken the next try is soon enough.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
}

#[tokio::test]
async fn sixty_four_connections_do_not_hold_administration() {
    static SCENARIO: Scenario = Scenario::plain("64 connections that hold administration");
    play(&SCENARIO, |site| hold(64, site)).await;
}

#[tokio::test]
async fn two_hundred_connections_do_not_hold_administration() {
    static SCENARIO: Scenario = Scenario::plain("200 connections that hold administration");
    play(&SCENARIO, |site| hold(200, site)).await;
}
