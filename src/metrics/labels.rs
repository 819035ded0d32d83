//! The closed sets that label values come from, besides those of the domain.

/// Why a connection or request was turned away before it became a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// Not HTTP, or HTTP that two programs may read differently.
    Malformed,
    /// The head or the request line is too long.
    HeadTooLarge,
    /// The head or the body did not come in time.
    Timeout,
    /// There was no TLS connection to be had.
    TlsHandshake,
    /// More TLS handshakes than there is time for.
    TlsBusy,
    /// The system had no descriptor or memory for one more connection.
    Accept,
    /// More connections than allowed.
    Connections,
    /// To administration or the playground, and another connection needed the place.
    GaveWay,
    /// No such path.
    UnknownPath,
    /// Not POST.
    Method,
    /// Not JSON in UTF-8 by its headers.
    MediaType,
    /// The body is too large.
    TooLarge,
    /// The body is not an object that is read.
    BadJson,
}

impl Rejection {
    pub(super) const ALL: [Self; 13] = [
        Self::Malformed,
        Self::HeadTooLarge,
        Self::Timeout,
        Self::TlsHandshake,
        Self::TlsBusy,
        Self::Accept,
        Self::Connections,
        Self::GaveWay,
        Self::UnknownPath,
        Self::Method,
        Self::MediaType,
        Self::TooLarge,
        Self::BadJson,
    ];

    /// The value of the label.
    pub fn label(self) -> &'static str {
        match self {
            Rejection::Malformed => "malformed",
            Rejection::HeadTooLarge => "head_too_large",
            Rejection::Timeout => "timeout",
            Rejection::TlsHandshake => "tls_handshake",
            Rejection::TlsBusy => "tls_busy",
            Rejection::Accept => "accept",
            Rejection::Connections => "connections",
            Rejection::GaveWay => "gave_way",
            Rejection::UnknownPath => "unknown_path",
            Rejection::Method => "method",
            Rejection::MediaType => "media_type",
            Rejection::TooLarge => "too_large",
            Rejection::BadJson => "bad_json",
        }
    }
}

/// What happened to the NATS connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionEvent {
    /// It is there, for the first time or again.
    Connected,
    /// It is gone.
    Disconnected,
    /// The server refuses the credentials or a permission.
    AuthError,
    /// The server reports another error.
    ServerError,
    /// Replies came faster than they were read.
    SlowConsumer,
}

impl ConnectionEvent {
    pub(super) const ALL: [Self; 5] = [
        Self::Connected,
        Self::Disconnected,
        Self::AuthError,
        Self::ServerError,
        Self::SlowConsumer,
    ];

    pub(super) fn label(self) -> &'static str {
        match self {
            ConnectionEvent::Connected => "connected",
            ConnectionEvent::Disconnected => "disconnected",
            ConnectionEvent::AuthError => "auth_error",
            ConnectionEvent::ServerError => "server_error",
            ConnectionEvent::SlowConsumer => "slow_consumer",
        }
    }
}

/// The kinds of secret files, as labels.
pub const SECRET_KINDS: [&str; 9] = [
    "api_key",
    "basic",
    "client_ca",
    "collector_tls",
    "encryption_key",
    "hash_key",
    "nats",
    "nats_tls",
    "tls",
];

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CertificateRole {
    /// What callers are shown.
    Server,
    /// What callers' certificates must come from.
    ClientCa,
    /// What NATS servers are shown.
    NatsClient,
    /// What NATS servers' certificates must come from.
    NatsCa,
}

impl CertificateRole {
    /// The value of the label.
    pub fn label(self) -> &'static str {
        match self {
            CertificateRole::Server => "server",
            CertificateRole::ClientCa => "client_ca",
            CertificateRole::NatsClient => "nats_client",
            CertificateRole::NatsCa => "nats_ca",
        }
    }
}

/// What is asked of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreOperation {
    /// To claim a call.
    Claim,
    /// To look at a call that others may have written about.
    Look,
    /// To record how a call ended.
    Record,
    /// To record that an answer was delivered.
    Deliver,
    /// To say that the owner of leases lives.
    Beat,
    /// To look whether another owner does.
    Watch,
    /// To share a decision for fallbacks.
    Share,
    /// To take over a decision that was shared.
    Load,
}

impl StoreOperation {
    pub(super) const ALL: [Self; 8] = [
        Self::Claim,
        Self::Look,
        Self::Record,
        Self::Deliver,
        Self::Beat,
        Self::Watch,
        Self::Share,
        Self::Load,
    ];

    pub(super) fn label(self) -> &'static str {
        match self {
            StoreOperation::Claim => "claim",
            StoreOperation::Look => "look",
            StoreOperation::Record => "record",
            StoreOperation::Deliver => "deliver",
            StoreOperation::Beat => "beat",
            StoreOperation::Watch => "watch",
            StoreOperation::Share => "share",
            StoreOperation::Load => "load",
        }
    }
}

/// How that went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreResult {
    /// Well.
    Ok,
    /// Another write came first.
    Conflict,
    /// Nothing came back in time.
    Timeout,
    /// The store was not there, or known to be away and not asked.
    Unavailable,
    /// The store has no room.
    Full,
    /// What was there could not be opened or read.
    Unreadable,
    /// Too much was waiting to be written.
    Dropped,
    /// The store said anything else.
    Error,
}

impl StoreResult {
    pub(super) const ALL: [Self; 8] = [
        Self::Ok,
        Self::Conflict,
        Self::Timeout,
        Self::Unavailable,
        Self::Full,
        Self::Unreadable,
        Self::Dropped,
        Self::Error,
    ];

    pub(super) fn label(self) -> &'static str {
        match self {
            StoreResult::Ok => "ok",
            StoreResult::Conflict => "conflict",
            StoreResult::Timeout => "timeout",
            StoreResult::Unavailable => "unavailable",
            StoreResult::Full => "full",
            StoreResult::Unreadable => "unreadable",
            StoreResult::Dropped => "dropped",
            StoreResult::Error => "error",
        }
    }
}

/// Why a span was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanDrop {
    /// Too many were waiting to be sent.
    QueueFull,
    /// The collector did not take them.
    ExportFailed,
}

impl SpanDrop {
    pub(super) const ALL: [Self; 2] = [Self::QueueFull, Self::ExportFailed];

    pub(super) fn label(self) -> &'static str {
        match self {
            SpanDrop::QueueFull => "queue_full",
            SpanDrop::ExportFailed => "export_failed",
        }
    }
}

/// What became of a record of a decision. Each record ends in exactly one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventResult {
    /// The stream has it.
    Published,
    /// The stream had it already: a retry got the same decision.
    Duplicate,
    /// Too much was waiting to be published.
    QueueFull,
    /// There was no connection.
    Disconnected,
    /// No stream listens on the subject.
    NoStream,
    /// No acknowledgement came. The stream may have it.
    Unacknowledged,
    /// The stream did not take it.
    Refused,
}

impl EventResult {
    pub(super) const ALL: [Self; 7] = [
        Self::Published,
        Self::Duplicate,
        Self::QueueFull,
        Self::Disconnected,
        Self::NoStream,
        Self::Unacknowledged,
        Self::Refused,
    ];

    /// The value of the label.
    pub fn label(self) -> &'static str {
        match self {
            EventResult::Published => "published",
            EventResult::Duplicate => "duplicate",
            EventResult::QueueFull => "queue_full",
            EventResult::Disconnected => "disconnected",
            EventResult::NoStream => "no_stream",
            EventResult::Unacknowledged => "unacknowledged",
            EventResult::Refused => "refused",
        }
    }
}

/// The levels of log lines, as labels.
pub const LOG_LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
