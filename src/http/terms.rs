//! How a listener takes connections: how many, with how much memory, and whether over TLS.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::handshakes::Handshakes;
use crate::{
    budget::{Crowd, Guest, Order, Share, Source},
    domain::budget::Part,
    secrets::Live,
    stalls::Pulse,
    tls::{ClientAuthorities, ServerTls},
};

/// How a listener takes connections.
#[derive(Clone)]
pub struct Terms {
    /// How long a head may take, and a connection may keep silent.
    pub read_timeout: Duration,
    /// The most connections at once, over all threads.
    pub max_connections: usize,
    /// The connections that there are.
    pub connections: Arc<AtomicUsize>,
    /// The memory that they hold.
    pub crowd: Arc<Crowd>,
    /// How hands are shaken with clients, where they have to speak TLS.
    pub tls: Option<Arc<Tls>>,
    /// Tells of stalls of the thread that serves, where that is its work.
    pub pulse: Option<Arc<Pulse>>,
}

/// How hands are shaken.
pub struct Tls {
    /// What is shown to clients.
    pub shown: Arc<Live<ServerTls>>,
    /// Who judges the certificates that they show.
    pub authorities: Option<Arc<Live<ClientAuthorities>>>,
    /// Where that is done.
    pub handshakes: Handshakes,
}

impl Terms {
    /// Without TLS, for a listener that shares its connections with no other.
    pub fn plain(read_timeout: Duration, max_connections: usize) -> Self {
        Self {
            read_timeout,
            max_connections,
            connections: Arc::default(),
            crowd: Crowd::new(Share::unbounded(Part::Connections), Order::Arrival),
            tls: None,
            pulse: None,
        }
    }
}

/// What a connection takes that has sent something, measured: its task, the buffers of the HTTP
/// library, and what the kernel has of it.
const CONNECTION_BYTES: usize = 32 * 1024;
pub(super) const TLS_CONNECTION_BYTES: usize = 40 * 1024;

/// What an unfinished handshake may take besides: what is read of it before it is over, in a buffer
/// that doubles as it grows.
pub(super) const HANDSHAKE_BYTES: usize = 32 * 1024;

/// What a connection takes, with or without TLS.
pub fn connection_bytes(has_tls: bool) -> usize {
    if has_tls { TLS_CONNECTION_BYTES } else { CONNECTION_BYTES }
}

/// A place for one more connection, and the memory that it holds. Where all are taken, the oldest of
/// those who have not shown that they may call has to leave.
pub(super) fn admit(terms: &Terms, address: SocketAddr) -> Option<(Place, Guest)> {
    let place = match Place::take(terms) {
        Some(place) => place,
        None if terms.crowd.dismiss_oldest() => Place::add(terms),
        None => return None,
    };
    let source = Source::of(address.ip());
    let guest = terms.crowd.enter(connection_bytes(terms.tls.is_some()), source)?;
    Some((place, guest))
}

/// A place among the open connections; given back when dropped.
pub(super) struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(terms: &Terms) -> Option<Self> {
        let taken = |taken: usize| (taken < terms.max_connections).then_some(taken + 1);
        terms.connections.fetch_update(Ordering::AcqRel, Ordering::Acquire, taken).ok()?;
        Some(Self(Arc::clone(&terms.connections)))
    }

    /// One more than there are, until who was dismissed has gone.
    fn add(terms: &Terms) -> Self {
        terms.connections.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(&terms.connections))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
