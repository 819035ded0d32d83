//! What the rights leave out.

use async_nats::Client;
use futures_util::{FutureExt, StreamExt};
use serde_json::{Value, json};

use super::{
    super::raw::{Raw, publish},
    CALLS, DECISIONS, SUBJECT, ask, client, permissions, post, replica, server, until_from, worker,
};
use crate::support::real::NatsServer;

/// What somebody tries.
enum Try {
    /// A subscription: a subject, and the queue group if there is one.
    Hear(&'static str),
    /// A publish to a subject.
    Say(&'static str),
}
use Try::{Hear, Say};

/// What a worker must not do.
const TO_WORKERS: [(&str, Try); 43] = [
    ("hear calls outside of its queue group", Hear("connectors.approve-signup.before-create")),
    ("hear calls in another group", Hear("connectors.approve-signup.before-create spies")),
    ("hear calls at another step", Hear("connectors.approve-signup.after-federation workers")),
    ("hear calls at every step", Hear("connectors.approve-signup.* workers")),
    ("hear another connector's calls", Hear("connectors.other.before-create workers")),
    ("hear all calls", Hear("connectors.>")),
    ("hear all calls in its group", Hear("connectors.> workers")),
    ("hear the replies of other workers", Hear("_INBOX_connector_bridge.>")),
    ("hear the replies of other workers in its group", Hear("_INBOX_connector_bridge.> workers")),
    ("hear what others were replied", Hear("_INBOX.>")),
    ("hear what is written to the store", Hear("$KV.>")),
    ("hear what is asked of JetStream", Hear("$JS.>")),
    ("hear everything", Hear(">")),
    ("hear everything in its group", Hear("> workers")),
    ("hear every first token", Hear("*.>")),
    ("hear the system", Hear("$SYS.>")),
    ("hear all that is asked of services", Hear("$SRV.>")),
    ("describe itself under another name", Hear("$SRV.INFO.other")),
    ("describe another one's copy", Hear("$SRV.STATS.other.0123456789abcdef")),
    ("describe others in a group", Hear("$SRV.INFO.* workers")),
    ("call its own colleagues", Say("connectors.approve-signup.before-create")),
    ("call other workers", Say("connectors.other.before-create")),
    (
        "reply to what it was not asked",
        Say("_INBOX_connector_bridge.0123456789abcdef.0000000000000001"),
    ),
    (
        "reply to a question of the store",
        Say("_INBOX_connector_bridge.0123456789abcdef.s0000000000000001"),
    ),
    ("reply to other clients", Say("_INBOX.abcdef")),
    ("ask which workers there are", Say("$SRV.INFO")),
    ("ask how many calls other workers got", Say("$SRV.STATS")),
    (
        "write a record of a call",
        Say("$KV.connector_bridge_calls.0123456789abcdef0123456789abcdef"),
    ),
    (
        "write a cached decision",
        Say("$KV.connector_bridge_decisions.approve-signup.0123456789abcdef"),
    ),
    ("read the record of a call", Say("$JS.API.STREAM.MSG.GET.KV_connector_bridge_calls")),
    ("read a cached decision", Say("$JS.API.STREAM.MSG.GET.KV_connector_bridge_decisions")),
    ("read from a follower", Say("$JS.API.DIRECT.GET.KV_connector_bridge_calls")),
    ("delete one record", Say("$JS.API.STREAM.MSG.DELETE.KV_connector_bridge_calls")),
    ("purge the calls", Say("$JS.API.STREAM.PURGE.KV_connector_bridge_calls")),
    ("purge the decisions", Say("$JS.API.STREAM.PURGE.KV_connector_bridge_decisions")),
    ("delete the calls", Say("$JS.API.STREAM.DELETE.KV_connector_bridge_calls")),
    ("delete the decisions", Say("$JS.API.STREAM.DELETE.KV_connector_bridge_decisions")),
    ("look at the stream of calls", Say("$JS.API.STREAM.INFO.KV_connector_bridge_calls")),
    ("change the stream of calls", Say("$JS.API.STREAM.UPDATE.KV_connector_bridge_calls")),
    ("follow the decisions", Say("$JS.API.CONSUMER.CREATE.KV_connector_bridge_decisions.spy")),
    ("make a stream of all calls", Say("$JS.API.STREAM.CREATE.spy")),
    ("look at its own rights", Say("$SYS.REQ.USER.INFO")),
    ("ask the system", Say("$SYS.REQ.SERVER.PING")),
];

/// What the bridge must not do.
const TO_THE_BRIDGE: [(&str, Try); 27] = [
    ("hear the calls of workers", Hear("connectors.>")),
    ("hear the calls of one connector", Hear("connectors.approve-signup.before-create workers")),
    ("hear what is asked of workers", Hear("$SRV.>")),
    ("hear what others were replied", Hear("_INBOX.>")),
    ("hear what is written to the store", Hear("$KV.>")),
    ("hear everything", Hear(">")),
    ("hear the system", Hear("$SYS.>")),
    ("ask workers for their numbers", Say("$SRV.STATS")),
    ("ask one worker for its numbers", Say("$SRV.STATS.approve-signup")),
    ("say something to workers that is no call", Say("orders.new")),
    ("reply to itself", Say("_INBOX_connector_bridge.0123456789abcdef.0000000000000001")),
    ("write to another bucket", Say("$KV.orders.1")),
    ("write a record that is none of a call", Say("$KV.connector_bridge_calls.a.b")),
    ("read from another stream", Say("$JS.API.STREAM.MSG.GET.ORDERS")),
    ("delete one record", Say("$JS.API.STREAM.MSG.DELETE.KV_connector_bridge_calls")),
    ("purge the calls", Say("$JS.API.STREAM.PURGE.KV_connector_bridge_calls")),
    ("purge the decisions", Say("$JS.API.STREAM.PURGE.KV_connector_bridge_decisions")),
    ("delete the calls", Say("$JS.API.STREAM.DELETE.KV_connector_bridge_calls")),
    ("delete the decisions", Say("$JS.API.STREAM.DELETE.KV_connector_bridge_decisions")),
    ("copy the calls", Say("$JS.API.STREAM.SNAPSHOT.KV_connector_bridge_calls")),
    ("list the streams", Say("$JS.API.STREAM.LIST")),
    ("name the streams", Say("$JS.API.STREAM.NAMES")),
    ("make another stream", Say("$JS.API.STREAM.CREATE.ORDERS")),
    ("follow the calls", Say("$JS.API.CONSUMER.CREATE.KV_connector_bridge_calls.spy")),
    ("list who follows the decisions", Say("$JS.API.CONSUMER.LIST.KV_connector_bridge_decisions")),
    ("look at the account", Say("$JS.API.INFO")),
    ("ask the system", Say("$SYS.REQ.SERVER.PING")),
];

/// Where an answer would come to, and what is said.
const REPLY_TO: &str = "_INBOX_connector_bridge.forged";
const FORGED: &str = r#"{"action":"Continue"}"#;

async fn connect(server: &NatsServer, user: &str) -> Raw {
    Raw::connect(server, &format!(r#""user":"{user}","pass":"secret""#)).await.unwrap()
}

/// What the server says to somebody who publishes here without the right to.
fn not_to(subject: &str) -> Vec<String> {
    vec![format!(r#"-ERR 'Permissions Violation for Publish to "{subject}"'"#)]
}

/// Tries everything, and is refused everything. What it has subscribed to goes on.
async fn try_all(raw: &mut Raw, rows: &[(&str, Try)]) {
    for (at, (what, attempt)) in rows.iter().enumerate() {
        match attempt {
            Hear(subject) => {
                let said = raw.say(&format!("SUB {subject} {at}\r\n")).await;
                let (subject, queue) = subject.split_once(' ').unwrap_or((subject, ""));
                let queue = match queue {
                    "" => String::new(),
                    queue => format!(r#" using queue "{queue}""#),
                };
                let violation = "Permissions Violation for Subscription to";
                assert_eq!(said, [format!(r#"-ERR '{violation} "{subject}"{queue}'"#)], "{what}");
            }
            Say(subject) => {
                let said = raw.say(&publish(subject, REPLY_TO, FORGED)).await;
                assert_eq!(said, not_to(subject), "{what}");
            }
        }
    }
}

/// What a stream is like and holds.
async fn stream(bridge: &Client, stream: &str) -> Value {
    let info = ask(bridge, "STREAM.INFO", stream, &json!({})).await;
    json!([info["created"], info["config"], info["state"]["last_seq"]])
}

async fn decisions(bridge: &Client) -> Value {
    ask(bridge, "STREAM.INFO", DECISIONS, &json!({})).await["state"].take()
}

#[tokio::test]
async fn what_is_left_out_is_refused_and_does_not_happen() {
    let server = server(&permissions()).await;
    let bridge = replica(&server).await;
    let plain = worker(&server).await;
    post(&bridge, "Ada").await;
    bridge.until_metric(r#"store_operations_total{operation="share",result="ok"}"#, 2.0).await;
    bridge.until_metric(r#"store_operations_total{operation="record",result="ok"}"#, 1.0).await;
    // The one whose replies somebody might forge hears all of them.
    let witness = client(&server, "bridge").await;
    let mut replies = witness.subscribe("_INBOX_connector_bridge.>").await.unwrap();
    let before = (stream(&witness, CALLS).await, stream(&witness, DECISIONS).await);
    let decisions_before = decisions(&witness).await;

    let (mut a_worker, mut a_bridge) =
        (connect(&server, "worker").await, connect(&server, "bridge").await);
    try_all(&mut a_worker, &TO_WORKERS).await;
    try_all(&mut a_bridge, &TO_THE_BRIDGE).await;

    assert_eq!(plain.got().len(), 1, "no call but the bridge's own");
    assert_eq!((stream(&witness, CALLS).await, stream(&witness, DECISIONS).await), before);
    assert_eq!(decisions(&witness).await, decisions_before);
    while let Some(reply) = replies.next().now_or_never().flatten() {
        assert!(reply.subject.as_str() != REPLY_TO && reply.payload != FORGED, "{reply:?}");
    }
    assert_eq!(until_from("replay", &replica(&server).await, "Ada").await.status, 200);

    // Nor is anything heard by those who tried, whatever goes over the wires now.
    post(&bridge, "Miss Ada").await;
    assert_eq!(bridge.post("other", "{}").await.source(), "default");
    assert_eq!(plain.got().len(), 2);
    for raw in [&mut a_worker, &mut a_bridge] {
        assert_eq!(raw.say("").await, [""; 0]);
    }
}

#[tokio::test]
async fn who_was_asked_replies_once_and_nobody_else_does() {
    let server = server(&permissions()).await;
    let bridge = replica(&server).await;
    let (mut asked, mut other) =
        (connect(&server, "worker").await, connect(&server, "worker").await);
    let mut witness = connect(&server, "bridge").await;
    assert_eq!(asked.say(&format!("SUB {SUBJECT} workers 1\r\n")).await, [""; 0]);
    assert_eq!(witness.say("SUB _INBOX_connector_bridge.> 1\r\n").await, [""; 0]);
    let decide = async {
        let subject = asked.next_reply_subject().await;
        let reply = |text| {
            let reply = format!(r#"{{"action":"ShowBlockPage","userMessage":"{text}"}}"#);
            publish(&subject, "", &reply)
        };
        assert_eq!(other.say(&reply("Another's.")).await, not_to(&subject));
        assert_eq!(asked.say(&reply("The first.")).await, [""; 0]);
        assert_eq!(asked.say(&reply("The second.")).await, not_to(&subject));
        assert_eq!(other.say(&reply("Another's.")).await, not_to(&subject));
        subject
    };
    let (answer, subject) = tokio::join!(post(&bridge, "Ada"), decide);
    assert_eq!(answer.source(), "worker", "{answer:?}");
    assert!(answer.body.contains("The first."), "{answer:?}");
    let mut replies = witness.say("").await;
    replies.retain(|line| line.starts_with(&format!("MSG {subject} ")));
    assert_eq!(replies.len(), 1, "the bridge heard of one reply only");
}

#[tokio::test]
async fn who_does_not_say_who_they_are_does_not_connect() {
    let server = server(&permissions()).await;
    for who in [
        "",
        r#""user":"bridge""#,
        r#""user":"bridge","pass":"""#,
        r#""user":"bridge","pass":"wrong""#,
        r#""user":"worker","pass":"$WORKER_PASSWORD""#,
        r#""user":"somebody","pass":"secret""#,
        r#""auth_token":"secret""#,
    ] {
        let refused = Raw::connect(&server, who).await.err();
        assert_eq!(refused, Some(vec!["-ERR 'Authorization Violation'".to_owned()]), "{who}");
    }
    connect(&server, "bridge").await;
}

#[tokio::test]
async fn a_worker_can_say_that_it_serves_others_and_cannot_hide_that_nobody_listens_there() {
    let server = server(&permissions()).await;
    let liar = client(&server, "worker").await;
    let mut questions = liar.subscribe("$SRV.INFO").await.unwrap();
    tokio::spawn(async move {
        let lie = r#"{"id":"A","endpoints":[{"subject":"connectors.other.before-create"}]}"#;
        while let Some(question) = questions.next().await {
            liar.publish(question.reply.unwrap(), lie.into()).await.unwrap();
        }
    });
    let bridge = replica(&server).await;
    bridge.until_metric(r#"workers_available{connector="other"}"#, 1.0).await;
    assert_eq!(bridge.post("other", "{}").await.source(), "default");
    // What the alert goes by.
    for (series, count) in [
        (r#"nats_requests_total{connector="other",result="no_responders"}"#, 1.0),
        (r#"nats_requests_total{connector="other",result="ok"}"#, 0.0),
    ] {
        assert_eq!(bridge.metric(series).await, Some(count), "{series}");
    }
    let fallbacks = r#"fallbacks_total{answer="default",connector="other",reason="no_responders"}"#;
    assert_eq!(bridge.metric(fallbacks).await, Some(1.0));
}
