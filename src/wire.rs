//! What the bridge needs of the message bus. `nats.rs` is the real one.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::{
    domain::{call_id::CallId, connector::Connector, trace_context::TraceContext},
    inbox::Token,
    store::Store,
};

/// The message bus, which also keeps the store.
pub trait Wire: Store {
    /// Whether a message could be sent now.
    fn is_connected(&self) -> bool;

    /// Waits until there is a connection.
    fn connected(&self) -> impl Future<Output = ()> + Send;

    /// Hands a message to the connection. What comes back for `token` goes to
    /// [`crate::pipeline::Pipeline::deliver`].
    fn publish(
        &self,
        token: Token,
        message: Message<'_>,
    ) -> impl Future<Output = Result<(), NotSent>> + Send;
}

/// The bus did not take a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotSent;

/// A message to the workers.
pub struct Message<'a> {
    /// Name, step, protocol and subject.
    pub connector: &'a Connector,
    /// The same for the same claims at this connector.
    pub call_id: CallId,
    /// 1: decide anew. From 2 on: an earlier message may have reached a worker.
    pub attempt: u32,
    /// Do not start after it.
    pub deadline: SystemTime,
    /// The time left until then.
    pub time_left: Duration,
    /// What a worker needs to join the trace.
    pub trace: &'a TraceContext,
    /// The caller's body, byte for byte.
    pub body: Bytes,
}
