//! `connector-bridge send` against the bridge, against nobody, and against a server that breaks.

use std::io::ErrorKind;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{assert_failed, written};
use crate::support::{
    pki::Authority,
    process::{Ended, run},
    real::{Bridge, Folder, NatsServer, worker},
};

const CONTINUE: &str = r#"{"version":"1.0.0","action":"Continue","tier":"gold"}"#;

/// A bridge whose worker decides what the claim `want` says, and files for `send`.
struct Site {
    bridge: Bridge,
    folder: Folder,
    _server: NatsServer,
}

impl Site {
    async fn new() -> Self {
        let server = NatsServer::start().await;
        let basic = r#"auth: {basic: [{username: entra, password_file: "{folder}/password"}]}"#;
        let connectors = format!(
            "  entra: {{protocol: entra, step: before-create, {basic}}}\n  \
             policy: {{protocol: b2c-policy, step: custom, {basic}}}\n"
        );
        let bridge = Bridge::start(&server, &connectors).await.connected().await;
        worker(&server, "connectors.>", |call| {
            let claims: serde_json::Value = serde_json::from_slice(&call.payload).unwrap();
            Some(claims["want"].to_string())
        })
        .await;
        Self { bridge, folder: Folder::new(), _server: server }
    }

    /// Sends claims with which the worker decides as `want` says.
    async fn send(&self, connector: &str, want: &str, password: &str, more: &[&str]) -> Ended {
        let claims = written(&self.folder, "claims", &format!(r#"{{"want":{want}}}"#));
        let password = written(&self.folder, "password", password);
        let url = format!("http://127.0.0.1:{}/connectors/{connector}", self.bridge.port);
        let mut arguments = vec!["send", &url, "--claims", &claims];
        arguments.extend(["--user", "entra", "--password-file", &password]);
        arguments.extend(more);
        run(&arguments).await
    }
}

#[tokio::test]
async fn what_the_person_would_see_is_printed_and_only_a_contract_valid_answer_ends_with_0() {
    let site = Site::new().await;
    let policy = &["--protocol", "b2c-policy", "--step", "custom"][..];
    let go_on = r#"{"action":"Continue","tier":"gold"}"#;
    let block = r#"{"action":"ShowBlockPage","userMessage":"Not you."}"#;
    let invalid = r#"{"action":"ValidationError","userMessage":"Five digits."}"#;
    type Row<'a> = (&'a str, &'a [&'a str], &'a str, i32, &'a str, &'a str);
    let rows: &[Row<'_>] = &[
        ("entra", &[], r#"{"action":"Continue"}"#, 0, "goes on\n", "200"),
        ("entra", &[], go_on, 0, "goes on, with tier = \"gold\"\n", "200"),
        ("entra", &[], block, 0, "block page: Not you.\n", "200"),
        ("entra", &[], invalid, 0, "message at the form: Five digits.\n", "400"),
        ("policy", policy, go_on, 0, "goes on, with tier = \"gold\"\n", "200"),
        ("policy", policy, block, 0, "Not you.\n", "409"),
        ("policy", policy, invalid, 0, "Five digits.\n", "409"),
        ("policy", &[], block, 1, "the caller's own error page (HTTP 409: ", "409"),
        ("entra", policy, invalid, 1, "the caller's own error page (HTTP 400: ", "400"),
        ("entra", &["--step", "after-federation"], invalid, 1, "the caller's own error", "400"),
    ];
    for (connector, more, want, code, sees, status) in rows {
        let ended = site.send(connector, want, "secret\r\n", more).await;
        let about = format!("{connector} {more:?} {want}: {ended:?}");
        assert_eq!((ended.code, &*ended.err), (Some(*code), ""), "{about}");
        let (first, rest) = ended.out.split_once(": ").unwrap();
        assert_eq!(first, "The person sees", "{about}");
        assert!(rest.contains(sees), "{about}");
        assert!(rest.contains("\n1 request, "), "{about}");
        let last = format!("\nHTTP {status}, connector-answer-source worker, connector-call-id ");
        assert!(rest.contains(&last), "{about}");
    }
}

#[tokio::test]
async fn with_decided_a_fallback_ends_with_1_and_a_replayed_decision_with_0() {
    let site = Site::new().await;
    let block = r#"{"action":"ShowBlockPage"},"email":"ada@example.com""#;
    // No decision, so it is the connector's default.
    let unknown = r#"{"action":"Maybe"}"#;
    for (want, more, code, source) in [
        (block, &["--decided"][..], 0, "worker"),
        (block, &["--decided"], 0, "replay"),
        (unknown, &[], 0, "default"),
        (unknown, &["--decided"], 1, "default"),
    ] {
        let ended = site.send("entra", want, "secret", more).await;
        assert_eq!((ended.code, &*ended.err), (Some(code), ""), "{ended:?}");
        assert!(ended.out.contains(&format!("connector-answer-source {source}, ")), "{ended:?}");
        assert_eq!(ended.out.ends_with("No worker decided this.\n"), code == 1, "{ended:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_decision_ends_with_1_after_one_request() {
    let site = Site::new().await;
    for (connector, password, status) in [
        ("entra", "wrong", 401),
        ("entra", "secret ", 401),
        ("entra", "secret\r", 401), // no line break, so the bridge counts it too
        ("other", "secret", 404),
    ] {
        let ended = site.send(connector, "{}", password, &[]).await;
        assert_eq!((ended.code, &*ended.err), (Some(1), ""), "{ended:?}");
        let sees = format!("The person sees: the caller's own error page (HTTP {status}: ");
        assert!(ended.out.starts_with(&sees), "{ended:?}");
        assert!(ended.out.contains("\n1 request, "), "{ended:?}");
        assert!(ended.out.ends_with(&format!("\nHTTP {status}\n")), "{ended:?}");
    }
}

#[tokio::test]
async fn over_https_it_shows_a_certificate_and_a_key_and_believes_only_the_right_server() {
    let (servers, callers) = (Authority::new("servers"), Authority::new("callers"));
    let (shown, own) = (servers.server(), callers.client("caller"));
    let folder = Folder::new();
    for (name, text) in [
        ("crt", &shown.pem),
        ("key", &shown.key_pem),
        ("ca", &callers.pem()),
        ("servers", &servers.pem()),
        ("own", &own.pem),
        ("own-key", &own.key_pem),
        ("api-key", &"a+b%/&\n".to_owned()),
    ] {
        written(&folder, name, text);
    }
    let server = NatsServer::start().await;
    let nats = format!("servers: [\"{}\"]", server.url());
    let root = "tls: {cert_file: \"{folder}/crt\", key_file: \"{folder}/key\", client_ca_file: \"{folder}/ca\"}";
    let connectors = "  c: {protocol: entra, step: before-create, auth: {\
         client_certificates: [{subject: CN=caller}], api_key_files: [\"{folder}/api-key\"]}}\n";
    let bridge = Bridge::start_in(folder, &nats, root, connectors).await.connected().await;
    worker(&server, "connectors.>", |_| Some(r#"{"action":"Continue"}"#.to_owned())).await;
    let path = |name: &str| bridge.folder.0.join(name).to_str().unwrap().to_owned();
    let (ca, other) = (path("servers"), path("ca"));
    let (own, own_key, api_key) = (path("own"), path("own-key"), path("api-key"));
    for host in ["localhost", "127.0.0.1"] {
        let url = format!("https://{host}:{}/connectors/c", bridge.port);
        let all = ["--ca", &ca, "--cert", &own, "--key", &own_key, "--api-key-file", &api_key];
        for (arguments, code, sees) in [
            (&all[..], 0, "goes on\n"),
            (&all[..6], 1, "(HTTP 401: "),
            (&[&all[..2], &all[6..]].concat(), 1, "(HTTP 401: "),
            (&[&["--ca", &*other], &all[2..]].concat(), 1, "(no TLS connection: "),
            (&all[2..], 1, "(no TLS connection: "),
        ] {
            let ended = run(&[&["send", &*url], arguments].concat()).await;
            assert_eq!((ended.code, &*ended.err), (Some(code), ""), "{arguments:?}: {ended:?}");
            assert!(ended.out.contains(sees), "{arguments:?}: {ended:?}");
        }
    }
}

#[tokio::test]
async fn claims_that_are_not_one_json_object_are_not_sent() {
    let site = Site::new().await;
    for claims in ["1}{", "1,\"a\":2,\"a\":3"] {
        assert_failed(&site.send("entra", claims, "secret", &[]).await, 64, "the claims are ");
    }
    let metric = r#"calls_total{connector="entra",result="first"}"#;
    assert_eq!(site.bridge.metric(metric).await, Some(0.0));
}

#[tokio::test]
async fn without_an_answer_it_asks_twice_as_the_caller_does_and_ends_with_1() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let ended = run(&["send", &format!("http://127.0.0.1:{port}/connectors/c")]).await;
    assert_eq!((ended.code, &*ended.err), (Some(1), ""), "{ended:?}");
    assert!(ended.out.contains("error page (no connection: "), "{ended:?}");
    assert!(ended.out.contains("\n2 requests, "), "{ended:?}");
}

/// Reads one request.
async fn request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8(request.clone()).unwrap();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() == length.unwrap().parse::<usize>().unwrap() {
                return text;
            }
        }
        request.push(stream.read_u8().await.unwrap());
    }
}

#[tokio::test]
async fn it_sends_the_same_request_once_more_where_the_server_breaks_off() {
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{CONTINUE}", CONTINUE.len());
    let half = &answer[..answer.len() - 5];
    // What the server writes to each connection before it closes it; then the exit code.
    for (first, second, code, requests) in [
        ("", &*answer, 0, 2),
        ("HTTP/1.1 200", &answer, 0, 2),
        (half, &answer, 0, 2),
        ("", "", 1, 2),
        (half, half, 1, 2),
        ("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", &answer, 1, 1),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/connectors/c", listener.local_addr().unwrap());
        let arguments = ["send", &url];
        let serve = async {
            let mut got = Vec::new();
            for bytes in [first, second, ""] {
                let (mut stream, _) = listener.accept().await.unwrap();
                got.push(request(&mut stream).await);
                stream.write_all(bytes.as_bytes()).await.unwrap();
                if got.len() == requests {
                    break;
                }
            }
            got
        };
        let (got, ended) = tokio::join!(serve, run(&arguments));
        assert_eq!((ended.code, &*ended.err), (Some(code), ""), "{ended:?}");
        let count = if requests == 1 { "\n1 request, " } else { "\n2 requests, " };
        assert!(ended.out.contains(count), "{ended:?}");
        assert!(got.iter().all(|request| *request == got[0] && request.contains("fabrikam")));
        // There is no third.
        let further = listener.into_std().unwrap().accept();
        assert_eq!(further.unwrap_err().kind(), ErrorKind::WouldBlock);
    }
}
