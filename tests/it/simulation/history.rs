//! What happened in one run, as those outside of the bridge saw it. Times are milliseconds since
//! its start. Rounds and owners are numbered as they appear, so that the same seed gives the same
//! history although the bridge draws them at random.

use std::{
    collections::BTreeMap,
    fmt::{self, Display, Write},
    time::Instant,
};

use connector_bridge::{
    clock,
    domain::{
        outcome::{Outcome, Reason, Source},
        record::Round,
        shared::{Delivery, Owner, SharedPhase, SharedRecord},
    },
    wire::{StoreFault, Written},
};

use crate::support::fake_store::WALL_START;

/// What a worker decided, numbered; the number stands in every answer that comes of it.
pub(crate) type Decision = u32;

/// Stands for an answer that no worker has decided.
pub(crate) const NOT_A_DECISION: Decision = Decision::MAX;

/// An answer of the bridge.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) source: Source,
    pub(crate) reason: Option<Reason>,
    /// The worker's decision that it is.
    pub(crate) decision: Option<Decision>,
}

impl Answer {
    pub(crate) fn of(outcome: &Outcome) -> Self {
        let body = String::from_utf8(outcome.answer.body.to_vec()).unwrap();
        let (status, decision) = (outcome.answer.status, decision_in(&body));
        Self { status, body, source: outcome.source, reason: outcome.reason, decision }
    }

    /// Whether it is a ValidationError.
    pub(crate) fn is_about_form(&self) -> bool {
        self.status == 400
    }
}

/// How a decision's number is written into it.
pub(crate) fn mark(decision: Decision) -> String {
    format!("#{decision}#")
}

fn decision_in(body: &str) -> Option<Decision> {
    body.split('#').nth(1)?.parse().ok()
}

/// A record of the store.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kept {
    pub(crate) round: usize,
    pub(crate) unanswered: u32,
    /// By the wall clock that is right.
    pub(crate) ends: i64,
    pub(crate) phase: Phase,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Phase {
    Claimed { process: usize, until: i64 },
    FellBack,
    Decided { decision: Decision, is_about_form: bool, delivery: Delivery, replayed: bool },
}

/// What a worker sent back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Said {
    Decision(Decision),
    Nonsense,
    Failure,
    NobodyListens,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum What {
    /// A request came to a process.
    Posted {
        post: usize,
        person: usize,
        process: usize,
    },
    /// The bridge has its answer.
    Answered {
        post: usize,
        answer: Answer,
    },
    /// The caller has it: its last byte went to a connection that was open.
    Delivered {
        post: usize,
    },
    /// The caller hears nothing of it.
    Lost {
        post: usize,
        why: &'static str,
    },
    /// A message was handed to the bus.
    Sent {
        message: usize,
        post: usize,
        process: usize,
        attempt: u32,
        left: u64,
        reaches: bool,
    },
    /// Something came back for it, to the process that sent it.
    Came {
        message: usize,
        said: Said,
    },
    /// A process asks the store to write.
    Asked {
        process: usize,
        person: usize,
        record: Kept,
    },
    /// What it hears of that.
    Told {
        process: usize,
        person: usize,
        written: Result<bool, StoreFault>,
    },
    /// A write took place.
    Wrote {
        person: usize,
        before: Option<Kept>,
        after: Kept,
    },
    /// A beat of a process has come to the store.
    Beat {
        process: usize,
    },
    /// A process has read the store.
    Read {
        process: usize,
        person: usize,
        record: Result<Option<Kept>, StoreFault>,
    },
    /// Whether a process thinks that the store is worth asking.
    StoreSeems {
        process: usize,
        available: bool,
    },
    /// A process starts in this slot.
    Started {
        process: usize,
        slot: usize,
    },
    Died {
        process: usize,
    },
    Paused {
        process: usize,
    },
    Woke {
        process: usize,
    },
    /// Whether messages get through, and whether the process knows.
    Link {
        process: usize,
        is_up: bool,
        is_noticed: bool,
    },
    /// Whether the store does what it is asked.
    Store {
        is_up: bool,
        how: &'static str,
    },
    StoreForgot,
    Clock {
        process: usize,
        off_by: i64,
    },
    /// What is left when everything should be forgotten.
    Left {
        calls: usize,
        messages: (usize, usize),
        records: usize,
        tasks: usize,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) at: i64,
    pub(crate) what: What,
}

/// Everything that happened in one run.
pub(crate) struct History {
    pub(crate) events: Vec<Event>,
    start: Instant,
    rounds: BTreeMap<u64, usize>,
    owners: BTreeMap<u64, usize>,
}

impl History {
    pub(crate) fn new() -> Self {
        let (rounds, owners) = (BTreeMap::new(), BTreeMap::new());
        Self { events: Vec::new(), start: clock::now(), rounds, owners }
    }

    pub(crate) fn now(&self) -> i64 {
        i64::try_from((clock::now() - self.start).as_millis()).unwrap()
    }

    pub(crate) fn add(&mut self, what: What) {
        let at = self.now();
        self.events.push(Event { at, what });
    }

    /// `process` claims calls by this name.
    pub(crate) fn owner_is(&mut self, owner: Owner, process: usize) {
        self.owners.insert(owner.0, process);
    }

    pub(crate) fn process_of(&self, owner: Owner) -> usize {
        self.owners[&owner.0]
    }

    pub(crate) fn kept(&mut self, record: &SharedRecord) -> Kept {
        let from_start = |micros: u64| {
            (i64::try_from(micros).unwrap() - i64::try_from(WALL_START).unwrap()) / 1_000
        };
        let SharedRecord { round: Round(round), unanswered, ends, phase } = record;
        let next = self.rounds.len();
        let round = *self.rounds.entry(*round).or_insert(next);
        let phase = match phase {
            SharedPhase::Claimed { owner, until, .. } => {
                Phase::Claimed { process: self.owners[&owner.0], until: from_start(until.0) }
            }
            SharedPhase::FellBack(_) => Phase::FellBack,
            SharedPhase::Decided(decided) => {
                let body = String::from_utf8_lossy(&decided.answer.body);
                Phase::Decided {
                    decision: decision_in(&body).unwrap_or(NOT_A_DECISION),
                    is_about_form: decided.is_about_form(),
                    delivery: decided.delivery,
                    replayed: decided.replayed_by.is_some(),
                }
            }
        };
        Kept { round, unanswered: *unanswered, ends: from_start(ends.0), phase }
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for Event { at, what } in &self.events {
            writeln!(text, "{:>10.3} s  {what}", *at as f64 / 1e3).unwrap();
        }
        text
    }
}

/// What [`Written`] means to the checker: whether it was taken.
pub(crate) fn taken(written: &Result<Written, StoreFault>) -> Result<bool, StoreFault> {
    written.map(|written| match written {
        Written::As(_) => true,
        Written::Conflict => false,
    })
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1e3
}

impl Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { round, unanswered, ends, phase } = self;
        write!(f, "round {round}, ")?;
        match phase {
            Phase::Claimed { process, until } => {
                write!(f, "claimed by process {process} until {} s", seconds(*until))?;
            }
            Phase::FellBack => write!(f, "fallback")?,
            Phase::Decided { decision, is_about_form, delivery, replayed } => {
                let form = if *is_about_form { " (ValidationError)" } else { "" };
                let replayed = if *replayed { ", replayed" } else { "" };
                write!(f, "decision {decision}{form}, delivery {delivery:?}{replayed}")?;
            }
        }
        write!(f, "; {unanswered} unanswered, ends {} s", seconds(*ends))
    }
}

impl Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let there = |record: &Option<Kept>| match record {
            Some(record) => format!("[{record}]"),
            None => "nothing".to_owned(),
        };
        match self {
            What::Posted { post, person, process } => {
                write!(f, "post {post}: person {person} to process {process}")
            }
            What::Answered { post, answer } => {
                let Answer { status, source, reason, decision, .. } = answer;
                let decision = decision.map_or("-".to_owned(), |decision| decision.to_string());
                write!(f, "post {post}: answered {status}, {source:?}, decision {decision}")?;
                reason.map_or(Ok(()), |reason| write!(f, ", {reason:?}"))
            }
            What::Delivered { post } => write!(f, "post {post}: delivered"),
            What::Lost { post, why } => write!(f, "post {post}: {why}"),
            What::Sent { message, post, process, attempt, left, reaches } => {
                let lost = if *reaches { "" } else { "; it gets lost" };
                write!(
                    f,
                    "message {message}: sent by process {process} for post {post}, attempt \
                     {attempt}, {left} ms left{lost}"
                )
            }
            What::Came { message, said } => write!(f, "message {message}: {said:?} came"),
            What::Asked { process, person, record } => {
                write!(f, "process {process} asks to write person {person} = [{record}]")
            }
            What::Told { process, person, written } => {
                write!(f, "process {process} hears of its write for person {person}: {written:?}")
            }
            What::Wrote { person, before, after } => {
                write!(f, "store: person {person} = [{after}] in place of {}", there(before))
            }
            What::Beat { process } => write!(f, "store: process {process} beats"),
            What::Read { process, person, record } => {
                write!(f, "process {process} reads person {person} = ")?;
                match record {
                    Ok(record) => write!(f, "{}", there(record)),
                    Err(fault) => write!(f, "{fault:?}"),
                }
            }
            What::StoreSeems { process, available } => {
                write!(f, "process {process} takes the store for available: {available}")
            }
            What::Started { process, slot } => write!(f, "process {process} starts at {slot}"),
            What::Died { process } => write!(f, "process {process} dies"),
            What::Paused { process } => write!(f, "process {process} stands still"),
            What::Woke { process } => write!(f, "process {process} goes on"),
            What::Link { process, is_up, is_noticed } => {
                write!(f, "process {process}: connection up {is_up}, noticed {is_noticed}")
            }
            What::Store { is_up, how } => write!(f, "store: up {is_up} ({how})"),
            What::StoreForgot => write!(f, "store: everything forgotten"),
            What::Clock { process, off_by } => {
                write!(f, "process {process}: wall clock off by {off_by} ms")
            }
            What::Left { calls, messages, records, tasks } => write!(
                f,
                "left: {calls} calls, {messages:?} messages, {records} records, {tasks} tasks"
            ),
        }
    }
}
