//! The events for others: that a member got a tier, once for each call.
//!
//! Each event has a subject of its own, which ends with the call id, and asks the stream to take it
//! only where that subject has no message yet. So the stream itself is what all copies of the worker
//! share, and it knows a call id for as long as it keeps the event. `Nats-Msg-Id` alone would do so
//! for the stream's duplicate window only, which is 2 minutes by default.

use async_nats::{
    Client, Error,
    jetstream::{
        self,
        consumer::{AckPolicy, pull},
        context::PublishErrorKind,
        message::PublishMessage,
        stream,
    },
};
use futures_util::TryStreamExt;
use serde_json::json;

const STREAM: &str = "LOYALTY";
const SUBJECT: &str = "loyalty.tier-assigned";

#[derive(Clone)]
pub struct Events(jetstream::Context);

impl Events {
    /// Opens the stream, and makes it where there is none.
    pub async fn open(client: Client) -> Result<Self, Error> {
        let context = jetstream::new(client);
        context
            .get_or_create_stream(stream::Config {
                name: STREAM.to_owned(),
                subjects: vec![format!("{SUBJECT}.*")],
                ..Default::default()
            })
            .await?;
        Ok(Self(context))
    }

    /// Returns once the stream has the event, be it this one or one of the same call before.
    /// `traceparent` names the span in which it is told.
    pub async fn tell(
        &self,
        call_id: &str,
        member: &str,
        tier: &str,
        traceparent: &str,
    ) -> Result<(), Error> {
        let event = json!({"call_id": call_id, "member": member, "tier": tier});
        let message = PublishMessage::build()
            .payload(event.to_string().into())
            .header("traceparent", traceparent)
            .message_id(call_id)
            .expected_last_subject_sequence(0);
        match self.0.send_publish(format!("{SUBJECT}.{call_id}"), message).await?.await {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns once the server has answered, whatever it says, or has been silent for 5 s. It
    /// answers behind whatever it has sent before.
    pub async fn hear_from_server(&self) {
        let _ = self.0.get_stream(STREAM).await;
    }

    /// All events that the stream has, oldest first. Something that acts on them would have a
    /// durable consumer instead, and acknowledge each.
    pub async fn all(&self) -> Result<Vec<String>, Error> {
        let stream = self.0.get_stream(STREAM).await?;
        let count = stream.cached_info().state.messages;
        if count == 0 {
            return Ok(Vec::new());
        }
        let config = pull::Config { ack_policy: AckPolicy::None, ..Default::default() };
        let consumer = stream.create_consumer(config).await?;
        let messages = consumer.fetch().max_messages(usize::try_from(count)?).messages().await?;
        let text =
            |message: jetstream::Message| String::from_utf8_lossy(&message.payload).into_owned();
        messages.map_ok(text).try_collect().await
    }
}
