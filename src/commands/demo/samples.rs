//! Sample sign-ups, and what must come of each.

use crate::{domain::connector::ConnectorName, playground};

pub(super) struct Sample {
    pub(super) name: &'static str,
    pub(super) connector: &'static str,
    pub(super) knows_password: bool,
    pub(super) claims: &'static str,
    /// Part of what the person sees.
    pub(super) sees: &'static str,
    /// Whether that is an answer of the contract.
    pub(super) is_answered: bool,
    pub(super) source: &'static str,
}

const ALLOWED: &str = r#"{"email":"ada@example.com","displayName":"  ada   LOVELACE "}"#;

const DECIDED: Sample = Sample {
    name: "",
    connector: "sign-up",
    knows_password: true,
    claims: ALLOWED,
    sees: "",
    is_answered: true,
    source: "worker",
};

pub(super) const SAMPLES: &[Sample] = &[
    Sample {
        name: "The worker allows, tidies the name and adds a claim",
        sees: r#"displayName = "Ada Lovelace" extension_Tier = "standard""#,
        ..DECIDED
    },
    Sample {
        name: "The caller tries the same call once more: the worker is not asked again",
        sees: r#"displayName = "Ada Lovelace" extension_Tier = "standard""#,
        source: "replay",
        ..DECIDED
    },
    Sample {
        name: "Another organisation gets another tier",
        claims: r#"{"email":"grace@gold.example","displayName":"Grace Hopper"}"#,
        sees: r#"extension_Tier = "gold""#,
        ..DECIDED
    },
    Sample {
        name: "The worker blocks",
        claims: r#"{"email":"mallory@blocked.example"}"#,
        sees: "block page: Sign-up is not open to your organisation.",
        ..DECIDED
    },
    Sample {
        name: "The worker finds a mistake in the form",
        claims: r#"{"email":"alan@example.com","postalCode":"1234"}"#,
        sees: "message at the form: Please enter a valid postal code.",
        ..DECIDED
    },
    Sample {
        name: "The person corrects it",
        claims: r#"{"email":"alan@example.com","postalCode":"12349"}"#,
        sees: "goes on",
        ..DECIDED
    },
    Sample {
        name: "The worker is slow",
        claims: r#"{"email":"slow@example.com"}"#,
        sees: "goes on",
        ..DECIDED
    },
    Sample {
        name: "The worker keeps silent: the configured default, before the caller gives up",
        claims: r#"{"email":"silent@example.com","ui_locales":"de-AT"}"#,
        sees: "block page: Wir konnten Ihre Anfrage nicht",
        source: "default",
        ..DECIDED
    },
    Sample {
        name: "The worker talks nonsense",
        claims: r#"{"email":"nonsense@example.com"}"#,
        sees: "block page: We could not check your request.",
        source: "default",
        ..DECIDED
    },
    Sample {
        name: "No worker is there",
        connector: "nobody-listens",
        sees: "block page: We could not check your request.",
        source: "default",
        ..DECIDED
    },
    Sample {
        name: "A required claim is missing: the worker is not asked",
        claims: r#"{"displayName":"Nobody"}"#,
        sees: "message at the form: Please fill in all fields.",
        source: "default",
        ..DECIDED
    },
    Sample {
        name: "The caller does not know the password",
        knows_password: false,
        sees: "HTTP 401",
        is_answered: false,
        source: "none",
        ..DECIDED
    },
];

/// Only for the page: what the printed ones do not show.
const MORE: &[(&str, &str, &str)] = &[
    (
        "sign-up",
        "A claim holds markup: it stays text",
        r#"{"email":"bobby@example.com","displayName":"<img src=x onerror=alert(1)> <b>bobby</b>"}"#,
    ),
    (
        "sign-up",
        "A key stands twice: the bridge refuses to guess",
        r#"{"email":"ada@example.com","email":"mallory@blocked.example"}"#,
    ),
    (
        "prefill",
        "The worker fills in the form",
        r#"{"email":"grace@gold.example","displayName":"  grace   HOPPER ","identities":[{"signInType":"federated","issuer":"google.com","issuerAssignedId":"0123456789"}]}"#,
    ),
    (
        "prefill",
        "The worker blocks before there is a form",
        r#"{"email":"mallory@blocked.example"}"#,
    ),
    (
        "token",
        "The worker adds a claim to the token",
        r#"{"email":"grace@gold.example","objectId":"aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb","step":"PreTokenIssuance"}"#,
    ),
    (
        "token",
        "The worker blocks where no block page exists: no token",
        r#"{"email":"mallory@blocked.example","objectId":"aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb","step":"PreTokenIssuance"}"#,
    ),
    (
        "loyalty",
        "The policy gets a claim",
        r#"{"email":"grace@gold.example","loyaltyNumber":"1234567"}"#,
    ),
    (
        "loyalty",
        "The policy gets a message",
        r#"{"email":"mallory@blocked.example","loyaltyNumber":"7654321"}"#,
    ),
];

/// All that the page offers. What differs only in being sent twice is left to the page.
pub(super) fn for_the_page() -> Vec<playground::Sample> {
    let printed = SAMPLES.iter().filter(|sample| sample.source != "replay");
    let printed = printed.map(|s| (s.connector, s.name, s.claims, s.knows_password));
    let more = MORE.iter().map(|(connector, name, claims)| (*connector, *name, *claims, true));
    let sample = |(connector, name, claims, knows_password)| {
        let connector = ConnectorName::parse(connector)?;
        Some(playground::Sample { connector, name, claims, knows_password })
    };
    printed.chain(more).filter_map(sample).collect()
}
