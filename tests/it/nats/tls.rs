//! TLS between the bridge and a nats-server: who believes whom, and which files count when.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use async_nats::ConnectOptions;
use tokio::{io::AsyncReadExt, net::TcpStream};

use super::{
    assert_is_decided, assert_is_default, claims_of, connector, post_until_decided,
    worker::{Worker, lets_in},
};
use crate::support::{
    pki::{Authority, Issued, Use},
    process::{Serving, run},
    real::{Bridge, Folder, NatsServer, config_at, get, post, until},
};

/// The section `tls` of either side, with the files that [`write`] writes.
const ALL: &str =
    r#"ca_file: "{folder}/ca.pem", cert_file: "{folder}/own.pem", key_file: "{folder}/own.key""#;
const CA_ONLY: &str = r#"ca_file: "{folder}/ca.pem""#;

const CONNECTED: &str = r#"nats_connection_events_total{event="connected"}"#;
const OWN_ENDS: &str = r#"tls_certificate_not_after_timestamp_seconds{role="nats_client"}"#;
const AUTHORITIES_END: &str = r#"tls_certificate_not_after_timestamp_seconds{role="nats_ca"}"#;

/// Writes whom to believe, and what to show.
fn write(folder: &Folder, authority: &Authority, own: &Issued) {
    let ca = authority.pem();
    for (file, text) in [("ca.pem", &ca), ("own.pem", &own.pem), ("own.key", &own.key_pem)] {
        fs::write(folder.0.join(file), text).unwrap();
    }
}

fn folder(authority: &Authority, own: &Issued) -> Folder {
    let folder = Folder::new();
    write(&folder, authority, own);
    folder
}

/// A server with a token and these lines more, which logs what it is told.
async fn server(authority: &Authority, own: &Issued, more: &str) -> NatsServer {
    let config = "authorization {token: secret}\ntrace: true, logfile: \"{folder}/log\"\n";
    NatsServer::start_in(folder(authority, own), &format!("{config}{more}"), &[]).await
}

/// A server that asks for no certificate.
async fn open_server(authority: &Authority, own: &Issued) -> NatsServer {
    server(authority, own, &format!("tls {{{ALL}}}")).await
}

/// A server that lets in who shows a certificate of this authority.
async fn verifying_server(authority: &Authority) -> NatsServer {
    server(authority, &authority.server(), &format!("tls {{{ALL}, verify: true}}")).await
}

fn log(server: &NatsServer) -> String {
    fs::read_to_string(server.folder.0.join("log")).unwrap()
}

/// The section `nats` of a bridge.
fn nats(scheme: &str, server: &NatsServer, tls: &str) -> String {
    let url = format!("{scheme}://127.0.0.1:{}", server.port);
    format!("servers: [\"{url}\"], token_file: \"{{folder}}/password\"{tls}")
}

async fn worker(server: &NatsServer, authority: &Authority) -> Worker {
    let files = folder(authority, &authority.client("worker"));
    let file = |name: &str| files.0.join(name);
    let options = ConnectOptions::with_token("secret".to_owned())
        .require_tls(true)
        .add_root_certificates(file("ca.pem"))
        .add_client_certificate(file("own.pem"), file("own.key"));
    Worker::with(Worker::client(server, options).await, lets_in).await
}

/// In so many days, as a metric has it. Certificates end a minute before.
fn in_days(days: u64) -> f64 {
    let day = SystemTime::now() + Duration::from_secs(86_400 * days - 60);
    day.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64()
}

#[tokio::test]
async fn with_a_certificate_of_its_own_a_worker_decides_and_metrics_say_when_certificates_end() {
    let authority = Authority::new("authority");
    let server = verifying_server(&authority).await;
    let _worker = worker(&server, &authority).await;
    for (at, scheme) in ["nats", "tls"].into_iter().enumerate() {
        let own = authority.issue("bridge", Use::Client, 0, 20);
        let nats = nats(scheme, &server, &format!(", tls: {{{ALL}}}"));
        let bridge = Bridge::start_in(folder(&authority, &own), &nats, "", &connector("")).await;
        let bridge = bridge.connected().await;
        assert_is_decided(&bridge.post("c", &claims_of(at)).await);
        let ends = bridge.metric(OWN_ENDS).await.unwrap();
        assert!((ends - in_days(20)).abs() < 60.0, "{ends}");
        let end_of_authorities = humantime::parse_rfc3339("4096-01-01T00:00:00Z").unwrap();
        let end_of_authorities = end_of_authorities.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let ends = bridge.metric(AUTHORITIES_END).await;
        assert_eq!(ends, Some(end_of_authorities.as_secs_f64()));
    }
}

#[tokio::test]
async fn without_authorities_of_its_own_the_bridge_believes_those_of_the_system() {
    let authority = Authority::new("authority");
    let server = open_server(&authority, &authority.server()).await;
    for (scheme, tls) in [("nats", ", tls: {}"), ("tls", "")] {
        let folder = folder(&authority, &authority.client("bridge"));
        let of_system = folder.0.join("ca.pem");
        let config = config_at(&folder, &nats(scheme, &server, tls), "", &connector(""));
        let serving = Serving::start_as(folder, &[("SSL_CERT_FILE", &of_system)], &config).await;
        let serving = serving.connected().await;
        for role in [OWN_ENDS, AUTHORITIES_END] {
            assert_eq!(serving.metric(role).await, None, "there are none of its own");
        }
    }
}

#[tokio::test]
async fn where_one_side_does_not_believe_the_other_calls_get_the_fallback_and_no_token_is_sent() {
    let (authority, other) = (Authority::new("authority"), Authority::new("other"));
    let verifying = verifying_server(&authority).await;
    let elsewhere = authority.issue("elsewhere", Use::Client, 0, 30);
    let elsewhere = open_server(&authority, &elsewhere).await;
    let expired = authority.issue("localhost", Use::Server, -30, -1);
    let expired = open_server(&authority, &expired).await;
    let plain = server(&authority, &authority.server(), "").await;
    let good = authority.client("bridge");
    let all = &*format!(", tls: {{{ALL}}}");
    let ca_only = &*format!(", tls: {{{CA_ONLY}}}");
    let late = authority.issue("bridge", Use::Client, -30, -1);
    // Who is told why may hear of the closed connection first.
    let rows = [
        ("another authority", nats("nats", &verifying, all), &other, &good, "UnknownIssuer"),
        (
            "the system's authorities",
            nats("nats", &verifying, ", tls: {}"),
            &authority,
            &good,
            "UnknownIssuer",
        ),
        ("no section at all", nats("nats", &verifying, ""), &authority, &good, "UnknownIssuer"),
        (
            "no certificate",
            nats("nats", &verifying, ca_only),
            &authority,
            &good,
            "CertificateRequired|reset|pipe",
        ),
        (
            "a certificate of another authority",
            nats("nats", &verifying, all),
            &authority,
            &other.client("bridge"),
            "UnknownCA|reset|pipe",
        ),
        (
            "a certificate for servers",
            nats("nats", &verifying, all),
            &authority,
            &authority.server(),
            "BadCertificate|reset|pipe",
        ),
        (
            "a certificate that is over",
            nats("nats", &verifying, all),
            &authority,
            &late,
            "CertificateExpired|reset|pipe",
        ),
        (
            "a server of another name",
            nats("nats", &verifying, all).replace("127.0.0.1", "0.0.0.0"),
            &authority,
            &good,
            "not valid for name",
        ),
        (
            "a server with a certificate for clients",
            nats("nats", &elsewhere, all),
            &authority,
            &good,
            "extended key usage",
        ),
        (
            "a server whose certificate is over",
            nats("nats", &expired, all),
            &authority,
            &good,
            "expired",
        ),
        ("a server without TLS", nats("nats", &plain, all), &authority, &good, "corrupt message"),
        (
            "a server without TLS, and no files",
            nats("nats", &plain, ", tls: {}"),
            &authority,
            &good,
            "corrupt message",
        ),
        (
            "a URL for TLS, and a server without",
            nats("tls", &plain, ""),
            &authority,
            &good,
            "corrupt message",
        ),
    ];
    let root = "drain_delay: 0s\nlog: {level: debug}";
    for (what, nats, authority, own, why) in rows {
        let folder = folder(authority, own);
        let serving = Serving::start_in(folder, &nats, root, &connector("grace: 0s")).await;
        until(what, async || {
            let err = serving.program.err();
            let tried = err.lines().filter(|line| line.contains("\"no connection to NATS\""));
            let tried: Vec<_> = tried.collect();
            let is_why = |line: &&str| why.split('|').any(|why| line.contains(why));
            assert!(tried.iter().all(is_why), "{what}: {tried:?}");
            (tried.len() >= 2).then_some(())
        })
        .await;
        assert_eq!(get(serving.admin_port, "/readyz").await.status, 200, "{what}");
        assert_is_default(&post(serving.port, "c", &claims_of(1)).await);
        let disconnected =
            r#"fallbacks_total{answer="default",connector="c",reason="disconnected"}"#;
        assert_eq!(serving.metric(disconnected).await, Some(1.0), "{what}");
        assert_eq!(serving.metric(CONNECTED).await, Some(0.0), "{what}");
    }
    for server in [&verifying, &elsewhere, &expired, &plain] {
        let log = log(server);
        assert!(!log.contains("CONNECT {"), "{log}");
    }
}

#[tokio::test]
async fn changed_files_count_from_the_next_connection_on_and_broken_ones_do_not() {
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    let mut server = verifying_server(&first).await;
    let nats = nats("nats", &server, &format!(", tls: {{{ALL}}}"));
    let own = folder(&first, &first.issue("bridge", Use::Client, 0, 10));
    let bridge = Bridge::start_in(own, &nats, "", &connector("deadline: 3s")).await;
    let bridge = bridge.connected().await;
    let until_ends = async |days| {
        until("the new end", async || {
            let ends = bridge.metric(OWN_ENDS).await?;
            ((ends - in_days(days)).abs() < 60.0).then_some(())
        })
        .await;
    };
    until_ends(10).await;

    write(&bridge.folder, &second, &second.issue("bridge", Use::Client, 0, 20));
    until_ends(20).await;
    assert_eq!(bridge.metric(CONNECTED).await, Some(1.0), "the connection that there is goes on");
    let restart = async |server: &mut NatsServer, authority: &Authority| {
        server.kill();
        write(&server.folder, authority, &authority.server());
        server.run().await;
    };
    restart(&mut server, &second).await;
    let _worker = worker(&server, &second).await;
    post_until_decided(&bridge, 0).await;
    assert_eq!(bridge.metric(CONNECTED).await, Some(2.0));

    // Each of these is broken by itself; the last one is the key of another certificate.
    let other_key = second.client("other").key_pem;
    for (file, text) in [("ca.pem", "nonsense"), ("own.pem", ""), ("own.key", &other_key)] {
        let file = bridge.folder.0.join(file);
        let good = fs::read(&file).unwrap();
        bridge.until_metric("config_last_reload_successful", 1.0).await;
        fs::write(&file, text).unwrap();
        bridge.until_metric("config_last_reload_successful", 0.0).await;
        until_ends(20).await;
        server.kill();
        bridge.until_metric("nats_connected", 0.0).await;
        server.run().await;
        bridge.until_metric("nats_connected", 1.0).await;
        fs::write(&file, good).unwrap();
    }
    bridge.until_metric("config_last_reload_successful", 1.0).await;
}

#[tokio::test]
async fn other_servers_that_a_server_for_tls_names_are_spoken_to_over_tls_too() {
    let authority = Authority::new("authority");
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let route = free.local_addr().unwrap();
    drop(free);
    let own = authority.server();
    let more = format!("tls {{{ALL}}}\ncluster {{name: c, listen: \"{route}\"}}");
    let mut server_for_tls = server(&authority, &own, &more).await;
    let more = format!(
        "cluster {{name: c, listen: \"127.0.0.1:-1\", routes: [\"nats-route://{route}\"]}}"
    );
    let plain = server(&authority, &own, &more).await;
    until("one names the other", async || {
        let mut stream = TcpStream::connect(("127.0.0.1", server_for_tls.port)).await.unwrap();
        let mut info = [0; 4_096];
        let length = stream.read(&mut info).await.unwrap();
        let info = String::from_utf8_lossy(&info[..length]);
        info.contains(&format!("\"127.0.0.1:{}\"", plain.port)).then_some(())
    })
    .await;
    let folder = folder(&authority, &authority.client("bridge"));
    let of_system = folder.0.join("ca.pem");
    let config = config_at(&folder, &nats("tls", &server_for_tls, ""), "", &connector(""));
    let serving = Serving::start_as(folder, &[("SSL_CERT_FILE", &of_system)], &config).await;
    let serving = serving.connected().await;
    server_for_tls.kill();
    until("the other server is tried", async || {
        let log = log(&plain);
        assert!(!log.contains("CONNECT {"), "{log}");
        log.contains("authentication error").then_some(())
    })
    .await;
    assert_eq!(serving.metric(CONNECTED).await, Some(1.0));
}

#[tokio::test]
async fn files_that_cannot_be_used_end_with_78_and_the_key_of_each_is_named() {
    let authority = Authority::new("authority");
    let (own, other) = (authority.client("bridge"), authority.client("other"));
    let ca = authority.pem();
    let rows: [(&str, Option<&str>, &str); 11] = [
        ("ca.pem", None, "ca_file: {file}: cannot be read"),
        ("ca.pem", Some(""), "ca_file: {file}: is empty"),
        ("ca.pem", Some("nonsense"), "ca_file: {file}: holds no certificate"),
        ("ca.pem", Some(&own.key_pem), "ca_file: {file}: holds no certificate"),
        ("own.pem", None, "cert_file: {file}: cannot be read"),
        ("own.pem", Some("nonsense"), "cert_file: {file}: holds no certificate"),
        ("own.pem", Some(&own.key_pem), "cert_file: {file}: holds no certificate"),
        ("own.pem", Some(&other.pem), "key_file: {key}: is not the key of the certificate"),
        ("own.key", None, "key_file: {file}: cannot be read"),
        ("own.key", Some("nonsense"), "key_file: {file}: holds no private key"),
        ("own.key", Some(&ca), "key_file: {file}: holds no private key"),
    ];
    for (name, text, fault) in rows {
        let folder = folder(&authority, &own);
        let file = folder.0.join(name);
        match text {
            Some(text) => fs::write(&file, text).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        let config = config_at(&folder, &format!("tls: {{{ALL}}}"), "", &connector(""));
        let yaml = folder.0.join("bridge.yaml");
        fs::write(&yaml, config).unwrap();
        let yaml = yaml.to_str().unwrap();
        let key = folder.0.join("own.key");
        let fault = fault.replace("{file}", file.to_str().unwrap());
        let fault = format!("\n  nats.tls.{}", fault.replace("{key}", key.to_str().unwrap()));
        for arguments in [&["serve", "--config", yaml][..], &["check", "--files", "--config", yaml]]
        {
            let ended = run(arguments).await;
            assert_eq!((ended.code, &*ended.out), (Some(78), ""), "{fault}: {}", ended.err);
            assert!(ended.err.contains(&fault), "{fault} is not in {}", ended.err);
            assert!(!ended.err.contains("BEGIN"), "{}", ended.err);
            assert_eq!(ended.err.matches("nats.tls.").count(), 1, "{}", ended.err);
        }
    }
}
