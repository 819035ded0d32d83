//! Callers that show certificates to the bridge itself.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use connector_bridge::domain::credentials::certificate::Fingerprint;

use super::{
    Authority, BASIC, Issued, NatsServer, RIGHT, Site, TLS, WRONG, client_config, connect, request,
    tls_folder,
};
use crate::support::{
    pki::Use,
    process::Serving,
    real::{get, next_answer, read_answer, until, value_of},
};

fn sha256(certificate: &Issued) -> String {
    format!("{{sha256: {}}}", hash_of(certificate))
}

pub(super) fn hash_of(certificate: &Issued) -> Fingerprint {
    Fingerprint::of(&certificate.der)
}

/// An authority of servers, and one of callers.
struct Pki {
    servers: Authority,
    callers: Authority,
}

impl Pki {
    fn new() -> Self {
        Self { servers: Authority::new("servers"), callers: Authority::new("callers") }
    }

    async fn site(&self, auth: &[(&str, String)]) -> Site {
        let folder = tls_folder(&self.servers.server(), &self.callers);
        Site::new(folder, TLS, auth).await
    }
}

#[tokio::test]
async fn a_listed_certificate_of_the_right_authority_is_let_in_and_each_other_is_told_apart() {
    let pki = Pki::new();
    let (listed, next) = (pki.callers.client("listed"), pki.callers.client("next"));
    let unlisted = pki.callers.client("unlisted");
    let named = pki.callers.client("named.contoso.example");
    let expired = pki.callers.issue("named.contoso.example", Use::Client, -2, -1);
    let early = pki.callers.issue("named.contoso.example", Use::Client, 1, 2);
    let for_servers = pki.callers.issue("named.contoso.example", Use::Server, 0, 30);
    let foreign = Authority::new("callers").client("named.contoso.example");
    let of_servers = pki.servers.client("named.contoso.example");
    let subject = "{subject: CN=named.contoso.example}";
    let certificates =
        format!("client_certificates: [{}, {}, {subject}]", sha256(&listed), sha256(&next));
    let site = pki.site(&[("c", certificates)]).await;

    for right in [&listed, &next, &named] {
        let config = client_config(&pki.servers, Some(right));
        assert_eq!(site.post_over(&config, "c", "").await.status, 200);
        // The header of a proxy means nothing from someone who is none.
        let forwarded = format!("X-Forwarded-Client-Cert: Hash={}\r\n", "0".repeat(64));
        assert_eq!(site.post_over(&config, "c", &forwarded).await.status, 200);
    }
    let asked = site.asked();
    for (name, shown, method, reason) in [
        ("none", None, "none", "missing"),
        ("not listed", Some(&unlisted), "certificate", "not_listed"),
        ("expired", Some(&expired), "certificate", "expired"),
        ("not valid yet", Some(&early), "certificate", "expired"),
        ("for servers", Some(&for_servers), "certificate", "wrong"),
        ("of an authority with the same name", Some(&foreign), "certificate", "wrong"),
        ("of another authority", Some(&of_servers), "certificate", "wrong"),
    ] {
        println!("{name}");
        let config = client_config(&pki.servers, shown);
        // Basic is no way in here, and is not looked at.
        for headers in ["", RIGHT] {
            let before = site.failures("c", method, reason).await;
            let answer = site.post_over(&config, "c", headers).await;
            site.assert_counted("c", method, reason, &answer, before).await;
        }
    }
    assert_eq!(site.asked(), asked, "nothing of it reached a worker");
}

#[tokio::test]
async fn either_a_password_or_a_certificate_suffices_where_both_are_configured() {
    let pki = Pki::new();
    let (listed, unlisted) = (pki.callers.client("listed"), pki.callers.client("unlisted"));
    let both = format!("{BASIC}, client_certificates: [{}]", sha256(&listed));
    let site = pki.site(&[("both", both), ("basic", BASIC.to_owned())]).await;
    for (connector, shown, headers, wanted) in [
        ("both", Some(&listed), "", Ok(())),
        ("both", Some(&listed), RIGHT, Ok(())),
        ("both", Some(&listed), WRONG, Ok(())),
        ("both", Some(&unlisted), RIGHT, Ok(())),
        ("both", None, RIGHT, Ok(())),
        ("both", None, "", Err(("none", "missing"))),
        ("both", None, WRONG, Err(("basic", "wrong"))),
        ("both", Some(&unlisted), "", Err(("certificate", "not_listed"))),
        ("both", Some(&unlisted), WRONG, Err(("basic", "wrong"))),
        ("basic", Some(&unlisted), RIGHT, Ok(())),
        ("basic", Some(&listed), "", Err(("none", "missing"))),
    ] {
        let config = client_config(&pki.servers, shown);
        match wanted {
            Ok(()) => assert_eq!(site.post_over(&config, connector, headers).await.status, 200),
            Err((method, reason)) => {
                let before = site.failures(connector, method, reason).await;
                let answer = site.post_over(&config, connector, headers).await;
                site.assert_counted(connector, method, reason, &answer, before).await;
            }
        }
    }
}

#[tokio::test]
async fn a_chain_that_takes_long_to_judge_is_refused_in_the_handshake() {
    let pki = Pki::new();
    let mut own = pki.callers.client("listed");
    let certificates = format!("client_certificates: [{}]", sha256(&own));
    let site = pki.site(&[("c", certificates)]).await;
    let another = || Authority::new("callers").der();
    let refused = r#"rejections_total{reason="tls_handshake"}"#;
    own.behind = (0..4).map(|_| another()).collect();
    let config = client_config(&pki.servers, Some(&own));
    assert_eq!(site.post_over(&config, "c", "").await.status, 200);
    assert_eq!(site.bridge.metric(refused).await, Some(0.0));
    let large = Authority::new(&"callers".repeat(2_500)).der();
    for (number, more) in [another(), large].into_iter().enumerate() {
        own.behind.truncate(4 - number);
        own.behind.push(more);
        let config = client_config(&pki.servers, Some(&own));
        // With TLS 1.3 a client has shaken hands before it hears of that.
        if let Ok(mut stream) = connect(config, site.bridge.port).await {
            drop(stream.write_all(request("c", "").as_bytes()).await);
            let mut answer = Vec::new();
            drop(stream.read_to_end(&mut answer).await);
            assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
        }
        site.bridge.until_metric(refused, number as f64 + 1.0).await;
    }
}

#[tokio::test]
async fn an_authority_that_is_taken_out_counts_no_longer_on_open_connections_and_sessions() {
    let pki = Pki::new();
    let listed = pki.callers.client("listed");
    let server = NatsServer::start().await;
    let folder = tls_folder(&pki.servers.server(), &pki.callers);
    let connectors = format!(
        "  c: {{protocol: entra, step: before-create, grace: 0s, \
         auth: {{client_certificates: [{}]}}}}\n",
        sha256(&listed)
    );
    let nats = format!("servers: [\"{}\"]", server.url());
    let serving = Serving::start_in(folder, &nats, TLS, &connectors).await.connected().await;
    // The configuration remembers sessions, so that a later handshake resumes one.
    let config = client_config(&pki.servers, Some(&listed));
    let post = async |headers: &str| {
        let mut stream = connect(config.clone(), serving.port).await.unwrap();
        let start = std::time::Instant::now();
        stream.write_all(request("c", headers).as_bytes()).await.unwrap();
        read_answer(&mut stream, start).await.status
    };
    assert_eq!(post("").await, 200);
    let mut open = connect(config.clone(), serving.port).await.unwrap();
    let kept = request("c", "").replace("Connection: close\r\n", "");
    open.write_all(kept.as_bytes()).await.unwrap();
    assert_eq!(next_answer(&mut open).await.unwrap().status, 200);

    let others = Authority::new("others");
    std::fs::write(serving.folder.0.join("ca"), others.pem()).unwrap();
    until("the authority is gone", async || (post("").await == 401).then_some(())).await;
    open.write_all(request("c", "").as_bytes()).await.unwrap();
    let answer = read_answer(&mut open, std::time::Instant::now()).await;
    assert_eq!(answer.status, 401);
    let metrics = get(serving.admin_port, "/metrics").await.body;
    let wrong = r#"auth_failures_total{connector="c",method="certificate",reason="wrong"}"#;
    assert!(value_of(wrong, &metrics) >= Some(2.0));

    // Both, while one takes the place of the other.
    let both = format!("{}{}", others.pem(), pki.callers.pem());
    std::fs::write(serving.folder.0.join("ca"), both).unwrap();
    until("both count", async || (post("").await == 200).then_some(())).await;
}
