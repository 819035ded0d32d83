//! A process with few file descriptors.

use std::{
    fs,
    time::{Duration, Instant},
};

use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::call;
use crate::support::{
    process::Serving,
    real::{NatsServer, SOON, get, next_answer, post, until, worker},
};

const C: &str = r#"  c: {protocol: entra, step: before-create, auth: {basic: [{username: entra, password_file: "{folder}/password"}]}}
"#;

/// Silent connections, until one has to make room.
async fn fill(bridge: &Serving) -> Vec<TcpStream> {
    let connect = async || TcpStream::connect(("127.0.0.1", bridge.port)).await.unwrap();
    let mut kept = Vec::new();
    while bridge.metric(r#"rejections_total{reason="gave_way"}"#).await == Some(0.0) {
        for _ in 0..16 {
            kept.push(connect().await);
        }
    }
    kept
}

#[tokio::test]
async fn a_bridge_without_room_for_one_more_connection_has_room_for_all_the_rest() {
    let mut server = NatsServer::start().await;
    let asked = worker(&server, "connectors.>", |_| Some(r#"{"action":"Continue"}"#.to_owned()));
    let asked = asked.await;
    let limits = ["-Sn 256", "-Hn 256"];
    let bridge = Serving::start_within(&limits, &server, "read_timeout: 5m", C).await;
    let bridge = bridge.connected().await;
    let err = bridge.program.err();
    assert!(err.contains("max_connections is lowered to 128: there are 256 file"), "{err}");
    let mut open = TcpStream::connect(("127.0.0.1", bridge.port)).await.unwrap();
    // Whoever has called is known, and makes room for no stranger.
    open.write_all(call("{}").as_bytes()).await.unwrap();
    assert_eq!(next_answer(&mut open).await.unwrap().status, 200);
    let kept = fill(&bridge).await;
    assert!(kept.len() >= 128, "{}", kept.len());
    // Administration, with a connection for each request, and calls.
    for path in ["/livez", "/readyz", "/metrics", "/status"] {
        assert_eq!(get(bridge.admin_port, path).await.status, 200, "{path}");
    }
    open.write_all(call("{}").as_bytes()).await.unwrap();
    assert_eq!(next_answer(&mut open).await.unwrap().status, 200);
    // One more caller: a stranger makes room.
    let mut one_more = TcpStream::connect(("127.0.0.1", bridge.port)).await.unwrap();
    one_more.write_all(call("{}").as_bytes()).await.unwrap();
    assert_eq!(next_answer(&mut one_more).await.unwrap().status, 200);
    // NATS is found again.
    server.kill();
    until("NATS is gone", async || {
        (bridge.metric("nats_connected").await == Some(0.0)).then_some(())
    })
    .await;
    server.run().await;
    let bridge = bridge.connected().await;
    // A changed secret is taken over.
    fs::write(bridge.folder.0.join("password"), "another").unwrap();
    let changed = Instant::now();
    loop {
        open.write_all(call("{}").as_bytes()).await.unwrap();
        if next_answer(&mut open).await.unwrap().status == 401 {
            break;
        }
        assert!(changed.elapsed() < SOON, "the old password is in force");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(bridge.metric("config_last_reload_successful").await, Some(1.0));
    assert_eq!(bridge.metric(r#"rejections_total{reason="accept"}"#).await, Some(0.0));
    let err = bridge.program.err();
    assert!(!err.contains("broken") && !err.contains("refuses"), "{err}");
    drop((kept, asked));
}

#[tokio::test]
async fn a_soft_limit_is_raised_as_far_as_the_hard_one() {
    let server = NatsServer::start().await;
    let root = "max_connections: 300\nread_timeout: 5m";
    let bridge = Serving::start_within(&["-Sn 100", "-Hn 512"], &server, root, C).await;
    assert!(!bridge.program.err().contains("max_connections"), "{}", bridge.program.err());
    let kept = fill(&bridge).await;
    assert!(kept.len() >= 300, "{}", kept.len());
    assert_eq!(get(bridge.admin_port, "/livez").await.status, 200);
    drop(kept);
    until("a free place", async || {
        (post(bridge.port, "c", "{}").await.status == 200).then_some(())
    })
    .await;
}
