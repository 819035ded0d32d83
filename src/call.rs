//! One request that became a call: everything that deciding it needs, nothing of HTTP.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{
    cache::CacheKeys,
    domain::{
        call_id::{CacheKey, CallId, HashKey},
        claims::{name_the_person, ui_locales},
        deadline::Deadline,
        fallback,
        json::{JsonFault, Object},
        outcome::Outcome,
    },
    journal::Notes,
    lane::Lane,
    metrics::{CallResult, MessageResult},
    traces::{MessageSpan, RequestSpan},
};

/// A call.
pub struct Call {
    /// The connector that was called.
    pub lane: Arc<Lane>,
    /// When the first byte of the request came.
    pub arrived: Instant,
    /// The caller's body, byte for byte.
    pub body: Bytes,
    /// The same for the same claims at this connector.
    pub id: CallId,
    /// Whether the claims name the person. Only then is a second request with the same claims the
    /// same call.
    pub names_person: bool,
    /// Where decisions about it are cached.
    pub cache_keys: Option<CacheKeys>,
    /// The languages that the person asks for.
    pub locales: Option<String>,
    /// The request, as traces show it.
    pub span: RequestSpan,
    /// The request, as the playground shows it.
    pub notes: Notes,
    /// Set where a required claim is not filled: no worker is asked.
    pub missing_claim: Option<Outcome>,
}

impl Call {
    /// Reads the caller's body.
    pub fn read(
        lane: Arc<Lane>,
        arrived: Instant,
        body: Bytes,
        key: &HashKey,
        span: RequestSpan,
        notes: Notes,
    ) -> Result<Self, JsonFault> {
        let connector = &lane.connector;
        let claims = Object::parse(&body)?;
        let id = CallId::of(key, connector.name.as_str(), &claims);
        span.became(id, body.len());
        notes.became(id, &claims, body.len());
        let names_person = name_the_person(&claims, &connector.identify_by);
        let cached = connector.fallback.cached.as_ref().filter(|_| names_person);
        let cache_keys = cached.map(|rules| CacheKeys {
            same_call: CacheKey::same_call(id),
            same_values: CacheKey::same_values(key, connector.name.as_str(), &claims, &rules.by),
        });
        let locales = ui_locales(&claims);
        let missing_claim = fallback::missing_claim(connector, &claims);
        Ok(Self {
            lane,
            arrived,
            body,
            id,
            names_person,
            cache_keys,
            locales,
            span,
            notes,
            missing_claim,
        })
    }

    /// Counts what the request was found to be.
    pub fn found(&self, result: CallResult) {
        self.lane.metrics.call(result);
        self.span.found(result);
        self.notes.found(result);
    }

    /// Counts how a message ended: with a reply, `taken` after it was sent; with the worker's own
    /// number where that said that it failed.
    pub fn message_ended(
        &self,
        span: MessageSpan,
        result: MessageResult,
        taken: Option<Duration>,
        code: Option<u32>,
    ) {
        self.lane.metrics.message(result, taken);
        span.ended(result, code);
        self.notes.message_ended(result);
    }

    /// When its decision must be there.
    pub fn deadline(&self) -> Deadline {
        Deadline::of(self.arrived, self.lane.connector.deadline)
    }

    /// Until when a late decision is of use.
    pub fn late_until(&self, window: Duration) -> Instant {
        self.arrived + window
    }
}
