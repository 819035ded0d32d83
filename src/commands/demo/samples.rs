//! Sample sign-ups, and what must come of each.

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
