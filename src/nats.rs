//! The message bus over async-nats.
//!
//! Replies come to one subject of this process, `{inbox_prefix}.{instance}.{token}`, and not
//! through the client's own request method: that one never forgets a request without a reply, its
//! time-out does not cover the hand-over to its task, and it drops late replies.

mod bucket;
mod decisions;
mod direct;
mod discovery;
mod events;
mod link;
mod requests;
mod rights;
mod store;
mod stream;

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, atomic::Ordering},
    time::{Duration, Instant},
};

use async_nats::{
    Client, HeaderMap, HeaderName, HeaderValue, ServerAddr, Statistics, StatusCode,
    connection::State,
};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use futures_util::FutureExt;
use serde_json::{Value, json};
use tokio::sync::watch;

use self::{bucket::Bucket, requests::TOKEN_MARK, rights::Missing, store::Health};
pub use self::{
    decisions::{CHANGES_MAX, Decisions},
    direct::{Direct, Heard, Incoming, Other, Outgoing},
    discovery::{ANSWERS_WITHIN, WORKERS_ASKED_EVERY, count, count_workers},
    link::Link,
    rights::check_rights,
    store::keep_store,
};
use crate::{
    clock,
    config::Config,
    domain::{
        reply::{CacheControl, Reply, ServiceError},
        sending::Line,
    },
    inbox::{Arrival, Inbox, Token},
    pipeline::Pipeline,
    random::Random,
    secrets::Secrets,
    wire::{HEADERS, Message, NotSent, Wire},
};

/// The oldest server whose security fixes and store this bridge relies on: CVE-2026-58253 is
/// fixed in 2.12.7.
const SERVER_VERSION_MIN: (u64, u64, u64) = (2, 12, 7);

/// How long a message waits for room in the client's queue before it looks again.
const ROOM_PAUSE: Duration = Duration::from_millis(1);

/// How many characters a token has in a reply subject.
const TOKEN_CHARS: usize = 16;

/// What messages are sent over.
pub struct NatsWire {
    room_for_headers: HeaderMap,
    way: watch::Receiver<Way>,
    /// What reply subjects begin with, the dot before the token included.
    inbox: String,
    /// Requests to the server itself.
    requests: Inbox<()>,
    /// Where calls are shared, if they are.
    calls: Option<Bucket>,
    health: Health,
    missing_rights: Missing,
    random: Random,
}

/// The way to the server.
#[derive(Default)]
struct Way {
    /// `None` while there is no connection.
    client: Option<Arc<Client>>,
    /// When there last was one that is lost.
    lost: Option<Instant>,
    /// What came over the connection.
    traffic: Arc<Statistics>,
}

/// A wire that is not connected yet, and what connects it. Fails where no attempt makes sense.
pub fn new(config: &Config, secrets: &Secrets) -> std::io::Result<(NatsWire, Link)> {
    let settings = &config.nats;
    let calls = bucket::of_calls(config);
    let servers: Vec<ServerAddr> =
        settings.servers.iter().map(|server| server.parse()).collect::<Result<_, _>>()?;
    let (ways, way) = watch::channel(Way::default());
    let prefix = settings.inbox_prefix.clone();
    let inbox = format!("{prefix}.{:016x}.", RandomState::new().hash_one(clock::now()));
    let link = Link {
        servers,
        peers: Mutex::default(),
        identity: secrets.nats.clone(),
        tls: secrets.nats_tls.clone(),
        prefix,
        inbox: inbox.clone(),
        ways,
    };
    let (requests, health) = (Inbox::default(), Health::default());
    let (missing_rights, random) = (Missing::default(), Random::default());
    let room_for_headers = room_for_headers();
    let wire =
        NatsWire { room_for_headers, way, inbox, requests, calls, health, missing_rights, random };
    Ok((wire, link))
}

impl NatsWire {
    /// The version of the server that the connection is to, where there was one.
    pub fn server_version(&self) -> Option<String> {
        self.client()?.try_server_info().map(|info| info.version)
    }

    /// Rights that the server does not grant; `None` where it does not say.
    pub fn missing_rights(&self) -> Option<Vec<String>> {
        self.missing_rights.get()
    }

    /// Where what comes for a message has to go.
    fn reply_to(&self, token: Token) -> String {
        let mut subject = String::with_capacity(self.inbox.len() + TOKEN_CHARS);
        subject.push_str(&self.inbox);
        HEXLOWER.encode_append(&token.0.to_be_bytes(), &mut subject);
        subject
    }

    /// The name of this process in reply subjects.
    pub fn instance(&self) -> &str {
        self.inbox.trim_end_matches('.').rsplit('.').next().unwrap_or_default()
    }

    fn is_clustered(&self) -> bool {
        let info = self.client().and_then(|client| client.try_server_info());
        info.is_some_and(|info| info.cluster.is_some())
    }

    fn client(&self) -> Option<Arc<Client>> {
        self.way.borrow().client.clone()
    }
}

impl Wire for NatsWire {
    fn line(&self) -> Line {
        let way = self.way.borrow();
        let heard = Some(way.traffic.in_bytes.load(Ordering::Relaxed));
        match &way.client {
            Some(client) if client.connection_state() == State::Connected => {
                Line { is_up: true, lost: way.lost, heard }
            }
            // A lost connection is known to its client first.
            Some(_) => Line { is_up: false, lost: Some(clock::now()), heard },
            None => Line { is_up: false, lost: way.lost, heard },
        }
    }

    async fn connected(&self) {
        let mut way = self.way.clone();
        loop {
            if way.wait_for(|way| way.client.is_some()).await.is_err() || self.is_connected() {
                return;
            }
            // A lost connection is known to its client first.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn publish(
        &self,
        token: Token,
        message: Message<'_>,
        mut may_go: impl FnMut() -> bool + Send,
    ) -> Result<(), NotSent> {
        loop {
            let (subject, reply) = (message.connector.subject.to_string(), self.reply_to(token));
            let mut headers = self.room_for_headers.clone();
            for (name, value) in message.headers() {
                headers.insert(HeaderName::from_static(name), value);
            }
            let client = self.client().ok_or(NotSent::NotTaken)?;
            let body = message.body.clone();
            let publish = client.publish_with_reply_and_headers(subject, reply, headers, body);
            if !may_go() {
                return Err(NotSent::HeldBack);
            }
            // Polled once: waiting inside for room would come behind the look at the clock.
            match publish.now_or_never() {
                Some(sent) => {
                    return sent.map_err(|error| {
                        let connector = &message.connector.name;
                        let kind = error.kind();
                        tracing::warn!(%connector, %kind, "NATS did not take a message");
                        NotSent::NotTaken
                    });
                }
                None => tokio::time::sleep(ROOM_PAUSE).await,
            }
        }
    }
}

/// Room for the headers of a message: a map that has to grow hashes all names again. It is copied
/// for each; only by way of its written form can it have names without values, which cost a copy
/// nothing.
fn room_for_headers() -> HeaderMap {
    let names: Value = HEADERS.into_iter().map(|name| (name, json!([]))).collect();
    serde_json::from_value(names).unwrap_or_default()
}

fn reply(pipeline: &Pipeline<NatsWire>, message: async_nats::Message) {
    let Some(token) = message.subject.rsplit('.').next() else { return };
    let of_request = token.strip_prefix(TOKEN_MARK);
    let Ok(number) = u64::from_str_radix(of_request.unwrap_or(token), 16) else { return };
    let is_of_request = of_request.is_some();
    let arrival = arrival(message);
    match is_of_request {
        true => pipeline.wire().answer(Token(number), arrival),
        false => pipeline.deliver(Token(number), arrival),
    }
}

/// What came for a message. The server's word that nobody listens has no payload; with one, it is
/// from somebody who listens, whatever status they write.
fn arrival(message: async_nats::Message) -> Arrival {
    match message.status {
        Some(StatusCode::NO_RESPONDERS) if message.payload.is_empty() => Arrival::NoResponders,
        Some(_) | None => Arrival::Reply(read(message.payload, message.headers.as_ref())),
    }
}

fn read(payload: Bytes, headers: Option<&HeaderMap>) -> Reply {
    let mut reply = Reply { payload, ..Reply::default() };
    for (name, values) in headers.into_iter().flat_map(HeaderMap::iter) {
        let name: &str = name.as_ref();
        for value in values.iter().map(HeaderValue::as_str) {
            if name.eq_ignore_ascii_case("Nats-Service-Error-Code") {
                reply.service_error = Some(ServiceError { code: value.trim().parse().ok() });
            } else if name.eq_ignore_ascii_case("Nats-Service-Error") {
                reply.service_error.get_or_insert(ServiceError { code: None });
            } else if name.eq_ignore_ascii_case("Cache-Control") {
                reply.cache_control = reply.cache_control.and(CacheControl::parse(value));
            }
        }
    }
    reply
}

/// Warns of a server that is too old.
fn check_version(client: &Client) {
    let version = client.server_info().version;
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
    fn a_server_is_too_old_below_the_least_version() {
        for old in ["2.9.10", "2.12.6", "2.12", "1.99.99", "", "nonsense"] {
            assert!(is_too_old(old), "{old}");
        }
        for new in ["2.12.7", "2.15.1", "2.14.0-beta.1", "3.0.0"] {
            assert!(!is_too_old(new), "{new}");
        }
    }

    #[test]
    fn there_is_room_for_every_header_and_none_has_a_value_yet() {
        let mut room = room_for_headers();
        assert_eq!(room.len(), HEADERS.len());
        assert!(room.iter().all(|(_, values)| values.is_empty()));
        for name in HEADERS {
            room.insert(HeaderName::from_static(name), "value");
        }
        assert_eq!(room.len(), HEADERS.len(), "each name has found its room");
    }

    #[test]
    fn only_the_servers_own_word_says_that_nobody_listens() {
        let nobody = Some(StatusCode::NO_RESPONDERS);
        for (status, payload, is_nobody) in [
            (nobody, "", true),
            (nobody, "{}", false),
            (Some(StatusCode::OK), "", false),
            (None, "", false),
        ] {
            let came = arrival(async_nats::Message {
                subject: "reply".into(),
                reply: None,
                payload: payload.into(),
                headers: None,
                status,
                description: None,
                length: payload.len(),
            });
            assert_eq!(matches!(came, Arrival::NoResponders), is_nobody, "{status:?} {payload}");
        }
    }

    #[test]
    fn reply_headers_are_read_in_any_case_and_only_the_number_of_an_error_is_kept() {
        let mut headers = HeaderMap::new();
        headers.insert("nats-service-error-code", "503");
        headers.insert("Nats-Service-Error", "secret of jane@example.com");
        headers.insert("cache-control", "stale-if-error=600");
        headers.append("cache-control", "no-store, stale-if-error=60");
        let reply = read(Bytes::new(), Some(&headers));
        assert_eq!(reply.service_error, Some(ServiceError { code: Some(503) }));
        assert!(reply.cache_control.no_store);
        assert_eq!(reply.cache_control.stale_if_error, Some(Duration::from_secs(60)));
    }
}
