//! The connection: made, kept, and made anew when it is lost.
//!
//! Every connection has a client of its own, which ends with it. A client that connects again by
//! itself then sends what it was given and had not sent: calls whose callers are long gone.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_nats::{
    Auth, AuthError, Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, ServerAddr,
    ServerError, Subscriber,
};
use futures_util::{FutureExt, StreamExt};
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinSet,
};

use super::{NatsWire, Way, check_version, reply, rights};
use crate::{
    clock,
    metrics::{ConnectionEvent, Metrics},
    pipeline::Pipeline,
    secrets::{Live, NatsIdentity},
    tls::ClientTls,
};

/// A server that says nothing for two of these is taken for dead: noticed within three.
const PING_EVERY: Duration = Duration::from_secs(1);

/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest time from the start of one attempt to connect to the next.
const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// The pause before a connection takes the place of one over which no replies may come, and how
/// long that one has to prove to be no better.
const DEAF_PAUSE: Duration = Duration::from_secs(5);
const DEAF_WITHIN: Duration = Duration::from_secs(1);

/// How long a server that is the old one has to hand over what it had, and workers to reply.
const REPLIES_WITHIN: Duration = Duration::from_millis(300);

/// How many replies may wait to be read. Reading one takes microseconds.
const REPLIES_MAX: usize = 65_536;

/// How many events of the connection may wait to be looked at.
const EVENTS_MAX: usize = 64;

/// Connects the wire.
pub struct Link {
    pub(super) servers: Vec<ServerAddr>,
    /// Other servers of the cluster, as the last one told.
    pub(super) peers: Mutex<Vec<ServerAddr>>,
    pub(super) identity: NatsIdentity,
    /// Where it stands, no connection is made without TLS.
    pub(super) tls: Option<Arc<Live<ClientTls>>>,
    /// The first tokens of the subjects that replies come to.
    pub(super) prefix: String,
    /// What reply subjects begin with, the dot before the token included.
    pub(super) inbox: String,
    pub(super) ways: watch::Sender<Way>,
}

/// A client at work.
pub(super) struct Connection {
    pub(super) client: Arc<Client>,
    pub(super) replies: Subscriber,
    pub(super) events: mpsc::Receiver<Event>,
    /// Told that the server lets no replies through.
    pub(super) deaf: Arc<Notify>,
}

/// What is remembered of the last connection.
#[derive(Default)]
struct Past {
    /// Whether no replies may come over it.
    was_deaf: bool,
    /// The server process at its other end.
    server: Option<String>,
    lost: Option<Instant>,
}

/// A running link.
struct Running {
    link: Link,
    pipeline: Arc<Pipeline<NatsWire>>,
    metrics: Metrics,
}

impl Link {
    /// Connects, hands everything that comes to the pipeline, and connects anew, forever.
    pub async fn run(self, pipeline: Arc<Pipeline<NatsWire>>, metrics: Metrics) {
        let running = Running { link: self, pipeline, metrics };
        let mut past = Past::default();
        loop {
            past = running.keep_one_connection(past).await;
        }
    }
}

impl Running {
    /// Until it is lost, or is of no use. Where no replies might come over the last one, this one
    /// is not used before it is better.
    async fn keep_one_connection(&self, past: Past) -> Past {
        let Self { link, pipeline, metrics } = self;
        let mut connection = self.connect().await;
        if past.was_deaf {
            let end = clock::now() + DEAF_WITHIN;
            if clock::until(end, connection.deaf.notified()).await.is_some() {
                self.give_up(connection).await;
                return past;
            }
        }
        metrics.connection_event(ConnectionEvent::Connected);
        metrics.nats_connected.set(1);
        tracing::info!("connected to NATS");
        check_version(&connection.client);
        link.remember_peers(&connection.client);
        let server = Some(connection.client.server_info().server_id);
        let traffic = connection.client.statistics();
        let client = Some(Arc::clone(&connection.client));
        link.ways.send_replace(Way { client, lost: past.lost, traffic });
        let returned = self.returned(past.server == server);

        let is_deaf = loop {
            tokio::select! {
                Some(message) = connection.replies.next() => reply(pipeline, message),
                () = connection.deaf.notified() => break true,
                event = connection.events.recv() => match event {
                    Some(Event::Disconnected | Event::Closed) | None => break false,
                    Some(event) => self.event(&event),
                },
            }
        };

        let lost = Some(clock::now());
        link.ways.send_replace(Way { lost, ..Way::default() });
        drop(returned);
        metrics.connection_event(ConnectionEvent::Disconnected);
        metrics.nats_connected.set(0);
        match is_deaf {
            true => tracing::warn!("a connection to NATS without replies is of no use"),
            false => tracing::warn!("lost the connection to NATS"),
        }
        while let Some(Some(message)) = connection.replies.next().now_or_never() {
            reply(pipeline, message);
        }
        pipeline.wire().connection_lost();
        pipeline.connection_lost();
        if is_deaf {
            self.give_up(connection).await;
        }
        Past { was_deaf: is_deaf, server, lost }
    }

    /// Tells calls whose message went over the lost connection that there is another. The process
    /// that had those messages has most of them still, where it was only out of reach: then their
    /// replies come over this connection, and calls wait for them first. A process that was started
    /// anew has none; and where another server of the cluster takes over, the first is most likely
    /// gone.
    fn returned(&self, is_same_process: bool) -> JoinSet<()> {
        let mut waiting = JoinSet::new();
        let pipeline = Arc::clone(&self.pipeline);
        match is_same_process {
            false => pipeline.connection_returned(),
            true => drop(waiting.spawn(async move {
                clock::sleep_until(clock::now() + REPLIES_WITHIN).await;
                pipeline.connection_returned();
            })),
        }
        waiting
    }

    /// Ends a connection over which no replies may come. What was subscribed to over it is gone for
    /// good, whatever the server grants later.
    async fn give_up(&self, mut connection: Connection) {
        while let Ok(event) = connection.events.try_recv() {
            self.event(&event);
        }
        // Others may still hold the client.
        let end = clock::now() + CONNECT_TIMEOUT;
        drop(clock::until(end, connection.client.drain()).await);
        clock::sleep_until(clock::now() + DEAF_PAUSE).await;
    }

    /// Tries until it succeeds.
    async fn connect(&self) -> Connection {
        let jitter = RandomState::new();
        let (mut attempt, mut last) = (0, clock::now());
        loop {
            attempt += 1;
            let pause = reconnect_pause(attempt, jitter.hash_one((attempt, last)));
            // From the start of the last one: an attempt that took long is followed at once.
            clock::sleep_until(last + pause).await;
            last = clock::now();
            match self.link.try_connect().await {
                Ok(connection) => return connection,
                Err(error) => {
                    if error.kind() == ConnectErrorKind::AuthorizationViolation {
                        self.metrics.connection_event(ConnectionEvent::AuthError);
                    }
                    if attempt == 1 {
                        tracing::warn!(%error, "no connection to NATS; trying on");
                    }
                    tracing::debug!(%error, attempt, "no connection to NATS");
                }
            }
        }
    }

    fn event(&self, event: &Event) {
        match event {
            // Whether the bridge may ask that is found out by asking.
            Event::ServerError(ServerError::Other(text)) if is_about(text, rights::ASK) => {}
            Event::ServerError(error) if kind_of(error) == ConnectionEvent::AuthError => {
                self.metrics.connection_event(ConnectionEvent::AuthError);
                tracing::error!(%error, "the NATS user lacks a right that the bridge needs");
            }
            Event::ServerError(error) => {
                self.metrics.connection_event(kind_of(error));
                tracing::error!(%error, "the NATS server reports an error");
            }
            Event::SlowConsumer(_) => {
                self.metrics.connection_event(ConnectionEvent::SlowConsumer);
                tracing::error!("replies came faster than they were read; some are lost");
            }
            Event::LameDuckMode => tracing::info!("the NATS server is about to stop"),
            Event::ClientError(error) => tracing::warn!(%error, "the NATS client reports an error"),
            Event::Connected | Event::Disconnected | Event::Draining | Event::Closed => {}
        }
    }
}

impl Link {
    fn peers(&self) -> MutexGuard<'_, Vec<ServerAddr>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new client knows only what it is told. Servers name others without a word on TLS, and
    /// before they have proved who they are; so one that is asked for over TLS only brings no
    /// other that is not.
    fn remember_peers(&self, client: &Client) {
        let scheme = match self.servers.iter().any(ServerAddr::tls_required) {
            true => "tls",
            false => "nats",
        };
        let urls = client.server_info().connect_urls;
        let peers = urls.iter().filter_map(|url| format!("{scheme}://{url}").parse().ok());
        *self.peers() = peers.filter(|peer| !self.servers.contains(peer)).collect();
    }

    /// One attempt, at one server after the other.
    pub(super) async fn try_connect(&self) -> Result<Connection, ConnectError> {
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let deaf = Arc::new(Notify::new());
        let (told, replies) = (Arc::clone(&deaf), format!("{}*", self.inbox));
        let violation = format!("Subscription to \"{replies}\"");
        let was_connected = Arc::new(AtomicBool::new(false));
        let servers = [&self.servers[..], &self.peers()[..]].concat();
        let mut options = options(self.identity.clone(), Arc::clone(&was_connected));
        if let Some(tls) = &self.tls {
            options = options.require_tls(true).tls_client_config(tls.get().config());
        }
        let client = options
            .name(format!("connector-bridge {}", crate::VERSION))
            .custom_inbox_prefix(&self.prefix)
            .ping_interval(PING_EVERY)
            .connection_timeout(CONNECT_TIMEOUT)
            .subscription_capacity(REPLIES_MAX)
            .reconnect_delay_callback(|_| Duration::ZERO)
            .max_reconnects(servers.len())
            .event_callback(move |event| {
                let is_deaf = matches!(
                    &event,
                    Event::ServerError(ServerError::Other(text)) if is_about(text, &violation)
                );
                // A full queue drops an event, never the connection's own work.
                drop(sender.try_send(event));
                if is_deaf {
                    told.notify_one();
                }
                std::future::ready(())
            })
            .connect(&servers)
            .await?;
        was_connected.store(true, Ordering::Release);
        let replies = client.subscribe(replies).await;
        let replies =
            replies.map_err(|error| ConnectError::with_source(ConnectErrorKind::Io, error))?;
        Ok(Connection { client: Arc::new(client), replies, events, deaf })
    }
}

/// The identity is asked for at every attempt, so that a changed secret is used by the next one.
/// A client that was connected is refused one: so it ends when its connection does, instead of
/// connecting again by itself.
fn options(identity: NatsIdentity, was_connected: Arc<AtomicBool>) -> ConnectOptions {
    ConnectOptions::with_auth_callback(move |nonce| {
        std::future::ready(match was_connected.load(Ordering::Acquire) {
            false => Ok(auth(&identity, &nonce)),
            true => Err(AuthError::new("the connection was lost; a new client takes its place")),
        })
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

/// Missing permissions come as plain text.
fn kind_of(error: &ServerError) -> ConnectionEvent {
    match error {
        ServerError::AuthorizationViolation => ConnectionEvent::AuthError,
        ServerError::Other(text) if is_about_rights(text) => ConnectionEvent::AuthError,
        ServerError::SlowConsumer(_) => ConnectionEvent::SlowConsumer,
        ServerError::Other(_) => ConnectionEvent::ServerError,
    }
}

fn is_about(text: &str, subject: &str) -> bool {
    text.to_ascii_lowercase().contains(&subject.to_ascii_lowercase())
}

fn is_about_rights(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.contains("permissions violation") || text.contains("authori") || text.contains("authent")
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
}
