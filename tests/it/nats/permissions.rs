//! `deploy/nats/permissions.conf`: with these rights everything works, none of them is in vain, and
//! what they leave out is refused.

mod refused;

use std::{collections::BTreeSet, fs, path::Path};

use async_nats::{Client, ConnectOptions, jetstream::stream::Config};
use connector_bridge::domain::rights::{Right, Rights};
use serde_json::{Value, json};

use super::{
    assert_is_decided,
    worker::{Reply, Worker, says},
};
use crate::support::{
    process::{Program, example, python},
    real::{Answer, Bridge, Folder, NatsServer, until},
};

const SUBJECT: &str = "connectors.approve-signup.before-create";
const CALLS: &str = "KV_connector_bridge_calls";
const DECISIONS: &str = "KV_connector_bridge_decisions";

/// The file itself.
pub(super) fn permissions() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/nats/permissions.conf");
    fs::read_to_string(file).unwrap()
}

/// A server with JetStream and these rights. What anybody said to it, and it to them, is in its log.
pub(super) async fn server(permissions: &str) -> NatsServer {
    let folder = Folder::new();
    fs::write(folder.0.join("permissions.conf"), permissions).unwrap();
    let config = "include \"permissions.conf\"\n\
                  jetstream {store_dir: \"{folder}/jetstream\"}\n\
                  trace: true, logfile: \"{folder}/log\"\n";
    // The password that a bridge's folder has.
    let passwords = [("BRIDGE_PASSWORD", "secret"), ("WORKER_PASSWORD", "secret")];
    NatsServer::start_in(folder, config, &passwords).await
}

fn log(server: &NatsServer) -> String {
    fs::read_to_string(server.folder.0.join("log")).unwrap()
}

/// The section `nats` of a bridge at this server.
pub(super) fn as_bridge(server: &NatsServer) -> String {
    format!("servers: [\"{}\"], user: bridge, password_file: \"{{folder}}/password\"", server.url())
}

/// A connector with all that needs rights, and one that nobody works for.
pub(super) fn connectors() -> &'static str {
    "  approve-signup: {protocol: entra, step: before-create, auth: none, deadline: 4s, grace: 1s,
    fallback: {cached: {by: [email], shared: true}}}
  other: {protocol: entra, step: before-create, auth: none, grace: 0s}
"
}

/// A replica that shares its calls and decisions.
async fn replica(server: &NatsServer) -> Bridge {
    let root = "calls: {store: jetstream}\nevents: {}";
    let bridge = Bridge::start_in(Folder::new(), &as_bridge(server), root, connectors()).await;
    bridge.until_metric("store_available", 1.0).await;
    bridge
}

/// A client of this user. Replies come to it where they come to the bridge.
async fn client(server: &NatsServer, user: &str) -> Client {
    let options = ConnectOptions::with_user_and_password(user.to_owned(), "secret".to_owned());
    Worker::client(server, options.custom_inbox_prefix("_INBOX_connector_bridge")).await
}

pub(super) async fn worker(server: &NatsServer) -> Worker {
    let blocks = |_: &async_nats::Message| -> Reply {
        says(r#"{"action":"ShowBlockPage","userMessage":"Not you."}"#)
    };
    Worker::at(client(server, "worker").await, SUBJECT, "workers", blocks).await
}

/// Ada fills in the form, with this name.
async fn post(bridge: &Bridge, name: &str) -> Answer {
    let claims = format!(r#"{{"email":"ada@example.com","displayName":"{name}"}}"#);
    bridge.post("approve-signup", &claims).await
}

/// Posts until the answer comes from `source`.
async fn until_from(source: &str, bridge: &Bridge, name: &str) -> Answer {
    until(source, async || Some(post(bridge, name).await).filter(|a| a.source() == source)).await
}

/// Nothing was refused to this bridge, and it misses nothing.
async fn assert_is_content(bridge: &Bridge) {
    for event in ["auth_error", "server_error", "slow_consumer"] {
        let series = format!(r#"nats_connection_events_total{{event="{event}"}}"#);
        assert_eq!(bridge.metric(&series).await, Some(0.0), "{event}");
    }
    let status: Value = serde_json::from_str(&bridge.admin("/status").await.body).unwrap();
    assert_eq!(status["nats"]["missing_rights"], json!([]));
}

#[tokio::test]
async fn with_these_rights_everything_works_and_nothing_is_refused() {
    let server = server(&permissions()).await;
    let (a, b) = (replica(&server).await, replica(&server).await);
    let plain = worker(&server).await;
    let first = post(&a, "Ada").await;
    assert_is_decided(&first);
    assert!(first.body.contains("Not you."), "{first:?}");
    assert_eq!(until_from("replay", &b, "Ada").await.body, first.body);
    // Under the same call, and under the same values.
    b.until_metric(r#"store_operations_total{operation="load",result="ok"}"#, 2.0).await;
    plain.stop().await;
    let other_form = until_from("cache", &b, "Miss Ada").await;
    assert_eq!(other_form.body, first.body, "what the other replica shared");

    let files = Folder::new();
    let mut service = python();
    service
        .arg(example("approval-python/worker.py"))
        .env("NATS_URL", server.url().replace("//", "//worker:secret@"))
        .env("DATABASE", files.0.join("requests.db"));
    let service = Program::spawn(service);
    let by_service = until_from("worker", &a, "Mrs Ada").await;
    assert!(by_service.body.contains("waiting for approval"), "{by_service:?}");
    for bridge in [&a, &b] {
        bridge.until_metric(r#"workers_available{connector="approve-signup"}"#, 1.0).await;
    }
    for bridge in [&a, &b, &replica(&server).await] {
        assert_is_content(bridge).await;
    }
    service.signal("TERM");
    let ended = service.ended().await;
    assert_eq!((ended.code, &*ended.err), (Some(0), ""), "the service heard of no refusal");
    let log = log(&server);
    let refused: Vec<_> = log.lines().filter(|line| line.contains("iolation")).collect();
    assert!(refused.is_empty(), "{refused:?}");
}

/// The rights that the file gives a user, to `publish` or `subscribe`.
fn granted(user: &str, kind: &str) -> Vec<String> {
    let text = permissions();
    let of_user = text.split_once(&format!("user: {user}\n")).unwrap().1;
    let list =
        of_user.split_once(&format!("{kind}: [")).unwrap().1.split_once("\n        ]").unwrap().0;
    let rights: Vec<_> =
        list.lines().filter_map(|l| l.trim().strip_prefix('"')?.split('"').next()).collect();
    assert!(!rights.is_empty(), "{user} {kind}");
    rights.into_iter().map(str::to_owned).collect()
}

/// What clients whose name begins with `name` said to the server by this verb: all that stands
/// behind it.
fn said(server: &NatsServer, name: &str, verb: &str) -> BTreeSet<String> {
    let (name, verb) = (format!(":{name}"), format!("<<- [{verb} "));
    let log = log(server);
    let lines = log.lines().filter(|line| line.contains(&name));
    let said = lines.filter_map(|line| line.split_once(&verb)?.1.strip_suffix(']'));
    said.map(str::to_owned).collect()
}

/// The subjects that bridges published to.
fn published(server: &NatsServer) -> BTreeSet<String> {
    let all = ["PUB", "HPUB"].into_iter().flat_map(|verb| said(server, "connector-bridge", verb));
    all.map(|said| said.split(' ').next().unwrap().to_owned()).collect()
}

/// Waits until a bridge has published to a subject that begins so. Returns what follows.
async fn until_published(server: &NatsServer, begins: &str) -> String {
    until(begins, async || {
        published(server).iter().find_map(|subject| subject.strip_prefix(begins)).map(str::to_owned)
    })
    .await
}

/// Asks JetStream something, as the bridge's user.
async fn ask(client: &Client, verb: &str, what: &str, payload: &Value) -> Value {
    let reply = client.request(format!("$JS.API.{verb}.{what}"), payload.to_string().into()).await;
    let reply: Value = serde_json::from_slice(&reply.unwrap().payload).unwrap();
    assert_eq!(reply["error"], Value::Null, "{verb} {what}: {reply}");
    reply
}

/// Changes a stream.
async fn change(client: &async_nats::Client, stream: &str, change: impl Fn(&mut Config)) {
    let config = ask(client, "STREAM.INFO", stream, &json!({})).await["config"].take();
    let mut config = serde_json::from_value(config).unwrap();
    change(&mut config);
    ask(client, "STREAM.UPDATE", stream, &serde_json::to_value(config).unwrap()).await;
}

#[tokio::test]
async fn each_of_these_rights_is_used() {
    let server = server(&permissions()).await;
    let a = replica(&server).await;
    let consumer = format!("$JS.API.CONSUMER.CREATE.{DECISIONS}.");
    let consumer = until_published(&server, &consumer).await;
    // Somebody changes the streams, so that they are not fit.
    let somebody = client(&server, "bridge").await;
    for stream in [CALLS, DECISIONS] {
        change(&somebody, stream, |config| config.max_messages_per_subject = 5).await;
    }
    // Somebody takes away what a replica follows the others by.
    let consumer = format!("{DECISIONS}.{consumer}");
    ask(&somebody, "CONSUMER.DELETE", &consumer, &json!({})).await;
    let b = replica(&server).await;
    let _worker = worker(&server).await;
    until_published(&server, &format!("$JS.API.STREAM.UPDATE.{DECISIONS}")).await;
    // Once it is mended, nothing fits into it, so that the replica looks what came first.
    change(&somebody, DECISIONS, |config| config.max_message_size = 10).await;
    assert_is_decided(&post(&b, "Ada").await);

    for right in granted("bridge", "publish") {
        let rights = json!({"data": {"permissions": {"publish": {"allow": [right]}}}});
        let rights = Rights::parse(rights.to_string().as_bytes()).unwrap();
        until(&right, async || {
            published(&server).into_iter().find(|s| rights.has(&Right::Publish(s.clone())))
        })
        .await;
    }
    let subscribed = said(&server, "connector-bridge", "SUB");
    let [inbox] = &granted("bridge", "subscribe")[..] else { panic!("one is enough") };
    let inbox = inbox.strip_suffix('>').unwrap();
    assert!(subscribed.iter().all(|subject| subject.starts_with(inbox)), "{subscribed:?}");
    for bridge in [&a, &b] {
        assert_is_content(bridge).await;
    }
}
