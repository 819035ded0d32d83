//! Heads that never end, or that end in a refusal.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::sleep,
};

use crate::{
    attackers::{Attackers, connect, send_and_wait},
    scenario::{Scenario, play},
};

/// Connections with a head of 15 KiB that does not end.
async fn unfinished_heads(scenario: &'static Scenario) {
    let mut head = b"POST /connectors/good HTTP/1.1\r\nHost: x\r\n".to_vec();
    for number in 0.. {
        let line = format!("X-{number}: {}\r\n", "x".repeat(1_000));
        if head.len() + line.len() > 15 * 1_024 {
            break;
        }
        head.extend(line.bytes());
    }
    play(scenario, |site| {
        let port = site.serving.port;
        Attackers::start(2_000, move |number, tally| {
            let head = head.clone();
            async move { send_and_wait(number, port, &head, &tally).await }
        })
    })
    .await;
}

#[tokio::test]
async fn two_thousand_unfinished_heads_of_15_kib_harm_nobody() {
    static SCENARIO: Scenario = Scenario::crowd("2,000 unfinished heads of 15 KiB");
    unfinished_heads(&SCENARIO).await;
}

#[tokio::test]
async fn unfinished_heads_harm_nobody_where_all_are_accepted() {
    static SCENARIO: Scenario = Scenario::crowd_accepted("2,000 unfinished heads of 15 KiB");
    unfinished_heads(&SCENARIO).await;
}

#[tokio::test]
async fn heads_that_come_byte_by_byte_harm_nobody() {
    static SCENARIO: Scenario = Scenario::plain("300 heads byte by byte");
    play(&SCENARIO, |site| {
        let port = site.serving.port;
        Attackers::start(300, move |number, tally| async move {
            let Some(mut stream) = connect(number, port, &tally).await else { return };
            for byte in
                b"POST /connectors/good HTTP/1.1\r\nHost: x\r\nX: ".iter().chain(&[b'x'; 900])
            {
                if stream.write_all(&[*byte]).await.is_err() {
                    break;
                }
                tally.count("bytes");
                sleep(Duration::from_millis(20)).await;
            }
        })
    })
    .await;
}

#[tokio::test]
async fn a_flood_of_wrong_logins_harms_nobody() {
    static SCENARIO: Scenario = Scenario::plain("wrong logins, as many as 20 connections can");
    let request = "POST /connectors/good HTTP/1.1\r\nHost: x\r\nAuthorization: Basic \
                   ZW50cmE6d3Jvbmc=\r\nContent-Length: 2\r\n\r\n{}";
    play(&SCENARIO, |site| {
        let port = site.serving.port;
        Attackers::start(20, move |number, tally| async move {
            let Some(mut stream) = connect(number, port, &tally).await else { return };
            let mut answer = [0; 2_048];
            loop {
                if stream.write_all(request.as_bytes()).await.is_err() {
                    return;
                }
                match stream.read(&mut answer).await {
                    Ok(0) | Err(_) => return,
                    Ok(read) if answer[..read].starts_with(b"HTTP/1.1 401") => tally.count("401"),
                    Ok(_) => tally.count("something else"),
                }
            }
        })
    })
    .await;
}
