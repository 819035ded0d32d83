//! Histories made by hand, good and bad: the checker is able to fail.

use super::*;

const CLAIMS: &[u8] = br#"{"email":"a@example.com"}"#;
const MADE: &str = r#"{"action":"Continue","n":1.50}"#;
const OTHER: &str = r#"{"action":"Continue","n":2.50}"#;
const GOOD: &str = r#"{"version":"1.0.0","action":"Continue","n":1.50}"#;
const OTHER_GOOD: &str = r#"{"version":"1.0.0","action":"Continue","n":2.50}"#;
const DEFAULT: &str = r#"{"version":"1.0.0","action":"ShowBlockPage","userMessage":"No."}"#;

fn rules(memory: Memory) -> Rules {
    let protocol = Protocol::named("entra").unwrap();
    let contract = Contract {
        connector: "c",
        protocol,
        step: protocol.step("before-create").unwrap(),
        deadline: ms(2_000),
        default: (200, DEFAULT.to_owned()),
    };
    Rules { contracts: vec![contract], memory }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn id() -> String {
    let claims = Object::parse(CLAIMS).unwrap();
    CallId::of(&HashKey::public(), "c", &claims).to_string()
}

fn answered(life: usize, sent: u64, done: u64, source: &str, body: &str) -> Request {
    let answer = Answer {
        status: 200,
        body: Bytes::copy_from_slice(body.as_bytes()),
        source: source.to_owned(),
        call_id: id(),
        surplus: 0,
    };
    let asked = Asked { connector: "c", claims: Bytes::from_static(CLAIMS) };
    let (sent, done) = (ms(sent), ms(done));
    Request { asked, life: Life(life), attempt: 1, sent, done, end: End::Answered(answer) }
}

fn unanswered(life: usize, sent: u64, done: u64) -> Request {
    let end = End::Unanswered("reset".to_owned());
    Request { end, ..answered(life, sent, done, "", "") }
}

fn message(life: usize, attempt: u32, got: u64, decisions: &[&str]) -> Message {
    Message {
        connector: "c".to_owned(),
        claims: Bytes::from_static(CLAIMS),
        life: Life(life),
        call_id: id(),
        message_id: id(),
        attempt,
        got: ms(got),
        deadline: ms(got + 1_900),
        decisions: decisions.iter().map(|made| (*made).to_owned()).collect(),
    }
}

fn during(what: Disturbed, from: u64, until: u64) -> Disturbance {
    Disturbance { what, from: ms(from), until: ms(until) }
}

/// A call that is decided, and replayed by another process.
fn good() -> Events {
    Events {
        requests: vec![answered(1, 0, 50, "worker", GOOD), answered(2, 100, 110, "replay", GOOD)],
        messages: vec![message(1, 1, 10, &[MADE])],
        disturbances: Vec::new(),
    }
}

/// A good history with one change.
fn but(change: impl FnOnce(&mut Events)) -> Events {
    let mut events = good();
    change(&mut events);
    events
}

/// The same, with the change in the answer of the first request.
fn but_answer(change: impl FnOnce(&mut Answer)) -> Events {
    but(|events| {
        let End::Answered(answer) = &mut events.requests[0].end else { panic!("an answer") };
        change(answer);
    })
}

fn broken(memory: Memory, events: &Events) -> Vec<Promise> {
    let verdict = check(&rules(memory), events);
    let promises: BTreeSet<Promise> = verdict.broken.iter().map(|broken| broken.promise).collect();
    promises.into_iter().collect()
}

#[track_caller]
fn assert_good(memory: Memory, events: &Events) {
    let verdict = check(&rules(memory), events);
    assert_eq!(verdict.broken, []);
}

#[test]
fn a_good_history_breaks_no_promise() {
    assert_good(Memory::Shared, &good());
    let verdict = check(&rules(Memory::Shared), &good());
    assert_eq!((verdict.calls, verdict.answers["worker"], verdict.answers["replay"]), (1, 1, 1));
}

#[test]
#[rustfmt::skip]
fn each_bad_history_breaks_its_promise() {
    let table: [(&str, Events, Promise); 18] = [
        ("no answer", but(|e| e.requests[1] = unanswered(2, 100, 110)), Promise::Answered),
        ("no answer to a call whose processes all died", but(|e| {
            e.requests = vec![unanswered(1, 0, 20), unanswered(2, 30, 40)];
            e.disturbances.push(during(Disturbed::Process(Life(1)), 10, 9_999));
            e.disturbances.push(during(Disturbed::Process(Life(2)), 35, 9_999));
        }), Promise::Answered),
        ("two answers", but_answer(|a| a.surplus = 1), Promise::AnsweredOnce),
        ("a wrong status", but_answer(|a| a.status = 500), Promise::Valid),
        ("no contract", but_answer(|a| a.body = Bytes::from_static(b"{}")), Promise::Valid),
        ("an answer after the deadline", but(|e| e.requests[0].done = ms(3_100)), Promise::InTime),
        ("an answer to nobody", but(|e| e.requests[0].done = ms(20_000)), Promise::BeforeTheCallerLeaves),
        ("a deadline too late", but(|e| e.messages[0].deadline = ms(2_100)), Promise::NoStaleWork),
        ("other claims", but(|e| e.messages[0].claims = Bytes::from_static(b"{}")), Promise::MessageIsTheCall),
        ("no attempt", but(|e| e.messages[0].attempt = 0), Promise::MessageIsTheCall),
        ("another call id in the message", but(|e| e.messages[0].call_id = "x".into()), Promise::SameCallId),
        ("another Nats-Msg-Id", but(|e| e.messages[0].message_id = "x".into()), Promise::SameCallId),
        ("another call id in the answer", but_answer(|a| a.call_id = "x".into()), Promise::SameCallId),
        ("a decision that nobody made", but(|e| e.messages[0].decisions = vec![OTHER.into()]), Promise::DecidedByAWorker),
        ("a default that is replayed", but(|e| e.requests[1] = answered(2, 100, 110, "replay", DEFAULT)), Promise::DecidedByAWorker),
        ("a decision as default", but_answer(|a| a.source = "default".into()), Promise::FallbackIsAFallback),
        ("two decisions", but(|e| {
            e.requests[1] = answered(2, 100, 110, "worker", OTHER_GOOD);
            e.messages.push(message(2, 2, 105, &[OTHER]));
        }), Promise::SameBytes),
        ("asked twice", but(|e| e.messages.push(message(2, 1, 105, &[]))), Promise::AskedOnce),
    ];
    for (name, events, promise) in table {
        let found = broken(Memory::Shared, &events);
        assert!(found.contains(&promise), "{name}: {found:?}");
    }
}

#[test]
fn a_message_after_its_deadline_is_stale_work_unless_the_transport_was_held() {
    let mut events = good();
    events.messages[0].got = ms(5_000);
    events.messages[0].deadline = ms(1_900);
    assert_eq!(broken(Memory::Shared, &events), [Promise::NoStaleWork]);
    events.disturbances = vec![during(Disturbed::Transport, 2_000, 4_999)];
    assert_eq!(broken(Memory::Shared, &events), [Promise::NoStaleWork], "sent after it");
    events.disturbances = vec![during(Disturbed::Transport, 1_000, 4_999)];
    assert_good(Memory::Shared, &events);
    assert_eq!(check(&rules(Memory::Shared), &events).held_back, 1);
}

#[test]
fn a_process_that_was_killed_owes_no_answer_but_the_call_does() {
    let mut events = good();
    events.requests[0] = unanswered(1, 0, 20);
    assert_eq!(broken(Memory::Shared, &events), [Promise::Answered]);
    events.disturbances = vec![during(Disturbed::Process(Life(2)), 10, 9_999)];
    assert_eq!(broken(Memory::Shared, &events), [Promise::Answered], "another process");
    events.disturbances = vec![during(Disturbed::Process(Life(1)), 10, 9_999)];
    assert_good(Memory::Shared, &events);
}

#[test]
fn what_each_process_remembers_by_itself_may_differ_between_them_only() {
    let two = |life| {
        but(|events| {
            events.requests[1] = answered(life, 100, 110, "worker", OTHER_GOOD);
            events.messages.push(message(life, 1, 105, &[OTHER]));
        })
    };
    assert_good(Memory::Process, &two(2));
    assert_eq!(broken(Memory::Process, &two(1)), [Promise::SameBytes, Promise::AskedOnce]);
}

#[test]
fn while_the_store_is_ill_a_call_may_be_asked_and_decided_twice() {
    let mut events = but(|events| {
        events.requests[1] = answered(2, 100, 110, "worker", OTHER_GOOD);
        events.messages.push(message(2, 1, 105, &[OTHER]));
    });
    assert_eq!(broken(Memory::Shared, &events), [Promise::SameBytes, Promise::AskedOnce]);
    events.disturbances = vec![during(Disturbed::Store, 111, 9_999)];
    assert_eq!(broken(Memory::Shared, &events), [Promise::SameBytes, Promise::AskedOnce]);
    events.disturbances = vec![during(Disturbed::Store, 90, 9_999)];
    assert_good(Memory::Shared, &events);
}

#[test]
fn a_form_that_a_worker_found_fault_with_is_decided_anew() {
    let made = r#"{"action":"ValidationError","userMessage":"Again"}"#;
    let body = |text: &str| {
        format!(
            r#"{{"version":"1.0.0","status":400,"action":"ValidationError","userMessage":"{text}"}}"#
        )
    };
    let mut events = good();
    for (request, text) in events.requests.iter_mut().zip(["Again", "Still"]) {
        *request = answered(1, 0, 50, "worker", &body(text));
        let End::Answered(answer) = &mut request.end else { panic!("an answer") };
        answer.status = 400;
    }
    let still = made.replace("Again", "Still");
    events.messages = vec![message(1, 1, 10, &[made]), message(1, 1, 20, &[&still])];
    assert_good(Memory::Shared, &events);
    events.messages[1].decisions.clear();
    assert_eq!(broken(Memory::Shared, &events), [Promise::DecidedByAWorker]);
}

#[test]
fn a_cached_decision_is_one_that_a_worker_made() {
    let cached = |body| but(|events| events.requests[1] = answered(2, 100, 110, "cache", body));
    assert_good(Memory::Shared, &cached(GOOD));
    let found = broken(Memory::Shared, &cached(OTHER_GOOD));
    assert_eq!(found, [Promise::FallbackIsAFallback]);
}

/// A call whose process is killed, and its retry.
fn retried(source: &str, body: &str, until: Duration) -> Retries {
    let mut events = but(|e| {
        e.requests = vec![unanswered(1, 0, 50), answered(2, 650, 900, source, body)];
        e.messages = vec![message(1, 1, 10, &[MADE])];
        e.disturbances = vec![during(Disturbed::Process(Life(1)), 40, 0)];
    });
    events.disturbances[0].until = until;
    check(&rules(Memory::Process), &events).retries_after_kills
}

#[test]
fn a_retry_after_a_kill_counts_as_decided_only_with_a_decision() {
    let (all, slowest) = (1, ms(250));
    let decided = Retries { all, decided: 1, slowest };
    assert_eq!(retried("worker", GOOD, Duration::MAX), decided);
    assert_eq!(retried("replay", GOOD, Duration::MAX), decided);
    let left = Retries { all, decided: 0, slowest: Duration::ZERO };
    assert_eq!(retried("default", DEFAULT, Duration::MAX), left);
    // Only paused.
    assert_eq!(retried("worker", GOOD, ms(1_000)), Retries::default());
    // No worker decides such a call.
    let mut events =
        but(|e| e.requests = vec![unanswered(1, 0, 50), answered(2, 650, 900, "default", DEFAULT)]);
    events.messages[0].decisions.clear();
    events.disturbances = vec![during(Disturbed::Process(Life(1)), 40, 0)];
    events.disturbances[0].until = Duration::MAX;
    assert_eq!(check(&rules(Memory::Process), &events).retries_after_kills, Retries::default());
}
