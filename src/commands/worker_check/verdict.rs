//! What is said of a worker, in rows of findings.

use std::{fmt, time::Duration};

use crate::domain::reply::Rejection;

/// How good or bad something is, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// As it should be.
    Pass,
    /// Allowed, and worth knowing.
    Note,
    /// Breaks the contract.
    Fail,
}

/// One thing that is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) level: Level,
    /// A word that stays; `ok` where nothing is wrong.
    pub(super) reason: &'static str,
    /// For people. Never holds a claim or a worker's words.
    pub(super) text: String,
}

/// What is said of a case.
pub(super) struct Row {
    /// A name that stays.
    pub(super) id: String,
    /// What was sent, for people.
    pub(super) sent: String,
    /// At least one.
    pub(super) findings: Vec<Finding>,
    pub(super) speed: Option<Speed>,
}

/// How fast the replies were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speed {
    One(Duration),
    /// Half, 99 of 100, and all of them came within these.
    Many {
        p50: Duration,
        p99: Duration,
        max: Duration,
    },
}

impl Row {
    /// The worst of what is said.
    pub(super) fn level(&self) -> Level {
        self.findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Pass)
    }

    /// About all calls together.
    pub(super) fn about_all(id: &str, sent: &str, findings: Vec<Finding>) -> Self {
        Self { id: id.to_owned(), sent: sent.to_owned(), findings, speed: None }
    }
}

pub(super) fn pass(text: impl Into<String>) -> Finding {
    Finding { level: Level::Pass, reason: "ok", text: text.into() }
}

pub(super) fn note(reason: &'static str, text: impl Into<String>) -> Finding {
    Finding { level: Level::Note, reason, text: text.into() }
}

pub(super) fn fail(reason: &'static str, text: impl Into<String>) -> Finding {
    Finding { level: Level::Fail, reason, text: text.into() }
}

/// What is said of a reply that is no decision.
pub(super) fn invalid(rejection: Rejection) -> Finding {
    let text = match rejection {
        Rejection::NotJson => "the reply is no JSON that can be read",
        Rejection::NotObject => "the reply is no JSON object",
        Rejection::UnknownAction => "the reply has none of the three actions",
        Rejection::BadClaim => "a claim is a list or an object, or a key stands twice",
        Rejection::JetstreamAck => "a JetStream stream captures the subject and answers first",
        Rejection::TooLarge => "the reply is larger than 64 KiB",
    };
    fail(rejection.label(), text)
}

/// Milliseconds as people read them: with one decimal below ten.
pub(super) struct Milliseconds(pub(super) Duration);

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_secs_f64() * 1_000.0;
        if ms < 10.0 { write!(f, "{ms:.1} ms") } else { write!(f, "{ms:.0} ms") }
    }
}
