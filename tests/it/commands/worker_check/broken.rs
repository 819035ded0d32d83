//! Workers that break the contract, each in one way.

use std::{collections::BTreeSet, time::Duration};

use super::worker::{Behave, CONTINUE, Copies, Deed, Got, good};

/// A worker, and where it must fail.
pub(super) struct Broken {
    /// The connector that it works for.
    pub(super) name: &'static str,
    pub(super) copies: Copies,
    pub(super) behave: Behave,
    pub(super) deadline: &'static str,
    pub(super) shows_effects: bool,
    pub(super) breaks: Breaks,
}

/// Where a worker fails.
pub(super) enum Breaks {
    /// In these rows, for these reasons, and nowhere else.
    Rows(&'static [(&'static str, &'static str)]),
    /// In this row and in others, for this reason and no other.
    All { row: &'static str, reason: &'static str },
}

const WORKER: Broken = Broken {
    name: "",
    copies: Copies::One,
    behave: good,
    deadline: "3s",
    shows_effects: false,
    breaks: Breaks::Rows(&[]),
};

const fn everywhere(reason: &'static str) -> Breaks {
    Breaks::All { row: "step.entra.before-create", reason }
}

/// Every reason that stands somewhere in the table.
pub(super) fn expected() -> BTreeSet<&'static str> {
    let reasons = BROKEN.iter().flat_map(|broken| match broken.breaks {
        Breaks::Rows(rows) => rows.iter().map(|(_, reason)| *reason).collect(),
        Breaks::All { reason, .. } => vec![reason],
    });
    reasons.collect()
}

/// Like [`good`], but its decision is `reply`.
fn decides(got: &Got, reply: &str) -> Vec<Deed> {
    let reply = |deed| match matches!(deed, Deed::Reply(_)) {
        true => Deed::Reply(reply.to_owned()),
        false => deed,
    };
    good(got).into_iter().map(reply).collect()
}

/// Like [`good`], but does `deeds` where `is_broken`.
fn unless(got: &Got, is_broken: bool, deeds: &[Deed]) -> Vec<Deed> {
    if is_broken { deeds.to_vec() } else { good(got) }
}

fn go_on() -> Deed {
    Deed::Reply(CONTINUE.to_owned())
}

fn has_locales(got: &Got, part: &str) -> bool {
    got.text("ui_locales").is_some_and(|locales| locales.contains(part))
}

pub(super) const BROKEN: &[Broken] = &[
    Broken {
        name: "no-json",
        behave: |got| decides(got, "<html>"),
        breaks: everywhere("not_json"),
        ..WORKER
    },
    Broken {
        name: "a-list",
        behave: |got| decides(got, r#"["Continue"]"#),
        breaks: everywhere("not_object"),
        ..WORKER
    },
    Broken {
        name: "a-claim-that-is-a-list",
        behave: |got| decides(got, r#"{"action":"Continue","roles":["a"]}"#),
        breaks: everywhere("bad_claim"),
        ..WORKER
    },
    Broken {
        name: "another-word",
        behave: |got| decides(got, r#"{"action":"Allow"}"#),
        breaks: everywhere("unknown_action"),
        ..WORKER
    },
    Broken {
        name: "too-large",
        behave: |got| decides(got, &format!("{CONTINUE}{}", " ".repeat(65_536))),
        breaks: everywhere("too_large"),
        ..WORKER
    },
    Broken {
        name: "an-empty-message",
        behave: |got| decides(got, r#"{"action":"ShowBlockPage","userMessage":""}"#),
        breaks: everywhere("message_blank"),
        ..WORKER
    },
    Broken {
        name: "a-message-that-is-a-number",
        behave: |got| decides(got, r#"{"action":"ShowBlockPage","userMessage":5}"#),
        breaks: everywhere("message_not_text"),
        ..WORKER
    },
    Broken {
        name: "a-novel",
        behave: |got| {
            let message = "x".repeat(2_001);
            decides(got, &format!(r#"{{"action":"ShowBlockPage","userMessage":"{message}"}}"#))
        },
        breaks: everywhere("message_cut"),
        ..WORKER
    },
    Broken {
        name: "slow",
        behave: |got| [vec![Deed::Wait(Duration::from_millis(2_100))], good(got)].concat(),
        deadline: "2s",
        breaks: Breaks::Rows(&[
            ("step.entra.before-create", "late_reply"),
            ("step.entra.before-create", "hangs"),
            ("alive", "not_sent"),
        ]),
        ..WORKER
    },
    Broken {
        name: "silent",
        behave: |_| vec![],
        deadline: "300ms",
        breaks: Breaks::Rows(&[
            ("step.entra.before-create", "silence"),
            ("step.entra.before-create", "hangs"),
            ("alive", "not_sent"),
        ]),
        ..WORKER
    },
    Broken {
        name: "never-late",
        behave: |got| unless(got, got.is_late, &[go_on()]),
        breaks: Breaks::Rows(&[("late", "decided_after_deadline")]),
        ..WORKER
    },
    Broken {
        name: "late-without-a-word",
        behave: |got| unless(got, got.is_late, &[Deed::Effect]),
        shows_effects: true,
        breaks: Breaks::Rows(&[("late", "effect_after_deadline")]),
        ..WORKER
    },
    Broken {
        name: "no-queue-group",
        copies: Copies::TwoWithoutGroup,
        breaks: Breaks::Rows(&[("replies", "several_replies")]),
        ..WORKER
    },
    Broken {
        name: "says-it-twice",
        behave: |got| [good(got), good(got)].concat(),
        breaks: Breaks::Rows(&[("replies", "several_replies")]),
        ..WORKER
    },
    // A stream has this subject too.
    Broken {
        name: "captured",
        breaks: Breaks::All { row: "replies", reason: "jetstream_ack" },
        ..WORKER
    },
    Broken {
        name: "dies-of-a-locale",
        behave: |got| unless(got, has_locales(got, "%41"), &[Deed::Die]),
        breaks: Breaks::Rows(&[
            ("locale.malformed", "silence"),
            ("locale.malformed", "gone"),
            ("alive", "not_sent"),
        ]),
        ..WORKER
    },
    Broken {
        name: "cannot-do-klingon",
        behave: |got| unless(got, has_locales(got, "tlh"), &[Deed::Error("500")]),
        breaks: Breaks::Rows(&[("locale.unknown", "service_error")]),
        ..WORKER
    },
    Broken {
        name: "dies-of-no-json",
        behave: |got| unless(got, got.claims.is_none(), &[Deed::Die]),
        breaks: Breaks::Rows(&[("not-json", "gone"), ("alive", "not_sent")]),
        ..WORKER
    },
    Broken {
        name: "restarts-at-no-json",
        behave: |got| unless(got, got.claims.is_none(), &[Deed::Restart(Duration::from_secs(2))]),
        breaks: Breaks::Rows(&[("not-json", "came_back")]),
        ..WORKER
    },
    Broken {
        name: "one-of-two-dies",
        copies: Copies::Two,
        behave: |got| unless(got, got.claims.is_none(), &[Deed::Die]),
        breaks: Breaks::Rows(&[("discovery", "service_lost")]),
        ..WORKER
    },
    Broken {
        name: "lets-anything-in",
        behave: |got| unless(got, got.claims.is_none(), &[go_on()]),
        breaks: Breaks::Rows(&[("not-json", "decided_without_claims")]),
        ..WORKER
    },
    Broken {
        name: "silent-about-nobody",
        behave: |got| unless(got, got.text("email").is_none() && got.bytes < 5, &[]),
        breaks: Breaks::Rows(&[("claims.none", "silence")]),
        ..WORKER
    },
    Broken {
        name: "chokes",
        behave: |got| unless(got, got.bytes >= 65_536, &[]),
        breaks: Breaks::Rows(&[("attributes.64KiB", "silence")]),
        ..WORKER
    },
    Broken {
        name: "wrong-at-one-step",
        behave: |got| match got.header("Connector-Step") {
            "before-token" => decides(got, r#"{"action":"Continue","groups":[]}"#),
            _ => good(got),
        },
        breaks: Breaks::Rows(&[("step.b2c.before-token", "bad_claim")]),
        ..WORKER
    },
    Broken {
        name: "changes-its-mind",
        behave: |got| match got.attempt {
            1 => good(got),
            _ => decides(got, r#"{"action":"ShowBlockPage","userMessage":"You again."}"#),
        },
        breaks: Breaks::Rows(&[("repeat.3", "other_action")]),
        ..WORKER
    },
    Broken {
        name: "believes-in-attempt-1",
        behave: |got| unless(got, got.attempt > 1 && got.times == 1, &[]),
        breaks: Breaks::Rows(&[("unseen", "silence")]),
        ..WORKER
    },
    Broken {
        name: "does-it-again",
        behave: |got| unless(got, got.attempt > 1 && got.times > 1, &[Deed::Effect, go_on()]),
        shows_effects: true,
        breaks: Breaks::Rows(&[("effects", "effect_repeated")]),
        ..WORKER
    },
    Broken {
        name: "drops-one-of-many",
        behave: |got| {
            let is_one = got.text("email").is_some_and(|email| email.contains("+burst-3@"));
            unless(got, is_one, &[])
        },
        breaks: Breaks::Rows(&[("burst", "silence")]),
        ..WORKER
    },
];

/// Workers that say what must not be printed, each in another place.
pub(super) const CANARIES: &[(&str, Behave)] = &[
    ("continue", |got| {
        decides(got, r#"{"action":"Continue","canary":"canary","userMessage":"canary","x":null}"#)
    }),
    ("block", |got| decides(got, r#"{"action":"ShowBlockPage","userMessage":"canary"}"#)),
    ("invalid", |got| decides(got, r#"{"action":"canary","canary":["canary"]}"#)),
    ("error", |_| vec![Deed::Error("500")]),
];
