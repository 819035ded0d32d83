//! The playground's port: who may talk to it, what it does at the real port, and what it keeps to
//! itself. The page is used in a browser by `tests/browser`.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
};

use serde_json::{Value, json};

use crate::support::{
    pki::Authority,
    process::{Program, Serving},
    real::{Answer, Bridge, Folder, NatsServer, exchange, tool, until, worker},
};

const OWN: &str = "connector-playground: 1\r\n";
const BASIC: &str = r#"basic: [{username: entra, password_file: "{folder}/password"}]"#;
const PLAYGROUND: &str = "playground_listen: 127.0.0.1:0\n";

/// A request on a connection of its own, as bytes.
async fn ask(port: u16, line: &str, headers: &str, body: &str) -> Answer {
    let length = body.len();
    let text = format!(
        "{line} HTTP/1.1\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    exchange(port, text.as_bytes()).await
}

/// A bridge with a playground, and a worker that lets everyone in.
struct Site {
    bridge: Bridge,
    port: u16,
    _server: NatsServer,
}

impl Site {
    async fn new(folder: Folder, root: &str, connectors: &str) -> Self {
        let server = NatsServer::start().await;
        let nats = format!("servers: [\"{}\"]", server.url());
        let root = format!("{PLAYGROUND}{root}");
        let bridge = Bridge::start_in(folder, &nats, &root, connectors).await.connected().await;
        let yes = r#"{"action":"Continue","extension_Tier":"gold"}"#;
        worker(&server, "connectors.>", |_| Some(yes.to_owned())).await;
        let port = bridge.playground_port.unwrap();
        Self { bridge, port, _server: server }
    }

    async fn get(&self, path: &str) -> Value {
        let host = format!("host: 127.0.0.1:{}\r\n{OWN}", self.port);
        let answer = ask(self.port, &format!("GET {path}"), &host, "").await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        serde_json::from_str(&answer.body).unwrap()
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        let headers =
            format!("host: 127.0.0.1:{}\r\n{OWN}content-type: application/json\r\n", self.port);
        ask(self.port, &format!("POST {path}"), &headers, &body.to_string()).await
    }

    /// Plays a sign-up to its end.
    async fn play(&self, connector: &str, claims: &str, credentials: &str) -> Value {
        let wanted = json!({
            "connector": connector, "claims": claims, "manner": "normal", "ms": 0,
            "credentials": credentials,
        });
        let begun = self.post("/api/plays", &wanted).await;
        assert_eq!(begun.status, 200, "{}", begun.body);
        let begun: Value = serde_json::from_str(&begun.body).unwrap();
        let path = format!("/api/plays/{}", begun["token"].as_str().unwrap());
        until("the end of a play", async || {
            let play = self.get(&path).await;
            (play["over"] == true).then_some(play)
        })
        .await
    }
}

fn connector(name: &str, auth: &str) -> String {
    format!("  {name}: {{protocol: entra, step: before-create, auth: {{{auth}}}}}\n")
}

#[tokio::test]
async fn only_the_page_itself_is_let_in_and_nothing_that_another_site_can_send() {
    let site = Site::new(Folder::new(), "", &connector("c", BASIC)).await;
    let host = format!("host: localhost:{}\r\n", site.port);
    let own_origin = format!("origin: http://localhost:{}\r\n", site.port);
    let play = json!({
        "connector": "c", "claims": "{}", "manner": "normal", "ms": 0, "credentials": "right",
    })
    .to_string();
    let json = "content-type: application/json\r\n";
    let lines = [
        "GET /api/about",
        "GET /api/live",
        "POST /api/plays",
        "PUT /api/faults",
        "GET /api/plays/x",
    ];
    for line in lines {
        for (name, headers) in [
            ("no header", format!("{host}{json}")),
            ("another host", format!("host: evil.example\r\n{json}{OWN}")),
            ("another origin", format!("{host}{json}{OWN}origin: http://evil.example\r\n")),
            ("another port", format!("{host}{json}{OWN}origin: http://localhost:1\r\n")),
            ("no origin that is one", format!("{host}{json}{OWN}origin: null\r\n")),
            ("another site", format!("{host}{json}{OWN}sec-fetch-site: cross-site\r\n")),
        ] {
            let answer = ask(site.port, line, &headers, &play).await;
            assert_eq!(answer.status, 403, "{line}, {name}: {}", answer.body);
            assert!(answer.header("access-control-allow-origin").is_none(), "{line}, {name}");
        }
        let no_host = ask(site.port, line, &format!("host: \r\n{json}{OWN}"), &play).await;
        assert_eq!(no_host.status, 400, "{line}, no host that is one");
        // A browser asks first whether another site may send our header, and hears no leave.
        let path = line.split(' ').nth(1).unwrap();
        let asks =
            format!("{host}origin: http://evil.example\r\naccess-control-request-method: POST\r\n");
        let answer = ask(site.port, &format!("OPTIONS {path}"), &asks, "").await;
        assert_eq!(answer.status, 403, "{line}");
        assert!(answer.header("access-control-allow-methods").is_none(), "{line}");
    }
    let rebound = ask(site.port, "GET /", "host: evil.example\r\n", "").await;
    assert_eq!(rebound.status, 403);
    assert_eq!(site.get("/api/live").await["calls"], json!([]), "something was played");
    // A form of another site cannot say that it is JSON, and its own page can do all of it.
    let form = format!("{host}{OWN}{own_origin}content-type: text/plain\r\n");
    assert_eq!(ask(site.port, "POST /api/plays", &form, &play).await.status, 415);
    let own = format!("{host}{OWN}{own_origin}{json}");
    assert_eq!(ask(site.port, "POST /api/plays", &own, &play).await.status, 200);
}

#[tokio::test]
async fn every_answer_forbids_frames_code_from_elsewhere_and_keeping() {
    let site = Site::new(Folder::new(), "", &connector("c", BASIC)).await;
    for (line, headers, status) in [
        ("GET /", "host: localhost\r\n", 200),
        ("HEAD /", "host: localhost\r\n", 200),
        ("GET /main.js", "host: localhost\r\n", 200),
        ("GET /look.css", "host: localhost\r\n", 200),
        ("POST /", "host: localhost\r\n", 405),
        ("GET /../Cargo.toml", "host: localhost\r\n", 404),
        ("GET /index.html", "host: localhost\r\n", 404),
        ("GET /", "host: evil.example\r\n", 403),
        ("GET /api/about", "host: localhost\r\nconnector-playground: 1\r\n", 200),
    ] {
        let answer = ask(site.port, line, headers, "").await;
        assert_eq!(answer.status, status, "{line}");
        let policy = answer.header("content-security-policy").unwrap();
        for rule in ["default-src 'none'", "script-src 'self';", "frame-ancestors 'none'"] {
            assert!(policy.contains(rule), "{line}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        for (name, value) in [
            ("x-frame-options", "DENY"),
            ("x-content-type-options", "nosniff"),
            ("cache-control", "no-store"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{line}");
        }
    }
}

#[tokio::test]
async fn there_is_no_page_unless_it_is_written_and_faults_only_in_the_demo() {
    let server = NatsServer::start().await;
    let bridge = Bridge::start(&server, &connector("c", BASIC)).await;
    assert_eq!(bridge.playground_port, None);
    let site = Site::new(Folder::new(), "", &connector("c", BASIC)).await;
    let headers =
        format!("host: localhost:{}\r\n{OWN}content-type: application/json\r\n", site.port);
    let faults = r#"{"worker":"gone","nats":"stopped"}"#;
    assert_eq!(ask(site.port, "PUT /api/faults", &headers, faults).await.status, 404);
    assert_eq!(site.get("/api/about").await["faults"], Value::Null);
}

#[tokio::test]
async fn it_plays_over_tls_with_the_password_and_the_key_and_shows_neither() {
    let folder = Folder::new();
    let shown = Authority::new("playground").server();
    for (name, text) in
        [("crt", &*shown.pem), ("key", &shown.key_pem), ("api-key", "kanarienvogel&1\n")]
    {
        fs::write(folder.0.join(name), text).unwrap();
    }
    let auth = format!(r#"{BASIC}, api_key_files: ["{{folder}}/api-key"]"#);
    let tls = r#"tls: {cert_file: "{folder}/crt", key_file: "{folder}/key"}"#;
    let site = Site::new(folder, tls, &connector("c", &auth)).await;
    let mut heard = String::new();
    for (credentials, status) in [("right", 200), ("wrong", 401), ("none", 401)] {
        let play = site.play("c", r#"{"email":"ada@example.com"}"#, credentials).await;
        let answer = &play["tries"][0]["answer"];
        assert_eq!(answer["status"], status, "{credentials}: {play:#}");
        assert_eq!(play["seen"]["kind"], if status == 200 { "continue" } else { "error" });
        heard.push_str(&play.to_string());
    }
    heard.push_str(&site.get("/api/about").await.to_string());
    heard.push_str(&site.get("/api/live").await.to_string());
    // The password is "secret", here as it goes over the wire.
    for secret in ["ZW50cmE6c2VjcmV0", "kanarienvogel"] {
        assert!(!heard.contains(secret), "{heard}");
    }
    assert!(heard.contains("Basic [not shown]") && heard.contains("?code=[not shown]"), "{heard}");
}

#[tokio::test]
async fn where_only_a_certificate_is_let_in_it_says_so_and_is_turned_away() {
    let certificates = "client_certificates: [{subject: CN=a}]";
    let connectors = connector("c", certificates);
    let site = Site::new(Folder::new(), "trusted_proxies: [10.0.0.0/8]", &connectors).await;
    let about = site.get("/api/about").await;
    assert_eq!(about["connectors"][0]["shows"]["certificate_only"], true, "{about}");
    let play = site.play("c", "{}", "right").await;
    assert_eq!(play["tries"][0]["answer"]["status"], 401, "{play:#}");
}

#[tokio::test]
async fn of_calls_that_it_did_not_make_no_value_of_a_claim_is_told() {
    let site = Site::new(Folder::new(), "", &connector("c", BASIC)).await;
    let claims = r#"{"email":"kanarienvogel@example.com","displayName":"kanarienvogel"}"#;
    assert_eq!(site.bridge.post("c", claims).await.status, 200);
    assert_eq!(site.bridge.post("c", r#"["kanarienvogel"]"#).await.status, 422);
    let live = site.get("/api/live").await;
    assert!(!live.to_string().contains("kanarienvogel"), "{live:#}");
    assert_eq!(live["calls"][0]["end"]["reason"], "not_an_object", "{live:#}");
    assert_eq!(live["calls"][1]["claims"], json!(["displayName", "email"]), "{live:#}");
    // Of those that it did make, only whoever knows their token hears it.
    site.play("c", claims, "right").await;
    let live = site.get("/api/live").await;
    assert!(!live.to_string().contains("kanarienvogel"), "{live:#}");
}

#[tokio::test]
async fn what_is_played_is_in_no_log_and_serve_says_that_the_page_is_open() {
    let server = NatsServer::start().await;
    let connectors = connector("c", BASIC);
    let serving = Serving::start(&server, PLAYGROUND, &connectors).await.connected().await;
    let port = until("the page", async || {
        let err = serving.program.err();
        let line = err.lines().find(|line| line.contains("the playground is open"))?;
        let rest = line.split("127.0.0.1:").nth(1)?;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u16>().ok()
    });
    let port = port.await;
    let host = format!("host: localhost:{port}\r\n{OWN}content-type: application/json\r\n");
    let play = json!({
        "connector": "c", "claims": r#"{"email":"kanarienvogel"}"#, "manner": "give_up", "ms": 100,
        "credentials": "right",
    });
    assert_eq!(ask(port, "POST /api/plays", &host, &play.to_string()).await.status, 200);
    until("the end of the call", async || {
        serving.program.err().contains(r#""message":"answered""#).then_some(())
    })
    .await;
    assert!(!serving.program.err().contains("kanarienvogel"), "{}", serving.program.err());
}

#[tokio::test]
async fn the_demo_obeys_while_its_server_starts_and_leaves_nothing_when_its_terminal_is_closed() {
    let (files, temporary) = (Folder::new(), Folder::new());
    let slow = files.0.join("nats-server");
    let nats_server = tool("NATS_SERVER", ".tools/nats-server/bin/nats-server");
    let script = format!("#!/bin/sh\nsleep 0.6\nexec '{}' \"$@\"\n", nats_server.display());
    fs::write(&slow, script).unwrap();
    fs::set_permissions(&slow, Permissions::from_mode(0o755)).unwrap();
    let words = ["demo", "--nats-server", slow.to_str().unwrap()];
    let demo = Program::start_in(&[("TMPDIR", &temporary.0)], &words);
    let port = until("the page", async || {
        let out = demo.out();
        let rest = out.split("yourself at http://127.0.0.1:").nth(1)?;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u16>().ok()
    })
    .await;
    let headers = format!("host: localhost:{port}\r\n{OWN}content-type: application/json\r\n");
    for (worker, nats) in [("none", "stopped"), ("none", "none"), ("slow", "none")] {
        let faults = json!({"worker": worker, "nats": nats}).to_string();
        assert_eq!(ask(port, "PUT /api/faults", &headers, &faults).await.status, 200);
    }
    until("NATS is back", async || {
        let live = ask(port, "GET /api/live", &headers, "").await;
        let live: Value = serde_json::from_str(&live.body).ok()?;
        assert_eq!(live["faults"], json!({"worker": "slow", "nats": "none"}));
        live["status"]["nats"]["connected"].as_bool()?.then_some(())
    })
    .await;
    let [folder] = &fs::read_dir(&temporary.0).unwrap().collect::<Vec<_>>()[..] else { panic!() };
    let mode = folder.as_ref().unwrap().metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "the password is nobody else's");
    demo.signal("HUP");
    assert_eq!(demo.ended().await.code, Some(0));
    assert_eq!(fs::read_dir(&temporary.0).unwrap().count(), 0);
}
