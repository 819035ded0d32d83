//! Holds what happened against what is promised. Pure: the same events, the same verdict.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::Duration,
};

use bytes::Bytes;
use connector_bridge::domain::{
    call_id::{CallId, HashKey},
    decision::{Decision, UserMessage},
    json::Object,
    protocol::{Expresses, Protocol, Step},
};

use crate::history::{Answer, Asked, Disturbance, Disturbed, End, Events, Life, Message, Request};

/// What a busy machine may add between the bridge and the caller, or the bridge and a worker.
pub(crate) const SLACK: Duration = Duration::from_secs(1);

/// What two clocks of one machine may differ by.
pub(crate) const CLOCKS: Duration = Duration::from_millis(5);

/// What a connector promises.
#[derive(Clone, Debug)]
pub(crate) struct Contract {
    pub(crate) connector: &'static str,
    pub(crate) protocol: &'static Protocol,
    pub(crate) step: &'static Step,
    pub(crate) deadline: Duration,
    /// Status and body of its default.
    pub(crate) default: (u16, String),
}

/// How far a decision is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    /// In each process.
    Process,
    /// In all that share a store.
    Shared,
}

/// What the events are held against.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) contracts: Vec<Contract>,
    pub(crate) memory: Memory,
}

/// A broken promise, in words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Broken {
    pub(crate) promise: Promise,
    pub(crate) how: String,
}

/// What every call can rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Promise {
    /// Each request of a process that lives gets an answer, and each call gets one at all.
    Answered,
    /// Not two.
    AnsweredOnce,
    /// Valid in its caller's contract.
    Valid,
    /// Within its deadline.
    InTime,
    /// Before its caller stops waiting.
    BeforeTheCallerLeaves,
    /// No worker gets a call after its deadline; no deadline is later than the connector's.
    NoStaleWork,
    /// The body byte for byte, the headers as documented.
    MessageIsTheCall,
    /// The same claims, the same call id, everywhere.
    SameCallId,
    /// Source worker or replay: a worker made this decision for this call.
    DecidedByAWorker,
    /// Source default or cache: the connector's default, or what a worker once decided.
    FallbackIsAFallback,
    /// A decided call has the same bytes for whoever asks.
    SameBytes,
    /// At most one message asks for a new decision.
    AskedOnce,
}

/// What was looked at, and what was wrong.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) calls: usize,
    /// Calls with more than one request during which the store was well.
    pub(crate) repeated_in_health: usize,
    pub(crate) answers: BTreeMap<String, usize>,
    /// The longest that an answer took beyond its deadline.
    pub(crate) latest: Duration,
    /// Messages that a disturbed transport held back beyond their deadline.
    pub(crate) held_back: usize,
    /// Messages that came after their deadline otherwise.
    pub(crate) overdue: usize,
    pub(crate) retries_after_kills: Retries,
    pub(crate) broken: Vec<Broken>,
}

/// Retries of calls whose process was killed, where a worker is willing to decide. A retry is a call
/// like any other; how many of them are decided is no promise, but what people notice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Retries {
    pub(crate) all: usize,
    /// With a worker's decision, made for this request or before.
    pub(crate) decided: usize,
    /// What the slowest of these took.
    pub(crate) slowest: Duration,
}

/// What is worded the same for all messages and answers about one call.
struct Call<'a> {
    asked: &'a Asked,
    contract: &'a Contract,
    id: String,
    requests: Vec<&'a Request>,
    messages: Vec<&'a Message>,
}

/// Holds `events` against `rules`.
pub(crate) fn check(rules: &Rules, events: &Events) -> Verdict {
    let mut check = Check {
        rules,
        disturbances: &events.disturbances,
        verdict: Verdict {
            calls: 0,
            repeated_in_health: 0,
            answers: BTreeMap::new(),
            latest: Duration::ZERO,
            held_back: 0,
            overdue: 0,
            retries_after_kills: Retries::default(),
            broken: Vec::new(),
        },
    };
    let calls = check.calls(events);
    check.verdict.calls = calls.len();
    for call in &calls {
        check.call(call);
    }
    check.verdict
}

struct Check<'a> {
    rules: &'a Rules,
    disturbances: &'a [Disturbance],
    verdict: Verdict,
}

impl<'a> Check<'a> {
    fn broken(&mut self, promise: Promise, how: String) {
        self.verdict.broken.push(Broken { promise, how });
    }

    /// Requests and messages by call. The same claims written otherwise are the same call.
    fn calls(&mut self, events: &'a Events) -> Vec<Call<'a>> {
        let mut ids: HashMap<(&str, &Bytes), String> = HashMap::new();
        let mut calls: HashMap<String, Call<'a>> = HashMap::new();
        for request in &events.requests {
            let asked = &request.asked;
            let contract = self.rules.contracts.iter().find(|c| c.connector == asked.connector);
            let contract = contract.expect("a connector of the scenario");
            let id = ids.entry((asked.connector, &asked.claims)).or_insert_with(|| {
                let claims = Object::parse(&asked.claims).expect("claims");
                CallId::of(&HashKey::public(), asked.connector, &claims).to_string()
            });
            let call = calls.entry(id.clone()).or_insert_with(|| {
                let id = id.clone();
                Call { asked, contract, id, requests: Vec::new(), messages: Vec::new() }
            });
            call.requests.push(request);
        }
        for message in &events.messages {
            // Byte for byte what some caller has posted.
            let id = ids.get(&(&*message.connector, &message.claims));
            match id.and_then(|id| calls.get_mut(id)) {
                Some(call) => call.messages.push(message),
                None => self.broken(Promise::MessageIsTheCall, format!("unasked: {message:?}")),
            }
        }
        calls.into_values().collect()
    }

    fn call(&mut self, call: &Call<'a>) {
        if call.requests.iter().all(|request| matches!(request.end, End::Unanswered(_))) {
            self.broken(Promise::Answered, format!("a call: {:?}", call.requests));
        }
        for request in &call.requests {
            match &request.end {
                End::Answered(answer) => self.answer(call, request, answer),
                End::Unanswered(why) => {
                    if !self.is_disturbed(Disturbed::Process(request.life), request) {
                        self.broken(Promise::Answered, format!("{why}: {request:?}"));
                    }
                }
                End::Left => {}
            }
        }
        for message in &call.messages {
            self.message(call, message);
        }
        let in_health = call.requests.len() > 1 && !self.store_was_ill(call);
        self.verdict.repeated_in_health += usize::from(in_health);
        self.same_bytes(call);
        self.asked_once(call);
        self.retry_after_kill(call);
    }

    fn retry_after_kill(&mut self, call: &Call<'a>) {
        let is_lost = |request: &&&Request| {
            // What was only paused or cut off is well again some time.
            let is_killed = |disturbance: &Disturbance| {
                disturbance.what == Disturbed::Process(request.life)
                    && disturbance.until == Duration::MAX
            };
            matches!(request.end, End::Unanswered(_)) && self.disturbances.iter().any(is_killed)
        };
        let Some(lost) = call.requests.iter().find(is_lost) else { return };
        let later = call.requests.iter().filter(|request| request.sent >= lost.done);
        let Some(retry) = later.min_by_key(|request| request.sent) else { return };
        let mut messages = call.messages.iter();
        if !call.messages.is_empty() && messages.all(|message| message.decisions.is_empty()) {
            return;
        }
        let retries = &mut self.verdict.retries_after_kills;
        retries.all += 1;
        if retry.is_answered_with_decision() {
            retries.decided += 1;
            retries.slowest = retries.slowest.max(retry.done - retry.sent);
        }
    }

    fn answer(&mut self, call: &Call<'a>, request: &Request, answer: &Answer) {
        *self.verdict.answers.entry(answer.source.clone()).or_default() += 1;
        if answer.surplus > 0 {
            self.broken(Promise::AnsweredOnce, format!("{request:?}"));
        }
        if answer.call_id != call.id {
            self.broken(Promise::SameCallId, format!("not {}: {request:?}", call.id));
        }
        self.timing(call, request);
        let contract = call.contract;
        match contract.protocol.read(contract.step, answer.status, &answer.body) {
            Err(why) => self.broken(Promise::Valid, format!("{why}: {request:?}")),
            Ok(decision) => self.source(call, request, answer, &decision),
        }
    }

    fn timing(&mut self, call: &Call<'a>, request: &Request) {
        if self.is_disturbed(Disturbed::Process(request.life), request) {
            return;
        }
        let took = request.done.saturating_sub(request.sent);
        let late = took.saturating_sub(call.contract.deadline);
        self.verdict.latest = self.verdict.latest.max(late);
        if late > SLACK {
            self.broken(Promise::InTime, format!("{took:?}: {request:?}"));
        }
        if took >= call.contract.protocol.caller_waits {
            self.broken(Promise::BeforeTheCallerLeaves, format!("{took:?}: {request:?}"));
        }
    }

    fn source(&mut self, call: &Call<'a>, request: &Request, answer: &Answer, decision: &Decision) {
        let (status, body) = &call.contract.default;
        let is_default = (answer.status, &*answer.body) == (*status, body.as_bytes());
        let is_made = || {
            let mut made = call.messages.iter().flat_map(|message| &message.decisions);
            made.any(|made| is_wording_of(made, call.contract, decision))
        };
        let promise = match &*answer.source {
            "worker" | "replay" if is_made() => return,
            "worker" | "replay" => Promise::DecidedByAWorker,
            "default" if is_default => return,
            "cache" if is_made() => return,
            _ => Promise::FallbackIsAFallback,
        };
        self.broken(promise, format!("{:?}: {request:?}", answer.source));
    }

    fn message(&mut self, call: &Call<'a>, message: &Message) {
        if message.call_id != call.id || message.message_id != call.id {
            self.broken(Promise::SameCallId, format!("not {}: {message:?}", call.id));
        }
        // A deadline counts from the request's first byte, which came before the message.
        let latest = message.got + call.contract.deadline + CLOCKS;
        if message.deadline > latest {
            self.broken(Promise::NoStaleWork, format!("a deadline too late: {message:?}"));
        }
        let late = message.got.saturating_sub(message.deadline);
        let is_held = self.disturbances.iter().any(|disturbance| {
            // Also a process that was paused between its last look at the clock and the socket.
            let may_hold = [Disturbed::Transport, Disturbed::Process(message.life)];
            may_hold.contains(&disturbance.what)
                && disturbance.overlaps(message.deadline, message.deadline)
        });
        if late > CLOCKS && is_held {
            self.verdict.held_back += 1;
        } else if late > CLOCKS {
            self.verdict.overdue += 1;
        }
        if late > SLACK && !is_held {
            self.broken(Promise::NoStaleWork, format!("{late:?} too late: {message:?}"));
        }
        if message.attempt == 0 {
            self.broken(Promise::MessageIsTheCall, format!("{message:?}"));
        }
    }

    /// Decided answers by where they are remembered. A ValidationError is asked for anew by whoever
    /// posts the form again.
    fn same_bytes(&mut self, call: &Call<'a>) {
        if call.is_form_error() {
            return;
        }
        let mut decided: BTreeMap<Life, BTreeSet<(u16, &Bytes)>> = BTreeMap::new();
        for request in &call.requests {
            if let End::Answered(answer) = &request.end
                && matches!(&*answer.source, "worker" | "replay")
            {
                let where_remembered = match self.rules.memory {
                    Memory::Process => request.life,
                    Memory::Shared => Life(0),
                };
                let answers = decided.entry(where_remembered).or_default();
                answers.insert((answer.status, &answer.body));
            }
        }
        for answers in decided.values().filter(|answers| answers.len() > 1) {
            if self.rules.memory == Memory::Process || !self.store_was_ill(call) {
                self.broken(Promise::SameBytes, format!("{:?}: {answers:?}", call.asked));
            }
        }
    }

    fn asked_once(&mut self, call: &Call<'a>) {
        if call.is_form_error() {
            return;
        }
        let mut first: Vec<&&Message> =
            call.messages.iter().filter(|message| message.attempt == 1).collect();
        if self.rules.memory == Memory::Process {
            let mut seen = HashSet::new();
            first.retain(|message| !seen.insert(message.life));
            if let Some(again) = first.first() {
                self.broken(Promise::AskedOnce, format!("again: {again:?}"));
            }
        } else if first.len() > 1 && !self.store_was_ill(call) && !self.process_was_ill(call) {
            self.broken(Promise::AskedOnce, format!("{} times: {first:?}", first.len()));
        }
    }

    fn is_disturbed(&self, what: Disturbed, request: &Request) -> bool {
        self.disturbances.iter().any(|disturbance| {
            disturbance.what == what && disturbance.overlaps(request.sent, request.done)
        })
    }

    /// Whether the store was ill at any time from a call's first request to its last answer.
    fn store_was_ill(&self, call: &Call<'a>) -> bool {
        let (from, until) = call.span();
        self.disturbances.iter().any(|disturbance| {
            disturbance.what == Disturbed::Store && disturbance.overlaps(from, until)
        })
    }

    /// Whether a process that had to do with the call was ill meanwhile.
    fn process_was_ill(&self, call: &Call<'a>) -> bool {
        let (from, until) = call.span();
        self.disturbances.iter().any(|disturbance| {
            let Disturbed::Process(life) = disturbance.what else { return false };
            let is_concerned = call.requests.iter().any(|request| request.life == life);
            is_concerned && disturbance.overlaps(from, until)
        })
    }
}

impl Call<'_> {
    fn span(&self) -> (Duration, Duration) {
        let from = self.requests.iter().map(|request| request.sent).min().unwrap_or_default();
        let until = self.requests.iter().map(|request| request.done).max().unwrap_or_default();
        (from, until)
    }

    /// Whether a worker found fault with the form, at a step that can say so.
    fn is_form_error(&self) -> bool {
        let mut made = self.messages.iter().flat_map(|message| &message.decisions);
        self.contract.step.expresses == Expresses::Everything
            && made.any(|made| made.contains("\"ValidationError\""))
    }
}

/// Whether `answered` is what a worker wrote as `made`, or the nearest that the contract has.
fn is_wording_of(made: &str, contract: &Contract, answered: &Decision) -> bool {
    let Ok(made) = Object::parse(made.as_bytes()) else { return false };
    let text = |name: &str| made.get(name).and_then(|value| value.as_str()).unwrap_or_default();
    let is_message = |shown: &UserMessage| shown.as_str() == text("userMessage");
    let has_all = contract.step.expresses == Expresses::Everything;
    // A custom policy says "stop" in one way only.
    let is_one = contract.protocol.name == "b2c-policy";
    match (&*text("action"), answered) {
        ("Continue", Decision::Continue(claims)) => {
            let wanted = made.members().filter(|(name, _)| *name != "action");
            let wanted: Vec<String> =
                wanted.map(|(name, value)| format!("\"{name}\":{}", value.text())).collect();
            claims.members() == wanted.join(",")
        }
        ("ShowBlockPage", Decision::ShowBlockPage(shown)) => is_message(shown),
        ("ShowBlockPage", Decision::ValidationError(shown)) => is_one && is_message(shown),
        ("ValidationError", Decision::ValidationError(shown)) => is_message(shown),
        ("ValidationError", Decision::ShowBlockPage(shown)) => !has_all && is_message(shown),
        _ => false,
    }
}
