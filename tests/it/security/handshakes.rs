//! HTTPS as callers and others meet it.

use std::time::{Duration, Instant};

use rustls::{CipherSuite, ClientConfig, ProtocolVersion, crypto::ring, version::TLS12};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::{Authority, BASIC, RIGHT, Site, TLS, client_config, connect, request, tls_folder};
use crate::support::{
    pki::client_config_with,
    real::{SOON, get, next_answer, read_answer, until},
};

async fn site(servers: &Authority, root: &str) -> Site {
    let folder = tls_folder(&servers.server(), &Authority::new("callers"));
    Site::new(folder, &format!("{TLS}\n{root}"), &[("c", BASIC.to_owned())]).await
}

/// A client that speaks TLS 1.2 with this suite only.
fn with_suite(servers: &Authority, suite: CipherSuite) -> ClientConfig {
    let mut provider = ring::default_provider();
    provider.cipher_suites.retain(|known| known.suite() == suite);
    client_config_with(provider, &[&TLS12], servers, None)
}

#[tokio::test]
async fn calls_are_answered_over_tls_1_2_and_1_3_one_after_the_other_and_over_nothing_else() {
    let servers = Authority::new("servers");
    let site = site(&servers, "").await;
    let mut stream = connect(client_config(&servers, None), site.bridge.port).await.unwrap();
    assert_eq!(stream.get_ref().1.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    let kept = request("c", RIGHT).replace("Connection: close\r\n", "");
    for _ in 0..3 {
        stream.write_all(kept.as_bytes()).await.unwrap();
        assert_eq!(next_answer(&mut stream).await.unwrap().status, 200);
    }
    for suite in [
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ] {
        let config = with_suite(&servers, suite);
        assert_eq!(site.post_over(&config, "c", RIGHT).await.status, 200, "{suite:?}");
    }
    // The same hello, but for its version: 1.0, 1.1, and 1.2. An alert, or the server's hello.
    for (version, wanted) in [([3, 1], 21), ([3, 2], 21), ([3, 3], 22)] {
        let mut stream = site.bridge.connect().await;
        stream.write_all(&hello(version)).await.unwrap();
        let first = timeout(SOON, stream.read_u8()).await.expect("an answer").unwrap();
        assert_eq!(first, wanted, "{version:?}");
    }
    until("both are counted", async || {
        let refused = site.bridge.metric(r#"rejections_total{reason="tls_handshake"}"#).await;
        // The third client went away in the middle.
        (refused == Some(3.0)).then_some(())
    })
    .await;
}

/// A client's hello in this version, with a suite and groups that the server has.
fn hello(version: [u8; 2]) -> Vec<u8> {
    fn with_length(bytes: &[u8]) -> Vec<u8> {
        [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
    }
    let extension = |kind: u16, content: &[u8]| {
        [&kind.to_be_bytes()[..], &with_length(&with_length(content))].concat()
    };
    // supported_groups: x25519, secp256r1; signature_algorithms: ecdsa_secp256r1_sha256
    let extensions = [extension(10, &[0, 29, 0, 23]), extension(13, &[4, 3])].concat();
    let suite = with_length(&[0xc0, 0x2b]); // TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
    let body = [&version[..], &[7; 32], &[0], &suite, &[1, 0], &with_length(&extensions)].concat();
    let message = [&[1, 0][..], &with_length(&body)].concat();
    [&[22, 3, 1][..], &with_length(&message)].concat()
}

#[tokio::test]
async fn what_is_no_tls_or_comes_too_slowly_is_closed_and_counted_and_harms_nobody() {
    const SHORT: Duration = Duration::from_millis(300);
    let servers = Authority::new("servers");
    let site = site(&servers, "read_timeout: 300ms").await;
    let half_a_hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let plain = request("c", RIGHT);
    for (name, bytes) in [
        ("silence", b"".as_slice()),
        ("half a hello", half_a_hello),
        ("plain HTTP", plain.as_bytes()),
        ("noise", &[0xff; 300]),
    ] {
        let before = site.bridge.metric(r#"rejections_total{reason="tls_handshake"}"#).await;
        let start = Instant::now();
        let mut stream = site.bridge.connect().await;
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        drop(timeout(SOON, stream.read_to_end(&mut answer)).await.expect("an end"));
        assert!(!answer.starts_with(b"HTTP"), "{name}");
        if bytes.len() < 20 {
            assert!(start.elapsed() >= SHORT, "{name}: {:?}", start.elapsed());
        }
        let counted = before.unwrap() + 1.0;
        site.bridge.until_metric(r#"rejections_total{reason="tls_handshake"}"#, counted).await;
    }
    // Who only looks whether somebody listens is no fault.
    for _ in 0..3 {
        drop(TcpStream::connect(("127.0.0.1", site.bridge.port)).await.unwrap());
    }
    let config = client_config(&servers, None);
    assert_eq!(site.post_over(&config, "c", RIGHT).await.status, 200);
    assert_eq!(site.bridge.metric(r#"rejections_total{reason="tls_handshake"}"#).await, Some(4.0));
    // A head and a body have their time inside of TLS too.
    let half = &plain[..plain.len() - 5];
    for (bytes, status) in [(&plain[..30], 0), (half, 408)] {
        let mut stream = connect(config.clone(), site.bridge.port).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        assert_eq!(read_answer(&mut stream, Instant::now()).await.status, status, "{bytes}");
    }
}

#[tokio::test]
async fn the_administration_port_stays_plain_and_shows_when_certificates_end() {
    let servers = Authority::new("servers");
    let site = site(&servers, "").await;
    let metrics = get(site.bridge.admin_port, "/metrics").await;
    assert_eq!(metrics.status, 200);
    let series = r#"tls_certificate_not_after_timestamp_seconds{role="server"}"#;
    let ends = site.bridge.metric(series).await.unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let days = (ends - now.as_secs_f64()) / 86_400.0;
    assert!((29.0..=30.0).contains(&days), "{days}");
    let series = r#"tls_certificate_not_after_timestamp_seconds{role="client_ca"}"#;
    assert!(site.bridge.metric(series).await.unwrap() > ends);
    assert!(!metrics.body.contains("role=\"nats"), "only where there is one");
}

#[tokio::test]
async fn a_caller_that_reads_no_answer_is_given_up_inside_of_tls_too() {
    let servers = Authority::new("servers");
    let site = site(&servers, "max_connections: 1\nread_timeout: 5m").await;
    let config = client_config(&servers, None);
    let mut deaf = connect(config.clone(), site.bridge.port).await.unwrap();
    let many = request("c", RIGHT).replace("Connection: close\r\n", "").replace("POST", "PUT");
    let many = many.repeat(100);
    // Until the answers that nobody reads fill every buffer.
    while let Ok(Ok(())) = timeout(Duration::from_secs(1), deaf.write_all(many.as_bytes())).await {}
    let call = request("c", RIGHT);
    until("a free place", async || {
        let mut stream = connect(config.clone(), site.bridge.port).await.ok()?;
        stream.write_all(call.as_bytes()).await.ok()?;
        Some(read_answer(&mut stream, Instant::now()).await).filter(|answer| answer.status == 200)
    })
    .await;
}

#[tokio::test]
async fn a_flood_of_recorded_hellos_keeps_nobody_from_calling_and_nobody_else_from_shaking_hands() {
    const STRANGERS: usize = 300;
    let servers = Authority::new("servers");
    let site = site(&servers, "read_timeout: 5m").await;
    let config = client_config(&servers, None);
    let mut open = connect(config.clone(), site.bridge.port).await.unwrap();
    let kept = request("c", RIGHT).replace("Connection: close\r\n", "");
    let mut strangers = Vec::new();
    for _ in 0..STRANGERS {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let to = ([127, 0, 0, 1], site.bridge.port).into();
        strangers.push(socket.connect(to).await.unwrap());
    }
    for stranger in &mut strangers {
        stranger.write_all(&hello([3, 3])).await.unwrap();
    }
    for _ in 0..5 {
        open.write_all(kept.as_bytes()).await.unwrap();
        assert_eq!(next_answer(&mut open).await.unwrap().status, 200);
        assert_eq!(site.post_over(&config, "c", RIGHT).await.status, 200);
    }
    // Each gets the answer to its hello in the end.
    for stranger in &mut strangers {
        assert_eq!(timeout(SOON, stranger.read_u8()).await.expect("an answer").unwrap(), 22);
    }
    drop(strangers);
    let failed = r#"rejections_total{reason="tls_handshake"}"#;
    site.bridge.until_metric(failed, STRANGERS as f64).await;
    assert_eq!(site.bridge.metric(r#"rejections_total{reason="tls_busy"}"#).await, Some(0.0));
}

#[tokio::test]
async fn a_hello_that_does_not_end_is_closed_long_before_the_library_would() {
    let servers = Authority::new("servers");
    let site = site(&servers, "read_timeout: 5m").await;
    let mut stream = site.bridge.connect().await;
    // A hello of 60,000 bytes, in records of 1 KiB.
    let mut message = vec![1, 0, 0xea, 0x60];
    message.resize(60_000, 0);
    let mut sent = 0;
    for part in message.chunks(1_024) {
        let length = u16::try_from(part.len()).unwrap().to_be_bytes();
        let record = [&[22, 3, 1][..], &length, part].concat();
        if stream.write_all(&record).await.is_err() {
            break;
        }
        sent += record.len();
        // So that it is read before more comes.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!((20_000..50_000).contains(&sent), "{sent}");
    site.bridge.until_metric(r#"rejections_total{reason="tls_handshake"}"#, 1.0).await;
}
