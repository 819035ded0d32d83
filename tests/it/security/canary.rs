//! Marked values in everything that callers and workers send, and a search of everything that
//! comes out elsewhere.

use std::{fs, path::Path, sync::Arc};

use connector_bridge::{
    config::Config,
    domain::{
        call_id::{CallId, HashKey},
        json::Object,
        outcome::{Outcome, Source},
        record::Recorded,
        reply::{self, Reply},
        shared::{Revision, UnixMicros},
    },
    wire::Stored,
};
use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use futures_util::StreamExt;
use tokio::{io::AsyncWriteExt, sync::Mutex};

use super::{Authority, Folder, NatsServer, client_config, tls_folder};
use crate::support::{
    collector::Collector,
    pki::connect_from,
    process::Serving,
    real::{Answer, config_at, get, read_answer, round_trip, until, worker},
    records::Records,
};

/// Stands in every claim, header, credential and reply.
const CANARY: &str = "kanarienvogel";

/// Where records of decisions go.
const RECORDS: &str = "connector-events.decided";

/// Every way in which it could come out.
fn traces() -> Vec<String> {
    let bytes = CANARY.as_bytes();
    let mut traces = vec![
        CANARY.to_owned(),
        HEXLOWER.encode(bytes),
        bytes.iter().map(|byte| format!("%{byte:02X}")).collect(),
        format!("{bytes:?}").trim_matches(['[', ']']).to_owned(),
    ];
    // Base64 looks otherwise by where in three bytes it begins.
    for shift in 0..3 {
        for encode in [
            BASE64URL_NOPAD.encode(&[&vec![b' '; shift], bytes].concat()),
            BASE64.encode(&[&vec![b' '; shift], bytes].concat()),
        ] {
            traces.push(encode[4..encode.len() - 4].to_owned());
        }
    }
    traces
}

fn assert_clean(place: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).to_lowercase();
    for trace in traces() {
        assert!(!text.contains(&trace.to_lowercase()), "{trace} is in {place}:\n{text}");
    }
}

/// Subjects and headers of all messages, without their payloads.
async fn watch(server: &NatsServer) -> Arc<Mutex<Vec<u8>>> {
    let client = server.client().await;
    let mut all = client.subscribe(">").await.unwrap();
    round_trip(&client).await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    tokio::spawn(async move {
        let _client = client;
        while let Some(message) = all.next().await {
            let line = format!("{} {:?} {:?}\n", message.subject, message.reply, message.headers);
            let mut sink = sink.lock().await;
            sink.extend_from_slice(line.as_bytes());
            // What is shared is sealed, and records list no claims; what workers get and send are
            // the claims themselves.
            if message.subject.starts_with("$KV.") || message.subject.starts_with(RECORDS) {
                sink.extend_from_slice(&message.payload);
            }
        }
    });
    seen
}

struct Site {
    collector: Collector,
    server: NatsServer,
    serving: Serving,
    servers: Authority,
    callers: Authority,
}

async fn start() -> Site {
    let jetstream = Folder::new();
    let config = format!(
        "http: \"127.0.0.1:-1\"\njetstream {{store_dir: \"{}\"}}\nlog_file: \"{{folder}}/log\"\ndebug: true",
        jetstream.0.display()
    );
    let server = NatsServer::start_with(&config).await;
    Records::start(&server).await;
    let (servers, callers) = (Authority::new("servers"), Authority::new("callers"));
    let folder = tls_folder(&servers.server(), &callers);
    for (name, text) in [
        ("canary-password", format!("{CANARY}-password")),
        ("api-key", format!("{CANARY}-key")),
        ("hash-key", format!("{CANARY}-{}", "h".repeat(32))),
        ("seal-key", format!("{CANARY}-{}", "s".repeat(32))),
    ] {
        fs::write(folder.0.join(name), text).unwrap();
    }
    let auth = format!(
        "basic: [{{username: {CANARY}-user, password_file: \"{{folder}}/canary-password\"}}], \
         client_certificates: [{{subject: CN={CANARY}-listed}}]"
    );
    let connector = |name: &str, more: &str| {
        format!(
            "  {name}: {{protocol: entra, step: before-create, grace: 0s, deadline: 2s{more}}}\n"
        )
    };
    let cached = "fallback: {cached: {by: [email], shared: true}}";
    let connectors = [
        connector("c", &format!(", {cached}, auth: {{{auth}}}")),
        connector("keyed", &format!(", auth: {{{auth}, api_key_files: [\"{{folder}}/api-key\"]}}")),
        connector("absent", ", subject: nobody.listens, auth: none"),
        connector(
            "listing",
            ", subject: connectors.c.listing, claims: {return: [a], require: [email]}, auth: none",
        ),
    ];
    let root = "tls: {cert_file: \"{folder}/crt\", key_file: \"{folder}/key\", client_ca_file: \"{folder}/ca\"}
log: {level: trace}
read_timeout: 500ms
traces: {trust_incoming: true}
trusted_proxies: [127.0.0.2]
events: {}
calls: {store: jetstream, hash_key_file: \"{folder}/hash-key\", encryption_key_files: [\"{folder}/seal-key\"]}";
    worker(&server, "connectors.>", |call| {
        let text = String::from_utf8_lossy(&call.payload).into_owned();
        Some(if text.contains("broken") {
            format!(r#"{{"action":"{CANARY}","{CANARY}":["{CANARY}"]}}"#)
        } else if text.contains("blocked") {
            format!(r#"{{"action":"ShowBlockPage","userMessage":"{CANARY}"}}"#)
        } else if text.contains("invalid") {
            format!(r#"{{"action":"ValidationError","userMessage":"{CANARY}"}}"#)
        } else {
            format!(r#"{{"action":"Continue","{CANARY}":"{CANARY}"}}"#)
        })
    })
    .await;
    let nats = format!("servers: [\"{}\"]", server.url());
    let config = config_at(&folder, &nats, root, &connectors.concat());
    let collector = Collector::start().await;
    let endpoint = collector.endpoint();
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", Path::new(&endpoint))];
    let serving = Serving::start_as(folder, &environment, &config).await;
    let serving = serving.connected().await;
    until("the store", async || {
        (serving.metric("store_available").await == Some(1.0)).then_some(())
    })
    .await;
    drop(jetstream);
    Site { collector, server, serving, servers, callers }
}

impl Site {
    /// Sends a request as it is, and ends the connection behind it.
    async fn send(&self, certificate: Option<&str>, request: &str) -> Answer {
        let own = certificate.map(|name| self.callers.client(name));
        let config = client_config(&self.servers, own.as_ref());
        let start = std::time::Instant::now();
        // Only a proxy is believed what it writes in that header.
        let from = if request.contains("X-Forwarded-Client-Cert") { 2 } else { 1 };
        let stream = connect_from([127, 0, 0, from], config, self.serving.port).await;
        let mut stream = stream.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        read_answer(&mut stream, start).await
    }

    /// With a canary in every header that is known and some that are not.
    fn request(method: &str, target: &str, headers: &str, body: &str) -> String {
        format!(
            "{method} {target} HTTP/1.1\r\nHost: {CANARY}.example\r\nUser-Agent: {CANARY}\r\n\
             Cookie: {CANARY}\r\nX-{CANARY}: {CANARY}\r\nReferer: https://{CANARY}\r\n\
             tracestate: a={CANARY}\r\nbaggage: {CANARY}={CANARY}\r\nx-request-id: {CANARY}\r\n\
             {headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_callers_or_workers_send_comes_out_anywhere_but_where_it_belongs() {
    let site = start().await;
    let seen = watch(&site.server).await;
    let basic = |password: &str| {
        let credentials = BASE64.encode(format!("{CANARY}-user:{password}").as_bytes());
        format!("Authorization: Basic {credentials}\r\n")
    };
    let right = basic(&format!("{CANARY}-password"));
    let claims = |more: &str| {
        format!(
            r#"{{"email":"{CANARY}@example.com","{CANARY}":"{CANARY}","identities":[{{"issuerAssignedId":"{CANARY}"}}],"ui_locales":"{CANARY}","step":"{CANARY}","client_id":"{CANARY}","objectId":"{CANARY}","n":{{"{CANARY}":[1,true,null]}}{more}}}"#
        )
    };
    let decided = [
        (None, "/connectors/c", right.clone(), claims("")),
        (None, "/connectors/c", right.clone(), claims("")),
        (None, "/connectors/c", right.clone(), claims(r#","x":"blocked""#)),
        (None, "/connectors/c", right.clone(), claims(r#","x":"invalid""#)),
        (None, "/connectors/c", right.clone(), claims(r#","x":"broken""#)),
        (Some("listed"), "/connectors/c", String::new(), claims(r#","x":1"#)),
        (None, "/connectors/absent", String::new(), claims("")),
        (None, "/connectors/listing", String::new(), claims("")),
        (None, "/connectors/listing", String::new(), format!(r#"{{"{CANARY}":"{CANARY}"}}"#)),
    ];
    for (number, (certificate, target, headers, claims)) in decided.into_iter().enumerate() {
        let certificate = certificate.map(|name| format!("{CANARY}-{name}"));
        let request = Site::request("POST", target, &headers, &claims);
        let answer = site.send(certificate.as_deref(), &request).await;
        assert!([200, 400].contains(&answer.status), "{number}: {answer:?}");
        assert_clean("the head of an answer", answer.head.as_bytes());
    }
    let keyed = format!("/connectors/keyed?code={CANARY}-key");
    let answer = site.send(None, &Site::request("POST", &keyed, &right, &claims(""))).await;
    assert_eq!(answer.status, 200);

    let refused = [
        (404, "POST", "/connectors/kanarienvogel?kanarienvogel", right.clone(), claims("")),
        (405, "KANARIENVOGEL", "/connectors/c", right.clone(), claims("")),
        (401, "POST", "/connectors/c", basic(CANARY), claims("")),
        (401, "POST", "/connectors/c", format!("Authorization: {CANARY}\r\n"), claims("")),
        (401, "POST", "/connectors/keyed?code=kanarienvogel", right.clone(), claims("")),
        (
            401,
            "POST",
            "/connectors/c",
            format!("X-Forwarded-Client-Cert: Subject=\"{CANARY}\"\r\n"),
            claims(""),
        ),
        (
            403,
            "POST",
            "/connectors/c",
            format!("X-Forwarded-Client-Cert: Subject=\"CN={CANARY}\"\r\n"),
            claims(""),
        ),
        (
            415,
            "POST",
            "/connectors/c",
            format!("{right}Content-Type: text/{CANARY}\r\n"),
            claims(""),
        ),
        (413, "POST", "/connectors/c", right.clone(), CANARY.repeat(10_000)),
        (422, "POST", "/connectors/c", right.clone(), format!(r#"{{"{CANARY}":1,"{CANARY}":2}}"#)),
        (422, "POST", "/connectors/c", right.clone(), format!("[\"{CANARY}\"]")),
        (422, "POST", "/connectors/c", right.clone(), CANARY.to_owned()),
        (400, "POST", "/connectors/c", format!("{right}Content-Length: 1\r\n"), claims("")),
        (414, "POST", &format!("/{}", CANARY.repeat(1_000)), right.clone(), claims("")),
    ];
    for (status, method, target, headers, body) in refused {
        let answer = site.send(None, &Site::request(method, target, &headers, &body)).await;
        assert_eq!(answer.status, status, "{method} {target}: {answer:?}");
        assert_clean("an error", format!("{}{}", answer.head, answer.body).as_bytes());
    }
    let half = Site::request("POST", "/connectors/c", &right, &claims(""));
    let answer = site.send(None, &half[..half.len() - 3]).await;
    assert_clean("an error", format!("{}{}", answer.head, answer.body).as_bytes());
    assert_eq!(answer.status, 408);
    let unlisted = format!("{CANARY}-unlisted");
    let answer = site.send(Some(&unlisted), &Site::request("POST", "/connectors/c", "", "")).await;
    assert_eq!(answer.status, 403);
    assert_clean("an error", answer.body.as_bytes());
    site.send(None, &format!("{CANARY} is not HTTP\r\n\r\n")).await;

    for path in ["/metrics", "/status", "/readyz", "/livez", "/kanarienvogel"] {
        let answer = get(site.serving.admin_port, path).await;
        assert_clean(path, format!("{}{}", answer.head, answer.body).as_bytes());
    }
    let monitoring = site.server.monitoring_port();
    let mut bytes = 0;
    for path in [
        "/varz",
        "/connz?subs=detail&auth=1&state=any",
        "/subsz?subs=1",
        "/routez?subs=1",
        "/gatewayz",
        "/leafz?subs=1",
        "/accountz",
        "/accstatz?unused=1",
        "/jsz?accounts=1&streams=1&consumers=1&config=1&raft=1",
        "/healthz",
    ] {
        let answer = get(monitoring, path).await;
        assert_eq!(answer.status, 200, "{path}");
        bytes += answer.body.len();
        assert_clean(path, answer.body.as_bytes());
    }
    assert!(bytes > 10_000, "there was something to search");
    assert_clean("the log of NATS", &site.server.file("log"));

    until("the records are written", async || {
        let seen = String::from_utf8_lossy(&seen.lock().await).into_owned();
        let wanted = [
            "$KV.connector_bridge_calls.",
            "$KV.connector_bridge_decisions.c.",
            "connectors.c.before-create",
            RECORDS,
        ];
        wanted.iter().all(|subject| seen.contains(subject)).then_some(())
    })
    .await;
    let mut seen = seen.lock().await.clone();
    // With `traces.trust_incoming` the caller's own trace state goes on, and nothing else of it.
    let trusted = format!("a={CANARY}");
    while let Some(at) = seen.windows(trusted.len()).position(|part| part == trusted.as_bytes()) {
        seen.drain(at..at + trusted.len());
    }
    assert_clean("subjects, headers and shared records", &seen);

    site.serving.program.signal("TERM");
    let ended = site.serving.program.ended().await;
    assert_eq!((ended.code, &*ended.out), (Some(0), ""));
    let lines = ended.err.lines().filter(|line| line.contains(r#""status":"#)).count();
    assert!(lines >= 20, "{lines} lines of requests");
    assert_clean("the log", ended.err.as_bytes());
    // The last spans were sent before the end.
    let spans = until("the spans", async || {
        let spans = site.collector.spans();
        (spans.len() >= 30).then_some(spans)
    })
    .await;
    assert!(spans.iter().any(|span| span.kind == "PRODUCER"), "{spans:?}");
    assert_clean("spans", site.collector.printed().as_bytes());
}

#[test]
fn what_values_show_of_themselves_for_debugging_holds_nothing_of_them() {
    let connector = "protocol: entra, step: before-create, auth: none";
    let config = Config::parse(&format!("connectors: {{c: {{{connector}}}}}")).unwrap();
    let connector = &config.connectors[0].connector;
    let claims = format!(r#"{{"email":"{CANARY}","{CANARY}":"{CANARY}"}}"#);
    let object = Object::parse(claims.as_bytes()).unwrap();
    let id = CallId::of(&HashKey::public(), "c", &object);
    assert_clean("claims", format!("{object:?} {id:?} {id}").as_bytes());
    for reply in [
        format!(r#"{{"action":"Continue","{CANARY}":"{CANARY}"}}"#),
        format!(r#"{{"action":"ShowBlockPage","userMessage":"{CANARY}"}}"#),
        format!(r#"{{"action":"ValidationError","userMessage":"{CANARY}"}}"#),
        format!(r#"{{"action":"{CANARY}"}}"#),
        format!(r#"{{"action":"Continue","{CANARY}":["{CANARY}"]}}"#),
    ] {
        let reply = Reply { payload: reply.into(), ..Reply::default() };
        match reply::read(connector, None, &reply) {
            Ok(decided) => {
                let answer = connector.answer(&decided.decision);
                let recorded = Recorded::new(answer.clone());
                let outcome = Outcome { answer, source: Source::Worker, reason: None };
                let shown = format!("{decided:?} {recorded:?} {outcome:?}");
                assert_clean("a decision", shown.as_bytes());
            }
            Err(fault) => assert_clean("a fault", format!("{fault:?}").as_bytes()),
        }
    }
    let stored = Stored {
        revision: Revision(1),
        written: UnixMicros(1),
        record: claims.into_bytes().into(),
    };
    assert_clean("a record", format!("{stored:?}").as_bytes());
}

#[test]
fn the_search_finds_what_it_looks_for() {
    for hidden in [
        format!("x{CANARY}y"),
        CANARY.to_uppercase(),
        BASE64.encode(format!("user:{CANARY}-password").as_bytes()),
        BASE64.encode(format!("a{CANARY}").as_bytes()),
        HEXLOWER.encode(format!("a{CANARY}").as_bytes()),
        format!("{:?}", format!("a{CANARY}").as_bytes()),
    ] {
        let found = std::panic::catch_unwind(|| assert_clean("here", hidden.as_bytes()));
        assert!(found.is_err(), "{hidden}");
    }
    assert_clean("here", b"a canary, and nothing else");
}
