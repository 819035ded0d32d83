//! `examples/events/audit-python`: one row for each decision, and a notification at least once.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use async_nats::{HeaderMap, jetstream};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::support::{
    process::{Program, python, sql},
    real::{Bridge, Folder, NatsServer, until, worker},
    records::{JETSTREAM, Records},
};

const CONNECTOR: &str = "  c: {protocol: entra, step: before-create, auth: none, grace: 1s}\n";

/// What a webhook does with a notification.
#[derive(Clone, Copy)]
enum Says {
    /// With another place to go to, which counts for a redirection only.
    Status(u16),
    /// What a mail server says.
    NoHttp,
    /// Takes it and keeps silent.
    Nothing,
}

/// A notification: its id, and its body.
type Notification = (String, Value);

/// Hears notifications.
struct Webhook {
    port: u16,
    heard: Arc<Mutex<Vec<Notification>>>,
}

impl Webhook {
    /// Does this with the first, the second, and so on; the last again and again.
    async fn start(script: &[Says]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard: Arc<Mutex<Vec<Notification>>> = Arc::default();
        let (sink, mut script) = (Arc::clone(&heard), script.to_vec());
        tokio::spawn(async move {
            let mut silent = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let notification = hear(&mut stream).await;
                sink.lock().unwrap().push(notification);
                let answer = match if script.len() > 1 { script.remove(0) } else { script[0] } {
                    Says::Status(status) => format!(
                        "HTTP/1.1 {status} x\r\nLocation: /elsewhere\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    ),
                    Says::NoHttp => "220 mail.example.com ready\r\n".to_owned(),
                    Says::Nothing => {
                        silent.push(stream);
                        continue;
                    }
                };
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self { port, heard }
    }

    fn heard(&self) -> Vec<Notification> {
        self.heard.lock().unwrap().clone()
    }
}

async fn hear(stream: &mut TcpStream) -> Notification {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let header = |name: &str| {
        let found = head.lines().find_map(|line| {
            line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name))
        });
        found.unwrap_or_else(|| panic!("{name} is not in {head}")).1.to_owned()
    };
    assert_eq!(header("Content-Type"), "application/cloudevents+json");
    let mut body = vec![0; header("Content-Length").parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    (header("Idempotency-Key"), serde_json::from_slice(&body).unwrap())
}

/// Where the subscriber has the rights of its README and no others, and everybody else has all.
async fn server() -> NatsServer {
    NatsServer::start_in(Folder::new(), &server_config(), &[("AUDIT_PASSWORD", "secret")]).await
}

fn server_config() -> String {
    let readme =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/events/audit-python/README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let user = readme.split_once("```conf\n").unwrap().1.split_once("```").unwrap().0;
    format!(
        "{JETSTREAM}\nno_auth_user: all\nauthorization {{ users = [\n{{user: all, password: all}}\n{user}\n] }}\nlogfile: \"{{folder}}/log\"\n"
    )
}

/// The subscriber, its database and what it reads.
struct Audit {
    server: NatsServer,
    records: Records,
    bridge: Bridge,
    webhook: Webhook,
    folder: Folder,
}

impl Audit {
    async fn with(script: &[Says]) -> Self {
        let server = server().await;
        let records = Records::start(&server).await;
        let bridge = Bridge::start_with(&server, "events: {claims: [email]}", CONNECTOR).await;
        let (bridge, webhook) = (bridge.connected().await, Webhook::start(script).await);
        Self { server, records, bridge, webhook, folder: Folder::new() }
    }

    fn run(&self) -> Program {
        self.run_with(Some(&format!("http://127.0.0.1:{}/hook", self.webhook.port)))
    }

    fn run_with(&self, webhook: Option<&str>) -> Program {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/events/audit-python");
        let mut command = python();
        command
            .arg(folder.join("audit.py"))
            .env("NATS_URL", self.server.url().replace("//", "//audit:secret@"))
            .env("DATABASE", self.folder.0.join("audit.db"))
            .env("ACK_WAIT", "2");
        match webhook {
            Some(url) => command.env("WEBHOOK", url),
            None => command.env_remove("WEBHOOK"),
        };
        Program::spawn(command)
    }

    async fn post(&self, person: &str) {
        let claims = format!(r#"{{"email":"{person}@example.com"}}"#);
        let answer = self.bridge.post("c", &claims).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Something that is no record, or one that is there.
    async fn publish(&self, headers: HeaderMap, payload: &str) {
        let context = jetstream::new(self.server.client().await);
        let subject = "connector-events.decided";
        let sent = context.publish_with_headers(subject, headers, payload.to_owned().into()).await;
        sent.unwrap().await.unwrap();
    }

    /// Waits until the table is so, in the order of people: for each row, who was answered what by
    /// whom, and how far its notification is.
    async fn until_rows(&self, program: &Program, wanted: Value) {
        const ROWS: &str = "SELECT json_extract(record, '$.data.claims.email'), action, source, reason, notification FROM records ORDER BY 1";
        let database = self.folder.0.join("audit.db");
        until(&wanted.to_string(), async || {
            assert!(program.is_running(), "{}", program.err());
            if !database.exists() || sql(&database, "SELECT name FROM sqlite_master") == "[]" {
                return None;
            }
            let rows: Value = serde_json::from_str(&sql(&database, ROWS)).ok()?;
            (rows == wanted).then_some(())
        })
        .await;
    }

    /// Waits until nothing more is to come to the subscriber.
    async fn until_done(&self) {
        let context = jetstream::new(self.server.client().await);
        let stream = context.get_stream("CONNECTOR_EVENTS").await.unwrap();
        until("all is acknowledged", async || {
            let info = stream.consumer_info("audit").await.ok()?;
            (info.num_pending == 0 && info.num_ack_pending == 0).then_some(())
        })
        .await;
    }
}

/// What is no record: other things, and a record that is wrong in one place.
fn poison_from(record: &str) -> Vec<String> {
    let others = [
        "kanarienvogel",
        "[]",
        r#"{"type":"connector-bridge.call.answered","id":7,"data":{}}"#,
        r#"{"type":"other"}"#,
    ];
    let long_id = format!(r#""id":"{}"#, "x".repeat(128));
    let wrong = [
        ("{", r#"{"\ud800":1,"#),
        ("{", r#"{"other":["\udfff"],"#),
        ("{", r#"{"other":NaN,"#),
        (r#""connector":"c""#, r#""connector":"\ud83d""#),
        (r#""status":200"#, r#""status":99"#),
        (r#""status":200"#, r#""status":600"#),
        (r#""status":200"#, r#""status":true"#),
        (r#""status":200"#, r#""status":200.0"#),
        (r#""status":200"#, r#""status":1000000000000000000000000000000"#),
        (r#""id":""#, r#""id":"","old":""#),
        (r#""id":""#, r#""id":"\r\nX: "#),
        (r#""id":""#, r#""id":"é"#),
        (r#""id":""#, &long_id),
        (r#""call_id":""#, r#""call_id":" "#),
    ];
    let wrong = wrong.iter().map(|(part, other)| {
        assert!(record.contains(part), "{record} has no {part}");
        record.replacen(part, other, 1)
    });
    others.into_iter().map(str::to_owned).chain(wrong).collect()
}

#[tokio::test]
async fn each_decision_is_one_row_and_who_was_not_let_in_is_told_of_once() {
    let audit = Audit::with(&[Says::Status(204)]).await;
    let program = audit.run();
    let _worker = worker(&audit.server, "connectors.c.before-create", |call| {
        let text = String::from_utf8_lossy(&call.payload).into_owned();
        let blocked = r#"{"action":"ShowBlockPage","userMessage":"No."}"#;
        Some(if text.contains("eve") { blocked } else { r#"{"action":"Continue"}"# }.to_owned())
    })
    .await;
    audit.post("ada").await;
    audit.post("eve").await;
    audit.post("eve").await;
    let rows = json!([
        ["ada@example.com", "continue", "worker", null, "none"],
        ["eve@example.com", "show_block_page", "worker", null, "sent"],
    ]);
    audit.until_rows(&program, rows.clone()).await;
    // A record that is there already, which JetStream does not know as such, and what is no record.
    let records = audit.records.until(2).await;
    let record = &records[1].text;
    audit.publish(HeaderMap::new(), record).await;
    let long = format!(r#"{{"claim":{},"#, "9".repeat(5_000));
    audit.publish(HeaderMap::new(), &record.replacen('{', &long, 1)).await;
    let poison = poison_from(record);
    for each in &poison {
        audit.publish(HeaderMap::new(), each).await;
    }
    audit.until_done().await;
    audit.until_rows(&program, rows).await;
    let [(id, notification)] = &audit.webhook.heard()[..] else { panic!("once") };
    assert_eq!(
        (id.as_str(), notification),
        (records[1].event["id"].as_str().unwrap(), &records[1].event)
    );
    program.signal("TERM");
    let ended = program.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let refused = ended.err.matches("is no record of a decision").count();
    assert_eq!(refused, poison.len(), "{}", ended.err);
    assert!(!ended.err.contains("kanarienvogel") && !ended.err.contains("eve@"), "{}", ended.err);
    let log = String::from_utf8(audit.server.file("log")).unwrap();
    assert!(!log.contains("iolation"), "its rights are enough: {log}");
}

#[tokio::test]
async fn a_notification_is_sent_until_the_webhook_takes_it_and_not_where_it_never_will() {
    let audit = Audit::with(&[
        Says::Status(503),
        Says::NoHttp,
        Says::Status(200),
        Says::Status(200),
        Says::Status(410),
        Says::Status(302),
    ])
    .await;
    let program = audit.run();
    let row = |person: &str, notification: &str| {
        json!([
            format!("{person}@example.com"),
            "show_block_page",
            "default",
            "no_responders",
            notification
        ])
    };
    // At once, so that both are refused before one of them comes again.
    tokio::join!(audit.post("ada"), audit.post("bob"));
    let mut rows = vec![row("ada", "sent"), row("bob", "sent")];
    audit.until_rows(&program, json!(rows)).await;
    let heard = audit.webhook.heard();
    assert_eq!(heard.len(), 4);
    for notification in &heard {
        let times = heard.iter().filter(|other| *other == notification).count();
        assert_eq!(times, 2, "the same id again: {heard:?}");
    }
    for (person, heard) in [("eve", 5), ("mallory", 6)] {
        audit.post(person).await;
        rows.push(row(person, "refused"));
        audit.until_rows(&program, json!(rows)).await;
        audit.until_done().await;
        assert_eq!(audit.webhook.heard().len(), heard);
    }
}

#[tokio::test]
async fn what_a_killed_subscriber_had_in_hand_comes_again() {
    let audit = Audit::with(&[Says::Nothing, Says::Status(200)]).await;
    let first = audit.run();
    audit.post("ada").await;
    until("it is about to notify", async || (audit.webhook.heard().len() == 1).then_some(())).await;
    first.signal("KILL");
    first.ended().await;
    let second = audit.run();
    let row = json!(["ada@example.com", "show_block_page", "default", "no_responders", "sent"]);
    audit.until_rows(&second, json!([row])).await;
    audit.until_done().await;
    let [(first, _), (again, _)] = &audit.webhook.heard()[..] else { panic!("twice") };
    assert_eq!(first, again);
}

#[tokio::test]
async fn a_subscriber_whose_login_has_ended_says_so_and_ends() {
    let audit = Audit::with(&[Says::Status(204)]).await;
    let program = audit.run();
    audit.post("ada").await;
    let row = json!(["ada@example.com", "show_block_page", "default", "no_responders", "sent"]);
    audit.until_rows(&program, json!([row])).await;
    audit.server.configure(&server_config().replace("$AUDIT_PASSWORD", "another"));
    audit.server.signal("HUP");
    let ended = program.ended().await;
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    assert!(ended.err.contains("ERROR the connection is closed"), "{}", ended.err);
    assert!(!ended.err.contains("secret") && !ended.err.contains("Traceback"), "{}", ended.err);
}

#[tokio::test]
async fn without_a_webhook_what_was_to_be_sent_stays_due() {
    let audit = Audit::with(&[Says::Status(503)]).await;
    let first = audit.run();
    audit.post("ada").await;
    let row = json!(["ada@example.com", "show_block_page", "default", "no_responders", "due"]);
    audit.until_rows(&first, json!([row])).await;
    first.signal("KILL");
    first.ended().await;
    let second = audit.run_with(None);
    audit.until_done().await;
    audit.until_rows(&second, json!([row])).await;
    second.signal("TERM");
    let ended = second.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
}

#[tokio::test]
async fn a_webhook_that_is_no_url_is_told_of_at_the_start() {
    let audit = Audit::with(&[Says::Status(204)]).await;
    for webhook in ["hooks.example.com", "file:///etc/hook", "http://", "https://[kanarienvogel"] {
        let ended = audit.run_with(Some(webhook)).ended().await;
        assert_eq!(ended.code, Some(64), "{webhook}: {}", ended.err);
        assert!(ended.err.contains("WEBHOOK"), "{webhook}: {}", ended.err);
        assert!(!ended.err.contains("kanarienvogel"), "it may be secret: {}", ended.err);
    }
}

#[tokio::test]
async fn it_ends_when_it_is_told_to_also_while_nats_was_never_there() {
    let mut audit = Audit::with(&[Says::Status(204)]).await;
    audit.server.kill();
    let program = audit.run();
    until("it has tried", async || program.err().contains("NATS").then_some(())).await;
    program.signal("TERM");
    let ended = program.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
}
