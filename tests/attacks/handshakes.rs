//! TLS handshakes: many at once, many one after the other, and hellos that never end.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rustls::{ClientConfig, ClientConnection, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::sleep_until,
};

use crate::{
    attackers::{Attackers, connect, send_and_wait},
    scenario::{Scenario, play},
    site::Site,
};

/// What a client of today says first. Each connection says it again: whoever recorded one needs no
/// arithmetic of their own, and the bridge signs with RSA for each.
fn hello(tls: &Arc<ClientConfig>) -> Vec<u8> {
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(Arc::clone(tls), name).unwrap();
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// All connect and keep silent, then all say hello in one moment, and again.
fn hellos_at_once(count: usize, site: &Site) -> Attackers {
    // Less than the bridge waits for a silent connection, and long enough for all to connect.
    const SILENCE: Duration = Duration::from_millis(3_500);
    const ROUND: Duration = Duration::from_secs(6);
    let (port, hello, begun) =
        (site.serving.port, hello(site.tls.as_ref().unwrap()), Instant::now());
    Attackers::start(count, move |number, tally| {
        let hello = hello.clone();
        async move {
            let rounds = begun.elapsed().as_secs() / ROUND.as_secs();
            let round = begun + ROUND * u32::try_from(rounds).unwrap();
            if let Some(mut stream) = connect(number, port, &tally).await {
                sleep_until((round + SILENCE).into()).await;
                if stream.write_all(&hello).await.is_ok() {
                    tally.count("hellos");
                }
                if stream.read(&mut [0; 64]).await.is_ok_and(|read| read > 0) {
                    tally.count("answered");
                }
            }
            sleep_until((round + ROUND).into()).await;
        }
    })
}

#[tokio::test]
async fn hellos_of_3500_connections_at_once_hold_up_no_call() {
    static SCENARIO: Scenario = Scenario::crowd("3,500 ClientHellos at once, RSA").within_tls();
    play(&SCENARIO, |site| hellos_at_once(3_500, site)).await;
}

#[tokio::test]
async fn hellos_of_3500_connections_at_once_hold_up_no_call_where_all_are_accepted() {
    static SCENARIO: Scenario =
        Scenario::crowd_accepted("3,500 ClientHellos at once, RSA").within_tls();
    play(&SCENARIO, |site| hellos_at_once(3_500, site)).await;
}

#[tokio::test]
async fn a_flood_of_hellos_from_one_address_holds_up_no_call() {
    static SCENARIO: Scenario =
        Scenario::crowd("ClientHellos without end from one address, RSA").within_tls();
    play(&SCENARIO, |site| {
        let (port, hello) = (site.serving.port, hello(site.tls.as_ref().unwrap()));
        Attackers::start(200, move |_, tally| {
            let hello = hello.clone();
            async move {
                let Some(mut stream) = connect(0, port, &tally).await else { return };
                if stream.write_all(&hello).await.is_ok() {
                    tally.count("hellos");
                }
                if stream.read(&mut [0; 64]).await.is_ok_and(|read| read > 0) {
                    tally.count("answered");
                }
                // Without a wait for the other side, or this machine would run out of ports.
                drop(stream.set_zero_linger());
            }
        })
    })
    .await;
}

/// Connections with one message of 64 KiB, in as many records as it takes, but for its last bytes.
async fn unfinished_hellos(scenario: &'static Scenario) {
    const LENGTH: usize = 65_535;
    const RECORD: usize = 16 * 1_024;
    let [.., high, middle, low] = LENGTH.to_be_bytes();
    let message = [vec![1, high, middle, low, 3, 3], vec![7; LENGTH - 100]].concat();
    let records = message.chunks(RECORD).flat_map(|part| {
        let length = u16::try_from(part.len()).unwrap().to_be_bytes();
        [&[22, 3, 1], &length[..], part].concat()
    });
    let bytes = Bytes::from_iter(records);
    play(scenario, |site| {
        let port = site.serving.port;
        Attackers::start(1_500, move |number, tally| {
            let bytes = bytes.clone();
            async move { send_and_wait(number, port, &bytes, &tally).await }
        })
    })
    .await;
}

#[tokio::test]
async fn unfinished_hellos_of_64_kib_harm_nobody() {
    static SCENARIO: Scenario =
        Scenario::crowd("1,500 unfinished ClientHellos of 64 KiB").within_tls();
    unfinished_hellos(&SCENARIO).await;
}

#[tokio::test]
async fn unfinished_hellos_harm_nobody_where_all_are_accepted() {
    static SCENARIO: Scenario =
        Scenario::crowd_accepted("1,500 unfinished ClientHellos of 64 KiB").within_tls();
    unfinished_hellos(&SCENARIO).await;
}
