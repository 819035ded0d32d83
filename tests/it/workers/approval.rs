//! `examples/workers/approval-python`: whatever comes, one effect per call id.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use async_nats::{Client, HeaderMap, Message};
use futures_util::{StreamExt, future::join_all};

use crate::support::{
    process::{Program, example, python, run, sql},
    real::{Answer, Bridge, Folder, NatsServer, SOON, round_trip, until},
};

const SUBJECT: &str = "connectors.approve-signup.before-create";
const CLAIMS: &str = r#"{"email":"ada@example.com"}"#;
const WAITING: &str = r#""action":"ShowBlockPage","userMessage":"Your request is waiting"#;

/// How one copy of the worker is run.
enum Copy {
    AsItIs,
    /// Dies by SIGKILL instead of sending its first reply.
    DiesBeforeItsReply,
}

const DIES: &str = "import os, signal, sys, runpy
sys.path.insert(0, os.path.dirname(sys.argv[1]))
from nats.micro.request import Request
Request.respond = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
runpy.run_path(sys.argv[1], run_name='__main__')";

/// A nats-server, the copies of the worker, and their database.
struct Workers {
    server: NatsServer,
    client: Client,
    copies: Vec<Program>,
    folder: Folder,
}

impl Workers {
    async fn start<const N: usize>(copies: [Copy; N]) -> Self {
        let server = NatsServer::start().await;
        let client = server.client().await;
        let mut workers = Self { server, client, copies: Vec::new(), folder: Folder::new() };
        for copy in copies {
            workers.add(copy);
        }
        workers.until_listening(N).await;
        workers
    }

    fn add(&mut self, copy: Copy) {
        let mut command = python();
        match copy {
            Copy::AsItIs => {}
            Copy::DiesBeforeItsReply => {
                command.args(["-c", DIES]);
            }
        }
        command
            .arg(example("approval-python/worker.py"))
            .env("NATS_URL", self.server.url())
            .env("DATABASE", self.database());
        self.copies.push(Program::spawn(command));
    }

    fn database(&self) -> PathBuf {
        self.folder.0.join("requests.db")
    }

    async fn until_listening(&self, count: usize) {
        until("the workers listen", async || {
            for copy in &self.copies {
                assert!(copy.is_running(), "{}", copy.err());
            }
            (self.asked().await.len() == count).then_some(())
        })
        .await;
    }

    /// How many messages each copy that listens has got.
    async fn asked(&self) -> Vec<u64> {
        let inbox = self.client.new_inbox();
        let mut replies = self.client.subscribe(inbox.clone()).await.unwrap();
        let question = "$SRV.STATS.approval";
        self.client.publish_with_reply(question, inbox, "".into()).await.unwrap();
        let mut asked = Vec::new();
        let moment = Duration::from_millis(200);
        while let Ok(Some(reply)) = tokio::time::timeout(moment, replies.next()).await {
            let stats = serde_json::from_slice::<serde_json::Value>(&reply.payload);
            // Without workers the server says so, with an empty message.
            let Ok(stats) = stats else { break };
            asked.extend(stats["endpoints"][0]["num_requests"].as_u64());
        }
        asked
    }

    /// Sends a message as the bridge does, and hears the decision.
    async fn ask(&self, call_id: &str, attempt: u32) -> String {
        let reply = self.client.request_with_headers(
            SUBJECT,
            headers(call_id, attempt, SystemTime::now() + SOON),
            claims_of(call_id).into(),
        );
        decision(&reply.await.unwrap())
    }

    /// Runs a statement at the database and returns its rows as JSON.
    fn sql(&self, statement: &str) -> String {
        sql(&self.database(), statement)
    }

    /// How many effects there are, and for how many calls.
    #[track_caller]
    fn assert_one_effect_for_each_of(&self, calls: usize) {
        let effects = self.sql("SELECT count(*), count(DISTINCT call_id) FROM requests");
        assert_eq!(effects, format!("[[{calls}, {calls}]]"));
    }

    /// From now on who decides anew decides otherwise, and nothing tells that somebody has settled
    /// the request meanwhile.
    fn approve_unnoticed(&self) {
        self.sql("UPDATE requests SET status = 'approved'");
    }

    /// Refuses a request as people do.
    #[track_caller]
    fn refuse(&self, email: &str) {
        let mut command = python();
        command.arg(example("approval-python/approvals.py")).args(["refuse", email]);
        let output = command.env("DATABASE", self.database()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// A replica of the bridge, which remembers for itself.
    async fn bridge(&self) -> Bridge {
        let connector = "  approve-signup: {protocol: entra, step: before-create, auth: none, \
                         deadline: 2s, claims: {require: [email]}}\n";
        Bridge::start(&self.server, connector).await.connected().await
    }
}

/// Claims of a person for each call, since one person has one request.
fn claims_of(call_id: &str) -> String {
    format!(r#"{{"email":"{call_id}@example.com"}}"#)
}

fn headers(call_id: &str, attempt: u32, deadline: SystemTime) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("Connector-Step", "before-create");
    headers.insert("Connector-Call-Id", call_id);
    headers.insert("Connector-Attempt", attempt.to_string());
    let deadline = humantime::format_rfc3339_millis(deadline).to_string();
    headers.insert("Connector-Deadline", deadline);
    headers
}

/// The text of a reply that is a decision.
#[track_caller]
fn decision(reply: &Message) -> String {
    assert!(reply.headers.is_none(), "{:?}", reply.headers);
    String::from_utf8(reply.payload.to_vec()).unwrap().replace("\": ", "\":").replace(", ", ",")
}

async fn post(bridge: &Bridge) -> Answer {
    bridge.post("approve-signup", CLAIMS).await
}

#[tokio::test]
async fn many_messages_at_once_at_two_copies_have_one_effect_per_call_id_and_one_decision() {
    let workers = Workers::start([Copy::AsItIs, Copy::AsItIs]).await;
    let calls: Vec<_> = (0..25).map(|call| format!("{call:032x}")).collect();
    let messages = (0..12).flat_map(|round| calls.iter().map(move |call| (call, round % 3 + 1)));
    let decisions = join_all(messages.map(|(call, attempt)| workers.ask(call, attempt))).await;
    assert!(decisions.iter().all(|decision| decision.contains(WAITING)), "{decisions:?}");
    workers.assert_one_effect_for_each_of(25);
    let asked = workers.asked().await;
    assert_eq!(asked.iter().sum::<u64>(), 300);
    assert!(asked.iter().all(|count| *count > 0), "both take part: {asked:?}");
}

#[tokio::test]
async fn attempt_1_decides_anew_and_attempt_2_gets_the_stored_decision_with_one_effect() {
    let workers = Workers::start([Copy::AsItIs, Copy::AsItIs]).await;
    let first = workers.ask("a", 1).await;
    assert!(first.contains(WAITING), "{first}");
    workers.approve_unnoticed();
    assert_eq!(workers.ask("a", 2).await, first);
    let anew = workers.ask("a", 1).await;
    assert_eq!(anew, r#"{"action":"Continue"}"#);
    assert_eq!(workers.ask("a", 3).await, anew);
    workers.refuse("a@example.com");
    let refused = workers.ask("a", 2).await;
    assert!(refused.contains("declined"), "settled since: {refused}");
    workers.assert_one_effect_for_each_of(1);
}

#[tokio::test]
async fn attempt_2_of_a_call_that_never_arrived_is_decided() {
    let workers = Workers::start([Copy::AsItIs]).await;
    let decision = workers.ask("a", 2).await;
    assert!(decision.contains(WAITING), "{decision}");
    workers.assert_one_effect_for_each_of(1);
}

#[tokio::test]
async fn after_the_deadline_nothing_is_started_but_a_stored_decision_is_sent() {
    let workers = Workers::start([Copy::AsItIs]).await;
    let over = SystemTime::now() - Duration::from_millis(1);
    let inbox = workers.client.new_inbox();
    let mut replies = workers.client.subscribe(format!("{inbox}.*")).await.unwrap();
    let send = async |to: &str, call_id: &str, attempt, deadline| {
        let (reply, headers) = (format!("{inbox}.{to}"), headers(call_id, attempt, deadline));
        let client = &workers.client;
        client
            .publish_with_reply_and_headers(SUBJECT, reply, headers, claims_of(call_id).into())
            .await
            .unwrap();
    };
    send("late-1", "late", 1, over).await;
    send("late-2", "late", 2, over).await;
    send("in-time", "decided", 1, SystemTime::now() + SOON).await;
    send("stored", "decided", 2, over).await;
    // One copy decides one call after the other, so silence is over when the next one is heard.
    for expected in ["in-time", "stored"] {
        let reply = tokio::time::timeout(SOON, replies.next()).await.unwrap().unwrap();
        assert_eq!(reply.subject.as_str(), format!("{inbox}.{expected}"));
        assert!(decision(&reply).contains(WAITING));
    }
    assert_eq!(workers.sql("SELECT call_id FROM requests"), r#"[["decided"]]"#);
    assert_eq!(workers.sql("SELECT call_id FROM decisions"), r#"[["decided"]]"#);
}

#[tokio::test]
async fn claims_that_name_nobody_have_no_effect_and_an_error_that_quotes_nothing() {
    let workers = Workers::start([Copy::AsItIs]).await;
    for claims in [r#"{"city":"Ulm"}"#, r#"{"email":""}"#, "[]", "no JSON"] {
        let headers = headers("a", 1, SystemTime::now() + SOON);
        let reply = workers.client.request_with_headers(SUBJECT, headers, claims.into());
        let headers = reply.await.unwrap().headers.unwrap();
        assert_eq!(headers.get("Nats-Service-Error-Code").unwrap().as_str(), "500");
        assert_eq!(headers.get("Nats-Service-Error").unwrap().as_str(), "cannot decide");
    }
    workers.assert_one_effect_for_each_of(0);
}

#[tokio::test]
async fn two_replicas_that_know_nothing_of_each_other_cause_one_effect() {
    let workers = Workers::start([Copy::AsItIs, Copy::AsItIs]).await;
    let replicas = [workers.bridge().await, workers.bridge().await];
    let available = r#"workers_available{connector="approve-signup"}"#;
    for replica in &replicas {
        replica.until_metric(available, 2.0).await;
    }
    let answers = join_all(replicas.iter().map(post)).await;
    for answer in &answers {
        assert_eq!((answer.status, answer.source()), (200, "worker"), "{answer:?}");
        assert_eq!(answer.body, answers[0].body);
        assert_eq!(answer.header("connector-call-id"), answers[0].header("connector-call-id"));
    }
    assert_eq!(workers.asked().await.iter().sum::<u64>(), 2);
    workers.assert_one_effect_for_each_of(1);
}

#[tokio::test]
async fn a_copy_that_dies_between_effect_and_reply_leaves_its_decision_to_the_other() {
    let mut workers = Workers::start([Copy::DiesBeforeItsReply]).await;
    let bridge = workers.bridge().await;
    let answer = post(&bridge).await;
    assert_eq!((answer.status, answer.source()), (200, "default"), "{answer:?}");
    let ended = workers.copies.remove(0).ended().await;
    assert_eq!(ended.code, None, "killed: {}", ended.err);
    workers.assert_one_effect_for_each_of(1);

    workers.approve_unnoticed();
    workers.add(Copy::AsItIs);
    workers.until_listening(1).await;
    let retry = post(&bridge).await;
    assert_eq!((retry.status, retry.source()), (200, "worker"), "{retry:?}");
    assert!(retry.body.contains(WAITING), "the stored decision: {retry:?}");
    workers.assert_one_effect_for_each_of(1);

    let elsewhere = post(&workers.bridge().await).await;
    assert_eq!((elsewhere.status, elsewhere.source()), (200, "worker"), "{elsewhere:?}");
    assert!(elsewhere.body.contains("Continue"), "attempt 1, decided anew: {elsewhere:?}");
    workers.assert_one_effect_for_each_of(1);
}

#[tokio::test]
async fn a_copy_that_is_told_to_stop_decides_what_it_has_and_exits_with_0() {
    let mut workers = Workers::start([Copy::AsItIs]).await;
    let inbox = workers.client.new_inbox();
    let mut replies = workers.client.subscribe(inbox.clone()).await.unwrap();
    let copy = workers.copies.remove(0);
    copy.signal("STOP");
    // Together more than the worker takes from its socket at once.
    let note = "x".repeat(8_192);
    for call in 0..200 {
        let claims = format!(r#"{{"email":"{call}@example.com","note":"{note}"}}"#);
        let headers = headers(&format!("{call}"), 1, SystemTime::now() + SOON);
        let client = &workers.client;
        client
            .publish_with_reply_and_headers(SUBJECT, inbox.clone(), headers, claims.into())
            .await
            .unwrap();
    }
    // From here on the server has passed them all on.
    round_trip(&workers.client).await;
    copy.signal("TERM");
    copy.signal("CONT");
    for _ in 0..200 {
        let reply = tokio::time::timeout(SOON, replies.next()).await.unwrap().unwrap();
        assert!(decision(&reply).contains(WAITING));
    }
    let ended = copy.ended().await;
    assert_eq!((ended.code, &*ended.err), (Some(0), ""), "{ended:?}");
    workers.assert_one_effect_for_each_of(200);
}

#[tokio::test]
async fn it_passes_a_check_from_outside() {
    let workers = Workers::start([Copy::AsItIs, Copy::AsItIs]).await;
    let url = workers.server.url();
    let ended = run(&["worker-check", SUBJECT, "--server", &url, "--burst", "20"]).await;
    assert_eq!((ended.code, &*ended.err), (Some(0), ""), "{}", ended.out);
    assert!(ended.out.contains("services with an endpoint on the subject: 2"), "{}", ended.out);
}
