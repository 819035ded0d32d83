//! One request that became a call: everything that deciding it needs, nothing of HTTP.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant, SystemTime},
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
        record::Round,
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
    /// The same for the same claims at this connector.
    pub id: CallId,
    /// Whether the claims name the person. Only then is a second request with the same claims the
    /// same call.
    pub names_person: bool,
    /// Where decisions about it are cached.
    pub cache_keys: Option<CacheKeys>,
    /// The languages that the person asks for.
    pub locales: Option<Arc<str>>,
    /// The request, as traces show it.
    pub span: RequestSpan,
    /// The request, as the playground shows it.
    pub notes: Notes,
    /// Set where a required claim is not filled: no worker is asked.
    pub missing_claim: Option<Outcome>,
    /// The number of the last message that was sent for this request; 0 before there is one.
    attempt: AtomicU32,
    /// The caller's body, byte for byte, as long as it is needed.
    body: Mutex<Option<Bytes>>,
    /// Whether whoever is told of the end of calls looks at bodies.
    tells_body: bool,
    /// Whether another request has the call decided.
    has_joined: AtomicBool,
}

/// What is read of a caller's request.
pub struct Posted {
    /// The body.
    pub body: Bytes,
    /// Whether there is room to keep it while the call is decided.
    pub is_kept: bool,
    /// Whether whoever is told of the end of calls looks at bodies.
    pub tells_body: bool,
}

impl Call {
    /// Reads the caller's body.
    pub fn read(
        lane: Arc<Lane>,
        arrived: Instant,
        Posted { body, is_kept, tells_body }: Posted,
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
        let locales = ui_locales(&claims).map(Arc::from);
        let missing_claim = fallback::missing_claim(connector, &claims);
        let body = Mutex::new(is_kept.then_some(body));
        Ok(Self {
            lane,
            arrived,
            id,
            names_person,
            cache_keys,
            locales,
            span,
            notes,
            missing_claim,
            attempt: AtomicU32::new(0),
            body,
            tells_body,
            has_joined: AtomicBool::new(false),
        })
    }

    /// The caller's body, byte for byte. None where there was no room to keep it, and where another
    /// request has the call decided.
    pub fn body(&self) -> Option<Bytes> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Another request has the call decided: the body is not needed, unless it is told of, and the
    /// end of the call is of use to nobody but the caller.
    pub fn joined(&self) {
        self.has_joined.store(true, Ordering::Relaxed);
        if !self.tells_body {
            self.body.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
    }

    /// Whether the call has to go on when its caller has hung up.
    pub fn outlives_its_caller(&self) -> bool {
        !self.has_joined.load(Ordering::Relaxed)
    }

    /// Counts what the request was found to be.
    pub fn found(&self, result: CallResult) {
        self.lane.metrics.call(result);
        self.span.found(result);
        self.notes.found(result);
    }

    /// The message with this number was sent.
    pub fn sent(&self, attempt: u32) {
        self.attempt.store(attempt, Ordering::Relaxed);
    }

    /// The number of the last message that was sent for this request, if it sent one.
    pub fn attempt(&self) -> Option<u32> {
        Some(self.attempt.load(Ordering::Relaxed)).filter(|attempt| *attempt > 0)
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

/// The end of a request that became a call: what is counted and logged of it, and told to whoever
/// watches.
pub struct Finished<'a> {
    /// The request.
    pub call: &'a Call,
    /// What it gets.
    pub outcome: &'a Outcome,
    /// The round of the call that ended so. None where nobody shares this outcome: the claims name
    /// no person, no worker was to be asked, or the request stopped waiting for another.
    pub round: Option<Round>,
    /// From the request's first byte to its answer, which goes to the socket after this.
    pub taken: Duration,
    /// When that was.
    pub at: SystemTime,
}

/// Is told of the end of every request that became a call, on the thread that answers it and
/// before the answer goes out: it takes what it needs and waits for nothing.
pub type Watcher = Box<dyn Fn(&Finished<'_>) + Send + Sync>;
