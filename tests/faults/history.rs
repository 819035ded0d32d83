//! What happened in a scenario: what was sent, what workers got and decided, what was answered,
//! and what was broken on purpose meanwhile. Times count from the start of the history.

use std::{
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;

/// One life of one bridge process, from its start to its end. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Life(pub(crate) usize);

/// What makes two requests the same call: the connector and the claims as posted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Asked {
    pub(crate) connector: &'static str,
    pub(crate) claims: Bytes,
}

/// One HTTP request of a caller.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) asked: Asked,
    pub(crate) life: Life,
    /// 1 for a first request, 2 for the caller's retry, more for whoever asks again.
    pub(crate) attempt: u32,
    pub(crate) sent: Duration,
    pub(crate) done: Duration,
    pub(crate) end: End,
}

/// How a request ended.
#[derive(Clone, Debug)]
pub(crate) enum End {
    Answered(Answer),
    /// The connection could not be made, broke, or stayed silent as long as a caller waits.
    Unanswered(String),
    /// The caller left by itself.
    Left,
}

impl Request {
    pub(crate) fn answer(&self) -> Option<&Answer> {
        match &self.end {
            End::Answered(answer) => Some(answer),
            End::Unanswered(_) | End::Left => None,
        }
    }

    /// Whether a worker decided this very request.
    pub(crate) fn is_decided(&self) -> bool {
        self.answer().is_some_and(|answer| answer.source == "worker")
    }

    /// Whether a worker decided this call, now or before.
    pub(crate) fn is_answered_with_decision(&self) -> bool {
        self.answer().is_some_and(|answer| matches!(&*answer.source, "worker" | "replay"))
    }
}

/// What came over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
    pub(crate) source: String,
    pub(crate) call_id: String,
    /// Bytes behind the answer: a second one.
    pub(crate) surplus: usize,
}

/// One message that a worker got.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) connector: String,
    pub(crate) claims: Bytes,
    /// Which process sent it, by its reply subject.
    pub(crate) life: Life,
    pub(crate) call_id: String,
    pub(crate) message_id: String,
    pub(crate) attempt: u32,
    pub(crate) got: Duration,
    pub(crate) deadline: Duration,
    /// Decisions that the worker replied with, as it wrote them.
    pub(crate) decisions: Vec<String>,
}

/// What a scenario broke, and so must not be held against the bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disturbed {
    /// This process was killed, stopped, or cut off from its callers: its requests may stay
    /// without an answer, and the calls it led may reach a worker again.
    Process(Life),
    /// NATS or the line to it held messages back: they may reach a worker late.
    Transport,
    /// The shared store was ill: a call may reach workers more than once.
    Store,
}

/// From when until when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Disturbance {
    pub(crate) what: Disturbed,
    pub(crate) from: Duration,
    pub(crate) until: Duration,
}

impl Disturbance {
    /// Whether it and the time from `from` to `until` have a moment in common.
    pub(crate) fn overlaps(&self, from: Duration, until: Duration) -> bool {
        self.from <= until && from <= self.until
    }
}

/// Everything of one scenario.
#[derive(Clone, Debug, Default)]
pub(crate) struct Events {
    pub(crate) requests: Vec<Request>,
    pub(crate) messages: Vec<Message>,
    pub(crate) disturbances: Vec<Disturbance>,
}

/// Where they are noted.
pub(crate) struct History {
    start: Instant,
    wall_start: SystemTime,
    events: Mutex<Events>,
}

impl History {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), wall_start: SystemTime::now(), events: Mutex::default() }
    }

    /// The time now.
    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// The time of a moment on the clock on the wall; zero if before the start.
    pub(crate) fn at(&self, wall: SystemTime) -> Duration {
        wall.duration_since(self.wall_start).unwrap_or_default()
    }

    pub(crate) fn events(&self) -> MutexGuard<'_, Events> {
        self.events.lock().unwrap()
    }

    pub(crate) fn asked(&self, request: Request) {
        self.events().requests.push(request);
    }

    /// Returns the message's number.
    pub(crate) fn got(&self, message: Message) -> usize {
        let mut events = self.events();
        events.messages.push(message);
        events.messages.len() - 1
    }

    /// The worker is about to reply to a message with this.
    pub(crate) fn decided(&self, message: usize, decision: &str) {
        self.events().messages[message].decisions.push(decision.to_owned());
    }

    /// Disturbs from now on, for ever.
    pub(crate) fn disturb(&self, what: Disturbed) {
        let (from, until) = (self.now(), Duration::MAX);
        self.events().disturbances.push(Disturbance { what, from, until });
    }

    /// What was disturbed is well again, since now.
    pub(crate) fn mend(&self, what: Disturbed) {
        let now = self.now();
        for disturbance in &mut self.events().disturbances {
            if disturbance.what == what && disturbance.until == Duration::MAX {
                disturbance.until = now;
            }
        }
    }

    /// Whether it ever was.
    pub(crate) fn was_disturbed(&self, what: Disturbed) -> bool {
        self.events().disturbances.iter().any(|disturbance| disturbance.what == what)
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> usize {
        self.events().requests.len()
    }

    /// The messages of these claims so far.
    pub(crate) fn messages_of(&self, claims: &[u8]) -> Vec<Message> {
        let events = self.events();
        events.messages.iter().filter(|message| message.claims == claims).cloned().collect()
    }
}
