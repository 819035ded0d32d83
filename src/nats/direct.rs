//! One connection, made and used as the bridge does, for a command that plays the bridge: what
//! comes is handed out as it comes, and when the connection ends, so does all.

use std::{sync::Arc, time::Instant};

use async_nats::{Event, HeaderMap, HeaderValue, Message as NatsMessage, ServerError, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;

use super::{NatsWire, Way, arrival, discovery, link::Connection};
use crate::{
    clock,
    config::Config,
    inbox::{Arrival, Token},
    secrets::Secrets,
    wire::{self, Message, NotSent, Wire},
};

/// A connection that is not kept.
pub struct Direct {
    /// What is sent.
    pub outgoing: Outgoing,
    /// What comes.
    pub incoming: Incoming,
}

/// The way out.
pub struct Outgoing(NatsWire);

/// The way in.
pub struct Incoming {
    connection: Connection,
    /// What reply subjects begin with, the dot before the token included.
    inbox: String,
    other: Option<Subscriber>,
}

/// What came.
pub enum Heard {
    /// For a message that was sent.
    Arrival(Token, Arrival),
    /// To the other subject that is listened to.
    Other(Other),
    /// Nothing comes any more, and why.
    Lost(String),
}

/// A message to the other subject.
pub struct Other {
    /// Where it was published.
    pub subject: String,
    /// The header `Connector-Call-Id`, where it has one.
    pub call_id: Option<String>,
    /// The header `Nats-Msg-Id`, where it has one.
    pub message_id: Option<String>,
    /// Its body.
    pub payload: Bytes,
}

impl Direct {
    /// Tries each server once. Fails with what a person can be told.
    pub async fn connect(config: &Config, secrets: &Secrets) -> Result<Self, String> {
        let (wire, link) = super::new(config, secrets).map_err(|error| error.to_string())?;
        let connection = link.try_connect().await.map_err(|error| error.to_string())?;
        let client = Some(Arc::clone(&connection.client));
        link.ways.send_replace(Way { client, ..Way::default() });
        let incoming = Incoming { connection, inbox: link.inbox, other: None };
        Ok(Self { outgoing: Outgoing(wire), incoming })
    }
}

impl Outgoing {
    /// Sends a message as the bridge does.
    pub async fn send(&self, token: Token, message: Message<'_>) -> Result<(), NotSent> {
        self.0.publish(token, message, || true).await
    }

    /// Asks all NATS services who they are.
    pub async fn ask_for_services(&self, token: Token) -> Result<(), NotSent> {
        let client = self.0.client().ok_or(NotSent::NotTaken)?;
        let asked = client.publish_with_reply(discovery::ASK, self.0.reply_to(token), Bytes::new());
        asked.await.map_err(|_| NotSent::NotTaken)
    }
}

impl Incoming {
    /// Listens to another subject too, which may hold wildcards.
    pub async fn listen(&mut self, subject: &str) -> Result<(), String> {
        let client = &self.connection.client;
        let other = client.subscribe(subject.to_owned()).await;
        self.other = Some(other.map_err(|error| error.to_string())?);
        client.flush().await.map_err(|error| error.to_string())
    }

    /// The next that comes, until `end` at the longest.
    pub async fn next(&mut self, end: Instant) -> Option<Heard> {
        clock::until(end, self.heard()).await
    }

    /// The next that comes. Nothing is lost where this is dropped.
    async fn heard(&mut self) -> Heard {
        let Self { connection, inbox, other } = self;
        loop {
            let other = async {
                match other {
                    Some(other) => other.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(message) = connection.replies.next() => {
                    let token = message.subject.strip_prefix(&**inbox);
                    let number = token.and_then(|token| u64::from_str_radix(token, 16).ok());
                    if let Some(number) = number {
                        return Heard::Arrival(Token(number), arrival(message));
                    }
                }
                Some(message) = other => {
                    if !message.subject.starts_with(&**inbox) {
                        return Heard::Other(read(&message));
                    }
                }
                () = connection.deaf.notified() => {
                    return Heard::Lost("the NATS user may not receive replies".to_owned());
                }
                event = connection.events.recv() => match event {
                    Some(Event::Disconnected | Event::Closed) | None => {
                        return Heard::Lost("the connection to NATS was lost".to_owned());
                    }
                    // Whether services may be asked for is no matter.
                    Some(Event::ServerError(ServerError::Other(text)))
                        if text.contains(discovery::ASK) => {}
                    Some(Event::ServerError(error)) => {
                        return Heard::Lost(format!("the NATS server says: {error}"));
                    }
                    Some(Event::SlowConsumer(_)) => {
                        return Heard::Lost("messages came faster than they were read".to_owned());
                    }
                    Some(
                        Event::Connected
                        | Event::LameDuckMode
                        | Event::Draining
                        | Event::ClientError(_),
                    ) => {}
                },
            }
        }
    }
}

fn read(message: &NatsMessage) -> Other {
    let header = |name: &str| {
        let values = message.headers.iter().flat_map(HeaderMap::iter);
        let mut of_name = values.filter(|(other, _)| other.to_string().eq_ignore_ascii_case(name));
        of_name.find_map(|(_, values)| values.first().map(HeaderValue::to_string))
    };
    Other {
        subject: message.subject.to_string(),
        call_id: header(wire::CALL_ID),
        message_id: header(async_nats::header::NATS_MESSAGE_ID.as_ref()),
        payload: message.payload.clone(),
    }
}
