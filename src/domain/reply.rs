//! What a worker's reply means. Untrusted: whatever it holds, the result is a decision that keeps
//! the caller's contract, or the reason why there is none.

use std::time::Duration;

use bytes::Bytes;

use super::{
    connector::Connector,
    decision::{Action, Decision, MESSAGE_CHARS_MAX, ReturnedClaims, UserMessage},
    json::{JsonFault, Kind, Object},
};

/// The largest reply that is read.
pub const REPLY_BYTES_MAX: usize = 64 * 1024;

/// Members of a decision that are not claims.
const ENVELOPE: [&str; 4] = ["version", "status", "action", "userMessage"];

/// A reply as it came.
#[derive(Clone, Default)]
pub struct Reply {
    /// The body.
    pub payload: Bytes,
    /// Set where the worker says that it failed (NATS services API, ADR-32).
    pub service_error: Option<ServiceError>,
    /// What the worker allows for the fallback cache.
    pub cache_control: CacheControl,
}

/// A worker's failure. Its text may quote claims and is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceError {
    /// The numeric code, where there is one.
    pub code: Option<u32>,
}

/// The reply header `Cache-Control`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheControl {
    /// Keep the decision out of the fallback cache.
    pub no_store: bool,
    /// The greatest age at which the decision may be used.
    pub stale_if_error: Option<Duration>,
}

impl CacheControl {
    /// Reads the header's value. Other directives are ignored; a `stale-if-error` that is not a
    /// number is taken as 0, since the worker wanted a limit.
    pub fn parse(value: &str) -> Self {
        let mut read = Self::default();
        for directive in value.split(',').map(str::trim) {
            let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
            if name.eq_ignore_ascii_case("no-store") {
                read.no_store = true;
            } else if name.eq_ignore_ascii_case("stale-if-error") {
                let seconds = argument.trim_matches('"').parse().unwrap_or(0);
                read.stale_if_error = Some(Duration::from_secs(seconds));
            }
        }
        read
    }
}

impl CacheControl {
    /// What both allow.
    pub fn and(self, other: Self) -> Self {
        let limits = [self.stale_if_error, other.stale_if_error];
        Self {
            no_store: self.no_store || other.no_store,
            stale_if_error: limits.into_iter().flatten().min(),
        }
    }
}

/// A reply that is a decision.
#[derive(Debug)]
pub struct Decided {
    /// The decision.
    pub decision: Decision,
    /// How many claims were dropped because the connector does not list them.
    pub claims_not_listed: u64,
    /// How many claims were dropped because they are null.
    pub claims_null: u64,
    /// Why the person does not see the worker's message as it was written.
    pub message: Option<MessageChange>,
}

/// What becomes of a `userMessage` that is not passed on as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageChange {
    /// There is none, or it is null: the connector's own is shown.
    Missing,
    /// It is empty or only white space: the connector's own is shown.
    Blank,
    /// It is not a string: the connector's own is shown.
    NotText,
    /// It is longer than [`MESSAGE_CHARS_MAX`].
    Cut,
    /// It stands in a Continue, which has none.
    Dropped,
}

/// Why a reply is no decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoDecision {
    /// The worker says that it failed.
    WorkerError(ServiceError),
    /// The reply breaks the contract.
    Invalid(Rejection),
}

/// How a reply breaks the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rejection {
    /// Not JSON, or JSON that parsers read differently.
    NotJson,
    /// JSON, but not an object.
    NotObject,
    /// `action` is missing or unknown.
    UnknownAction,
    /// A claim is an array or an object, or stands twice.
    BadClaim,
    /// A JetStream acknowledgement: a stream captures the connector's subject and answers first.
    JetstreamAck,
    /// Larger than [`REPLY_BYTES_MAX`].
    TooLarge,
}

impl Rejection {
    /// Every rejection.
    pub const ALL: [Self; 6] = [
        Self::NotJson,
        Self::NotObject,
        Self::UnknownAction,
        Self::BadClaim,
        Self::JetstreamAck,
        Self::TooLarge,
    ];

    /// The value of a metric's or log line's label.
    pub fn label(self) -> &'static str {
        match self {
            Rejection::NotJson => "not_json",
            Rejection::NotObject => "not_object",
            Rejection::UnknownAction => "unknown_action",
            Rejection::BadClaim => "bad_claim",
            Rejection::JetstreamAck => "jetstream_ack",
            Rejection::TooLarge => "too_large",
        }
    }
}

/// What `reply` means at `connector`, for a person who asks for the languages `locales`.
pub fn read(
    connector: &Connector,
    locales: Option<&str>,
    reply: &Reply,
) -> Result<Decided, NoDecision> {
    if let Some(error) = reply.service_error {
        return Err(NoDecision::WorkerError(error));
    }
    decision(connector, locales, &reply.payload).map_err(NoDecision::Invalid)
}

fn decision(
    connector: &Connector,
    locales: Option<&str>,
    payload: &[u8],
) -> Result<Decided, Rejection> {
    if payload.len() > REPLY_BYTES_MAX {
        return Err(Rejection::TooLarge);
    }
    let reply = Object::parse(payload).map_err(|fault| match fault {
        JsonFault::NotJson | JsonFault::TooDeep => Rejection::NotJson,
        JsonFault::NotObject => Rejection::NotObject,
        JsonFault::KeyTwice => Rejection::BadClaim,
    })?;
    let action = reply.get("action").and_then(|action| action.as_str());
    let message = |decision: fn(UserMessage) -> Decision| {
        let (own, message) = user_message(&reply);
        let text = own.unwrap_or_else(|| connector.fallback.messages.pick(locales).clone());
        Ok(Decided { decision: decision(text), claims_not_listed: 0, claims_null: 0, message })
    };
    match action.as_deref().and_then(Action::parse) {
        Some(Action::Continue) => returned_claims(connector, &reply),
        Some(Action::ShowBlockPage) => message(Decision::ShowBlockPage),
        Some(Action::ValidationError) => message(Decision::ValidationError),
        None if is_acknowledgement(&reply) => Err(Rejection::JetstreamAck),
        None => Err(Rejection::UnknownAction),
    }
}

/// The worker's message, if it has one that can be shown, and how that differs from what it wrote.
fn user_message(reply: &Object<'_>) -> (Option<UserMessage>, Option<MessageChange>) {
    let written = reply.get("userMessage").filter(|written| !matches!(written.kind(), Kind::Null));
    let Some(written) = written else { return (None, Some(MessageChange::Missing)) };
    let Some(text) = written.as_str() else { return (None, Some(MessageChange::NotText)) };
    let is_cut = text.chars().nth(MESSAGE_CHARS_MAX).is_some();
    match UserMessage::parse(&text) {
        Some(message) => (Some(message), is_cut.then_some(MessageChange::Cut)),
        None => (None, Some(MessageChange::Blank)),
    }
}

/// The claims of a Continue, those that the connector lists.
pub(super) fn returned_claims(
    connector: &Connector,
    reply: &Object<'_>,
) -> Result<Decided, Rejection> {
    let listed = connector.claims.returned.as_ref();
    let mut claims = ReturnedClaims::default();
    let (mut claims_not_listed, mut claims_null) = (0, 0);
    for (name, value) in reply.members().filter(|(name, _)| !ENVELOPE.contains(name)) {
        match value.kind() {
            Kind::Array(_) | Kind::Object(_) => return Err(Rejection::BadClaim),
            Kind::Null => claims_null += 1,
            Kind::Boolean | Kind::Number(_) | Kind::String(_)
                if listed.is_some_and(|listed| !listed.iter().any(|listed| listed == name)) =>
            {
                claims_not_listed += 1;
            }
            Kind::Boolean | Kind::Number(_) | Kind::String(_) => claims.push(name, value.text()),
        }
    }
    let message = reply.get("userMessage").map(|_| MessageChange::Dropped);
    Ok(Decided { decision: Decision::Continue(claims), claims_not_listed, claims_null, message })
}

/// Whether a reply is an acknowledgement of JetStream and no decision.
pub fn is_jetstream_ack(payload: &[u8]) -> bool {
    let reply = Object::parse(payload);
    reply.is_ok_and(|reply| reply.get("action").is_none() && is_acknowledgement(&reply))
}

/// `{"stream":"…","seq":1}`, as JetStream answers a message that it has stored.
fn is_acknowledgement(reply: &Object<'_>) -> bool {
    let is_number = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    reply.get("stream").is_some_and(|stream| stream.as_str().is_some())
        && reply.get("seq").is_some_and(|seq| is_number(seq.text()))
}
