//! What the bridge needs of the message bus, and of the store that it keeps. `nats.rs` is the
//! real one.

use std::{
    fmt,
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{
    clock,
    domain::{
        call_id::CallId,
        connector::{Connector, Subject},
        sending::Line,
        shared::{Owner, Revision, UnixMicros},
        trace_context::TraceContext,
    },
    inbox::Token,
    metrics::{EventResult, StoreResult},
};

/// The message bus, which also keeps the store.
pub trait Wire: Store {
    /// Whether a message could be sent now, and when the connection was lost.
    fn line(&self) -> Line;

    /// Whether a message could be sent now.
    fn is_connected(&self) -> bool {
        self.line().is_up
    }

    /// Waits until there is a connection.
    fn connected(&self) -> impl Future<Output = ()> + Send;

    /// Hands a message to the connection, if `may_go` still says so when there is nothing left to
    /// wait for or to do. What comes back for `token` goes to [`crate::pipeline::Pipeline::deliver`].
    fn publish(
        &self,
        token: Token,
        message: Message<'_>,
        may_go: impl FnMut() -> bool + Send,
    ) -> impl Future<Output = Result<(), NotSent>> + Send;
}

/// Why a message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSent {
    /// The bus did not take it.
    NotTaken,
    /// It was not to go any more.
    HeldBack,
}

/// A message to the workers.
pub struct Message<'a> {
    /// Name, step, protocol and subject.
    pub connector: &'a Connector,
    /// The same for the same claims at this connector.
    pub call_id: CallId,
    /// 1: decide anew. From 2 on: an earlier message may have reached a worker.
    pub attempt: u32,
    /// Do not start after it.
    pub deadline: Instant,
    /// What a worker needs to join the trace.
    pub trace: &'a TraceContext,
    /// The caller's body, byte for byte.
    pub body: Bytes,
}

/// The header that names the call.
pub const CALL_ID: &str = "Connector-Call-Id";

/// The names of the headers that every message has.
pub const HEADERS: [&str; 10] = [
    "Content-Type",
    "Connector-Name",
    "Connector-Step",
    "Connector-Protocol",
    CALL_ID,
    "Nats-Msg-Id",
    "Connector-Attempt",
    "Connector-Deadline",
    "traceparent",
    "tracestate",
];

impl Message<'_> {
    /// Its headers. All values are made here or come from the configuration; none comes from a
    /// claim.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, String)> {
        let connector = self.connector;
        let values: [String; HEADERS.len()] = [
            "application/json".to_owned(),
            connector.name.as_str().to_owned(),
            connector.step.name.to_owned(),
            connector.protocol.name.to_owned(),
            self.call_id.to_string(),
            self.call_id.to_string(),
            self.attempt.to_string(),
            humantime::format_rfc3339_millis(clock::wall_at(self.deadline)).to_string(),
            self.trace.span.traceparent(),
            self.trace.tracestate(),
        ];
        HEADERS.into_iter().zip(values)
    }
}

/// The most time that one read or write of a store may take. With less, silence says nothing about
/// the store.
pub const OPERATION_TIME_MAX: Duration = Duration::from_millis(100);

/// What the bridge needs of a store. A write names the revision that it replaces.
pub trait Store: Send + Sync + 'static {
    /// Whether it is worth asking.
    fn is_available(&self) -> bool;

    /// Waits until it is worth asking.
    fn available(&self) -> impl Future<Output = ()> + Send;

    /// The wall clock.
    fn wall(&self) -> UnixMicros;

    /// Reads what all others have written, until `end` at the longest.
    fn read(
        &self,
        call: CallId,
        end: Instant,
    ) -> impl Future<Output = Result<Option<Stored>, StoreFault>> + Send;

    /// Writes in place of `revision`, until `end` at the longest. The record may be forgotten
    /// after `life_seconds`.
    fn write(
        &self,
        call: CallId,
        revision: Revision,
        life_seconds: u64,
        record: Vec<u8>,
        end: Instant,
    ) -> impl Future<Output = Result<Written, StoreFault>> + Send;

    /// Writes a beat of `owner` in place of its last one, until `end` at the longest. It may be
    /// forgotten after `life_seconds`.
    fn beat(
        &self,
        owner: Owner,
        life_seconds: u64,
        end: Instant,
    ) -> impl Future<Output = Result<(), StoreFault>> + Send;

    /// Which beat of `owner` is the last, [`Revision::NONE`] where there is none; until `end` at
    /// the longest.
    fn last_beat(
        &self,
        owner: Owner,
        end: Instant,
    ) -> impl Future<Output = Result<Revision, StoreFault>> + Send;
}

/// A record as it lies in the store.
#[derive(Clone)]
pub struct Stored {
    /// What a write has to name.
    pub revision: Revision,
    /// When it was written, by the store's clock.
    pub written: UnixMicros,
    /// Its bytes.
    pub record: Bytes,
}

/// A record that is not sealed holds personal data: how many bytes, never which.
impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stored({:?}, {:?}, {} bytes)", self.revision, self.written, self.record.len())
    }
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It has this revision.
    As(Revision),
    /// Another write came first.
    Conflict,
}

/// Why the store did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreFault {
    /// Nothing came back in time. A write may have been taken.
    Timeout,
    /// There is no connection, or no store at the other end.
    Unavailable,
    /// The store is full.
    Full,
    /// Anything else that it says.
    Error,
}

impl StoreFault {
    /// How an operation that met this fault is counted.
    pub fn result(self) -> StoreResult {
        match self {
            StoreFault::Timeout => StoreResult::Timeout,
            StoreFault::Unavailable => StoreResult::Unavailable,
            StoreFault::Full => StoreResult::Full,
            StoreFault::Error => StoreResult::Error,
        }
    }
}

/// What the bridge needs of the bus to have records of decisions kept.
pub trait EventStream: Wire {
    /// Publishes a record and waits until a stream has it, until `end` at the longest. Publishing it
    /// again under the same id does no harm.
    fn keep(
        &self,
        subject: &Subject,
        id: &str,
        json: Bytes,
        end: Instant,
    ) -> impl Future<Output = Result<Kept, NotKept>> + Send;
}

/// Who keeps a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// The stream, by this publishing.
    Now,
    /// The stream, by an earlier one under the same id.
    Before,
}

/// Why it is not known that a stream has a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotKept {
    /// There is no connection, or it broke.
    Disconnected,
    /// Nobody listens on the subject.
    NoStream,
    /// Nothing came back in time. The stream may have it.
    Unacknowledged,
    /// The stream said no, with this code of JetStream; or who answered is no stream.
    Refused(Option<u64>),
}

impl NotKept {
    /// How a record that met this in the end is counted.
    pub fn result(self) -> EventResult {
        match self {
            NotKept::Disconnected => EventResult::Disconnected,
            NotKept::NoStream => EventResult::NoStream,
            NotKept::Unacknowledged => EventResult::Unacknowledged,
            NotKept::Refused(_) => EventResult::Refused,
        }
    }
}
