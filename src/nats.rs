//! The message bus over async-nats.
//!
//! Replies come to one subject of this process, `{inbox_prefix}.{instance}.{token}`, and not
//! through the client's own request method: that one never forgets a request without a reply, its
//! time-out does not cover the hand-over to its task, and it drops late replies.

mod discovery;

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use async_nats::{
    Auth, AuthError, Client, ConnectOptions, Event, HeaderMap, HeaderName, HeaderValue,
    ServerError, StatusCode, Subscriber, connection::State,
};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::{mpsc, watch};

pub use self::discovery::{WORKERS_ASKED_EVERY, count_workers};
use crate::{
    clock,
    config::NatsSettings,
    domain::reply::{CacheControl, Reply, ServiceError},
    inbox::{Arrival, Token},
    metrics::{ConnectionEvent, Metrics},
    pipeline::{Message, NotSent, Pipeline, Wire},
    secrets::NatsIdentity,
};

/// A server that says nothing for two of these is taken for dead: noticed within three.
const PING_EVERY: Duration = Duration::from_secs(1);

/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest pause between two attempts to connect.
const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// How many events of the connection may wait to be looked at.
const EVENTS_MAX: usize = 64;

/// The oldest server whose security fixes and store this bridge relies on: CVE-2026-58253 is
/// fixed in 2.12.7.
const SERVER_VERSION_MIN: (u64, u64, u64) = (2, 12, 7);

const CONTENT_TYPE: HeaderName = HeaderName::from_static("Content-Type");
const NAME: HeaderName = HeaderName::from_static("Connector-Name");
const STEP: HeaderName = HeaderName::from_static("Connector-Step");
const PROTOCOL: HeaderName = HeaderName::from_static("Connector-Protocol");
const CALL_ID: HeaderName = HeaderName::from_static("Connector-Call-Id");
const ATTEMPT: HeaderName = HeaderName::from_static("Connector-Attempt");
const DEADLINE: HeaderName = HeaderName::from_static("Connector-Deadline");
const TIMEOUT_MS: HeaderName = HeaderName::from_static("Connector-Timeout-Ms");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The connection to NATS.
pub struct NatsWire {
    client: Client,
    /// What reply subjects begin with, the dot before the token included.
    inbox: String,
    connected: watch::Receiver<bool>,
}

/// What comes over the connection.
pub struct Incoming {
    replies: Subscriber,
    events: mpsc::Receiver<Event>,
    connected: watch::Sender<bool>,
}

/// Starts to connect, and goes on trying for ever. Fails only where no attempt makes sense.
pub async fn connect(
    settings: &NatsSettings,
    identity: NatsIdentity,
) -> Result<(NatsWire, Incoming), async_nats::Error> {
    let (event_sender, events) = mpsc::channel(EVENTS_MAX);
    let (connected_sender, connected) = watch::channel(false);
    let jitter = RandomState::new();
    let client = options(identity)
        .name(format!("connector-bridge {}", crate::VERSION))
        .custom_inbox_prefix(&settings.inbox_prefix)
        .retry_on_initial_connect()
        .ping_interval(PING_EVERY)
        .connection_timeout(CONNECT_TIMEOUT)
        .reconnect_delay_callback(move |attempt| {
            reconnect_pause(attempt, jitter.hash_one((attempt, clock::now())))
        })
        .event_callback(move |event| {
            // A full queue drops an event, never the connection's own work.
            drop(event_sender.try_send(event));
            std::future::ready(())
        })
        .connect(&settings.servers)
        .await?;
    let instance = RandomState::new().hash_one(clock::now());
    let inbox = format!("{}.{instance:016x}.", settings.inbox_prefix);
    let replies = client.subscribe(format!("{inbox}*")).await?;
    let wire = NatsWire { client, inbox, connected };
    Ok((wire, Incoming { replies, events, connected: connected_sender }))
}

/// The identity is asked for at every attempt, so that a changed secret is used by the next one.
fn options(identity: NatsIdentity) -> ConnectOptions {
    if matches!(identity, NatsIdentity::None) {
        return ConnectOptions::new();
    }
    ConnectOptions::with_auth_callback(move |nonce| {
        std::future::ready(Ok::<_, AuthError>(auth(&identity, &nonce)))
    })
}

fn auth(identity: &NatsIdentity, nonce: &[u8]) -> Auth {
    let mut auth = Auth::new();
    match identity {
        NatsIdentity::None => {}
        NatsIdentity::Nkey(signer) => {
            let signer = signer.get();
            auth.jwt = signer.jwt.clone();
            auth.nkey = Some(signer.public_key());
            auth.signature = signer.sign(nonce);
        }
        NatsIdentity::UserAndPassword(user, password) => {
            auth.username = Some(user.clone());
            auth.password = Some(password.get().to_string());
        }
        NatsIdentity::Token(token) => auth.token = Some(token.get().to_string()),
    }
    auth
}

/// 50 ms, doubled with each attempt up to a second, and up to half of that less, so that many
/// bridges do not come back in one instant.
fn reconnect_pause(attempt: usize, random: u64) -> Duration {
    let exponent = u32::try_from(attempt.saturating_sub(1)).unwrap_or(u32::MAX).min(10);
    let pause = Duration::from_millis(50).saturating_mul(1 << exponent).min(RECONNECT_PAUSE_MAX);
    pause - pause / 2 * u32::try_from(random % 100).unwrap_or(0) / 100
}

impl NatsWire {
    /// The version of the server that the connection is to, where there was one.
    pub fn server_version(&self) -> Option<String> {
        self.client.try_server_info().map(|info| info.version)
    }
}

impl Wire for NatsWire {
    fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    async fn connected(&self) {
        let mut connected = self.connected.clone();
        loop {
            if connected.wait_for(|connected| *connected).await.is_err() || self.is_connected() {
                return;
            }
            // The event and the state change one after the other.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn publish(&self, token: Token, message: Message<'_>) -> Result<(), NotSent> {
        let subject = message.connector.subject.to_string();
        let reply = format!("{}{:016x}", self.inbox, token.0);
        let headers = headers(&message).map_err(|_| NotSent)?;
        let sent =
            self.client.publish_with_reply_and_headers(subject, reply, headers, message.body);
        sent.await.map_err(|error| {
            let connector = &message.connector.name;
            tracing::warn!(%connector, kind = %error.kind(), "NATS did not take a message");
            NotSent
        })
    }
}

/// All values are made here or come from the configuration; none comes from a claim.
fn headers(message: &Message<'_>) -> Result<HeaderMap, <HeaderValue as std::str::FromStr>::Err> {
    let connector = message.connector;
    let call_id = message.call_id.to_string();
    let deadline = humantime::format_rfc3339_millis(message.deadline).to_string();
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, "application/json".parse::<HeaderValue>()?);
    headers.insert(NAME, connector.name.as_str().parse::<HeaderValue>()?);
    headers.insert(STEP, connector.step.name.parse::<HeaderValue>()?);
    headers.insert(PROTOCOL, connector.protocol.name.parse::<HeaderValue>()?);
    headers.insert(CALL_ID, call_id.parse::<HeaderValue>()?);
    headers.insert(async_nats::header::NATS_MESSAGE_ID, call_id.parse::<HeaderValue>()?);
    headers.insert(ATTEMPT, HeaderValue::from(u64::from(message.attempt)));
    headers.insert(DEADLINE, deadline.parse::<HeaderValue>()?);
    let time_left = u64::try_from(message.time_left.as_millis()).unwrap_or(u64::MAX);
    headers.insert(TIMEOUT_MS, HeaderValue::from(time_left));
    headers.insert(TRACEPARENT, message.trace.traceparent.parse::<HeaderValue>()?);
    headers.insert(TRACESTATE, message.trace.tracestate.parse::<HeaderValue>()?);
    Ok(headers)
}

impl Incoming {
    /// Hands everything that comes to the pipeline, until the connection is dropped.
    pub async fn run(mut self, pipeline: Arc<Pipeline<NatsWire>>, metrics: Metrics) {
        loop {
            tokio::select! {
                message = self.replies.next() => match message {
                    Some(message) => reply(&pipeline, message),
                    None => return,
                },
                event = self.events.recv() => match event {
                    Some(event) => self.event(&event, &pipeline, &metrics),
                    None => return,
                },
            }
        }
    }

    fn event(&self, event: &Event, pipeline: &Arc<Pipeline<NatsWire>>, metrics: &Metrics) {
        match event {
            Event::Connected => {
                metrics.connection_event(ConnectionEvent::Connected);
                metrics.nats_connected.set(1);
                self.connected.send_replace(true);
                pipeline.connection_returned();
                tracing::info!("connected to NATS");
                tokio::spawn(check_server(Arc::clone(pipeline)));
            }
            Event::Disconnected => {
                metrics.connection_event(ConnectionEvent::Disconnected);
                metrics.nats_connected.set(0);
                self.connected.send_replace(false);
                pipeline.connection_lost();
                tracing::warn!("lost the connection to NATS");
            }
            Event::ServerError(error) => {
                metrics.connection_event(kind_of(error));
                tracing::error!(%error, "the NATS server reports an error");
            }
            Event::SlowConsumer(_) => {
                metrics.connection_event(ConnectionEvent::SlowConsumer);
                tracing::error!("replies came faster than they were read; some are lost");
            }
            Event::LameDuckMode => tracing::info!("the NATS server is about to stop"),
            Event::ClientError(error) => {
                // What the server says to an attempt to connect comes in the same way.
                if is_about_rights(&error.to_string()) {
                    metrics.connection_event(ConnectionEvent::AuthError);
                }
                tracing::warn!(%error, "the NATS client reports an error");
            }
            Event::Draining | Event::Closed => {}
        }
    }
}

/// Missing permissions come as plain text.
fn kind_of(error: &ServerError) -> ConnectionEvent {
    match error {
        ServerError::AuthorizationViolation => ConnectionEvent::AuthError,
        ServerError::Other(text) if is_about_rights(text) => ConnectionEvent::AuthError,
        ServerError::SlowConsumer(_) => ConnectionEvent::SlowConsumer,
        ServerError::Other(_) => ConnectionEvent::ServerError,
    }
}

fn is_about_rights(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.contains("permissions violation") || text.contains("authori") || text.contains("authent")
}

fn reply(pipeline: &Pipeline<NatsWire>, message: async_nats::Message) {
    let token = message.subject.rsplit('.').next();
    let Some(token) = token.and_then(|token| u64::from_str_radix(token, 16).ok()) else { return };
    let arrival = match message.status {
        Some(StatusCode::NO_RESPONDERS) => Arrival::NoResponders,
        Some(_) | None => Arrival::Reply(read(message.payload, message.headers.as_ref())),
    };
    pipeline.deliver(Token(token), arrival);
}

fn read(payload: Bytes, headers: Option<&HeaderMap>) -> Reply {
    let mut reply = Reply { payload, ..Reply::default() };
    for (name, values) in headers.into_iter().flat_map(HeaderMap::iter) {
        let name: &str = name.as_ref();
        let Some(value) = values.first().map(HeaderValue::as_str) else { continue };
        if name.eq_ignore_ascii_case("Nats-Service-Error-Code") {
            reply.service_error = Some(ServiceError { code: value.trim().parse().ok() });
        } else if name.eq_ignore_ascii_case("Nats-Service-Error") {
            reply.service_error.get_or_insert(ServiceError { code: None });
        } else if name.eq_ignore_ascii_case("Cache-Control") {
            reply.cache_control = CacheControl::parse(value);
        }
    }
    reply
}

/// Warns of a server that is too old.
async fn check_server(pipeline: Arc<Pipeline<NatsWire>>) {
    let wire = pipeline.wire();
    // What the server says of itself is known for certain once it has taken everything sent.
    let flushed = tokio::time::timeout(CONNECT_TIMEOUT, wire.client.flush()).await;
    let Some(version) = wire.server_version().filter(|_| flushed.is_ok()) else { return };
    if is_too_old(&version) {
        let (major, minor, patch) = SERVER_VERSION_MIN;
        tracing::warn!(
            version,
            "the NATS server is older than {major}.{minor}.{patch}, the least that is supported"
        );
    }
}

fn is_too_old(version: &str) -> bool {
    let release = version.split(['-', '+']).next().unwrap_or_default();
    let mut numbers = release.split('.').map(|number| number.parse::<u64>().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    (next(), next(), next()) < SERVER_VERSION_MIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reconnects_come_at_least_once_a_second_and_not_all_at_once() {
        for (attempt, most) in [(0, 50), (1, 50), (2, 100), (5, 800), (6, 1_000), (100, 1_000)] {
            for random in [0, 37, 99] {
                let pause = reconnect_pause(attempt, random).as_millis();
                assert!((most / 2..=most).contains(&pause), "{attempt} {random}: {pause}");
            }
        }
        assert_ne!(reconnect_pause(9, 0), reconnect_pause(9, 50));
    }

    #[test]
    fn a_server_is_too_old_below_the_least_version() {
        for old in ["2.9.10", "2.12.6", "2.12", "1.99.99", "", "nonsense"] {
            assert!(is_too_old(old), "{old}");
        }
        for new in ["2.12.7", "2.15.1", "2.14.0-beta.1", "3.0.0"] {
            assert!(!is_too_old(new), "{new}");
        }
    }

    #[test]
    fn reply_headers_are_read_in_any_case_and_only_the_number_of_an_error_is_kept() {
        let mut headers = HeaderMap::new();
        headers.insert("nats-service-error-code", "503");
        headers.insert("Nats-Service-Error", "secret of jane@example.com");
        headers.insert("cache-control", "no-store, stale-if-error=60");
        let reply = read(Bytes::new(), Some(&headers));
        assert_eq!(reply.service_error, Some(ServiceError { code: Some(503) }));
        assert!(reply.cache_control.no_store);
        assert_eq!(reply.cache_control.stale_if_error, Some(Duration::from_secs(60)));
    }
}
