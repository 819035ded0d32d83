//! Callers whose certificates a proxy passes on.

use connector_bridge::domain::credentials::certificate::Fingerprint;
use data_encoding::BASE64;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{Authority, BASIC, Folder, Issued, RIGHT, Site, TLS, client_config, tls_folder};
use crate::support::pki::Use;

const XFCC: &str = "x-forwarded-client-cert";

fn pem(certificate: &Issued) -> String {
    utf8_percent_encode(&certificate.pem, NON_ALPHANUMERIC).to_string()
}

fn nginx(certificate: &Issued) -> String {
    pem(certificate).replace("%2D", "-")
}

async fn site(root: &str, certificates: &str) -> Site {
    let only = format!("client_certificates: [{certificates}]");
    let both = format!("{BASIC}, {only}");
    Site::new(Folder::new(), root, &[("c", only), ("both", both)]).await
}

#[tokio::test]
async fn a_certificate_counts_in_each_way_that_proxies_write_it_and_only_on_one_line() {
    let authority = Authority::new("callers");
    let (listed, unlisted) = (authority.client("listed"), authority.client("unlisted"));
    let named = authority.client("named.contoso.example");
    let expired = authority.issue("named.contoso.example", Use::Client, -2, -1);
    let early = authority.issue("named.contoso.example", Use::Client, 1, 2);
    let for_servers = authority.issue("named.contoso.example", Use::Server, 0, 30);
    let hash = Fingerprint::of(&listed.der);
    let entries = format!("{{sha256: {hash}}}, {{subject: CN=named.contoso.example}}");
    for header in [XFCC, "ssl-client-cert", "X-ARR-ClientCert"] {
        let root = format!(
            "trusted_proxies: [192.0.2.0/24, 127.0.0.0/8]\nforwarded_certificate_header: {header}"
        );
        let site = site(&root, &entries).await;
        let line = |value: &str| format!("{header}: {value}\r\n");
        for value in [
            format!("By=spiffe://proxy;Hash={hash};Subject=\"CN=listed\""),
            format!("Hash={hash};Cert=\"{}\"", pem(&listed)),
            "Subject=\"CN=named.contoso.example\";URI=spiffe://a,b".replace(",b", ";URI=b"),
            nginx(&listed),
            nginx(&named),
            BASE64.encode(&listed.der),
        ] {
            assert_eq!(site.post("c", &line(&value)).await.status, 200, "{value}");
            assert_eq!(site.post("both", &line(&value)).await.status, 200, "{value}");
        }
        assert_eq!(site.post("both", RIGHT).await.status, 200);
        let asked = site.asked();
        let good = format!("Hash={hash}");
        for (name, headers, method, reason) in [
            ("none", String::new(), "none", "missing"),
            ("an empty one", line(""), "none", "missing"),
            ("not listed", line(&nginx(&unlisted)), "certificate", "not_listed"),
            (
                "only a hash, not listed",
                line(&format!("Hash={}", "0".repeat(64))),
                "certificate",
                "not_listed",
            ),
            ("expired", line(&nginx(&expired)), "certificate", "expired"),
            ("for servers", line(&nginx(&for_servers)), "certificate", "wrong"),
            ("not valid yet", line(&nginx(&early)), "certificate", "expired"),
            ("two lines", line(&good) + &line(&good), "certificate", "malformed"),
            ("two elements", line(&format!("{good},{good}")), "certificate", "malformed"),
            (
                "another hash than its certificate's",
                line(&format!("{good};Cert={}", pem(&named))),
                "certificate",
                "malformed",
            ),
            ("nothing that is known", line("By=spiffe://proxy"), "certificate", "malformed"),
            ("no certificate", line("whatever"), "certificate", "malformed"),
        ] {
            println!("{header}: {name}");
            for connector in ["c", "both"] {
                let before = site.failures(connector, method, reason).await;
                let answer = site.post(connector, &headers).await;
                site.assert_counted(connector, method, reason, &answer, before).await;
            }
        }
        // Another header than the configured one is none.
        let other = format!("x_forwarded_client_cert: Hash={hash}\r\nX-Other: Hash={hash}\r\n");
        assert_eq!(site.post("c", &other).await.status, 401);
        assert_eq!(site.asked(), asked, "nothing of it reached a worker");
    }
}

#[tokio::test]
async fn where_the_bridge_knows_the_authorities_it_judges_what_a_proxy_passes_on() {
    let (servers, callers) = (Authority::new("servers"), Authority::new("callers"));
    let good = callers.client("caller.example");
    let for_servers = callers.issue("caller.example", Use::Server, 0, 30);
    let foreign = Authority::new("callers").client("caller.example");
    let unlisted = Authority::new("others").client("other.example");
    let hash = Fingerprint::of(&unlisted.der);
    let folder = tls_folder(&servers.server(), &callers);
    let only = format!("client_certificates: [{{subject: CN=caller.example}}, {{sha256: {hash}}}]");
    let root = format!("{TLS}\ntrusted_proxies: [127.0.0.1]");
    let site = Site::new(folder, &root, &[("c", only)]).await;
    // The proxy has a certificate of its own, which would be listed if it were its client's.
    let proxy = client_config(&servers, Some(&good));
    let line = |value: &str| format!("{XFCC}: {value}\r\n");
    let chain = format!("Cert={};Chain={}", pem(&good), pem(&good));
    for value in [nginx(&good), BASE64.encode(&good.der), chain, format!("Hash={hash}")] {
        assert_eq!(site.post_over(&proxy, "c", &line(&value)).await.status, 200, "{value}");
    }
    for (name, headers, method, reason) in [
        ("of another authority", line(&nginx(&foreign)), "certificate", "wrong"),
        ("as Envoy writes it", line(&format!("Cert={}", pem(&foreign))), "certificate", "wrong"),
        ("listed, but of another authority", line(&nginx(&unlisted)), "certificate", "wrong"),
        ("for servers", line(&nginx(&for_servers)), "certificate", "wrong"),
        ("none", String::new(), "none", "missing"),
        ("an empty one", line(""), "none", "missing"),
    ] {
        println!("{name}");
        let before = site.failures("c", method, reason).await;
        let answer = site.post_over(&proxy, "c", &headers).await;
        site.assert_counted("c", method, reason, &answer, before).await;
    }
}

#[tokio::test]
async fn from_anyone_but_a_trusted_proxy_the_header_is_not_looked_at() {
    let listed = Authority::new("callers").client("listed");
    let hash = Fingerprint::of(&listed.der);
    let entry = format!("{{sha256: {hash}}}");
    let site = site("trusted_proxies: [192.0.2.0/24, 127.0.0.2]", &entry).await;
    for value in [format!("Hash={hash}"), nginx(&listed), "whatever".to_owned()] {
        let headers = format!("{XFCC}: {value}\r\n");
        let before = site.failures("c", "none", "missing").await;
        let answer = site.post("c", &headers).await;
        site.assert_counted("c", "none", "missing", &answer, before).await;
        let with_password = format!("{RIGHT}{headers}{headers}");
        assert_eq!(site.post("both", &with_password).await.status, 200);
    }
}
