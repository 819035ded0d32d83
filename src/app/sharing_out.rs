//! The memory of this process, shared out among what callers and workers can make it hold.

use std::sync::Arc;

use crate::{
    budget::{self, Budget, Crowd},
    config::{Config, ConnectorSettings},
    domain::{
        budget::{Caches, Part, connections_that_fit},
        fallback::CachedRules,
    },
    http::listener::{self, Terms},
    secrets::Live,
    tls::ServerTls,
};

/// The memory that callers and workers can make this process hold.
pub(super) fn budget(config: &Config) -> Budget {
    let own = budget::of_this_process().unwrap_or(usize::MAX);
    let limit = config.memory_limit.map_or(own, |limit| limit.min(own));
    let caches = config.connectors.iter().any(|settings| cached(settings).is_some());
    Budget::new(limit, if caches { Caches::Some } else { Caches::None })
}

fn cached(settings: &ConnectorSettings) -> Option<&CachedRules> {
    settings.connector.fallback.cached.as_ref()
}

/// What the cache of one connector may hold.
pub(super) fn cache_bytes(config: &Config, budget: &Budget) -> usize {
    let caches = config.connectors.iter().filter(|settings| cached(settings).is_some()).count();
    budget.share(Part::Cached).limit() / caches.max(1)
}

/// How callers are let in: as many connections as were asked for, if there is memory for all of them.
pub(super) fn terms(config: &Config, tls: Option<Arc<Live<ServerTls>>>, budget: &Budget) -> Terms {
    let share = budget.share(Part::Connections);
    let cost = listener::connection_bytes(tls.is_some());
    let fitting = connections_that_fit(config.max_connections, share.limit(), cost);
    if fitting < config.max_connections {
        tracing::warn!(
            connections = fitting,
            "max_connections: there is memory for fewer; raise the container's limit"
        );
    }
    let crowd = Crowd::new(share);
    Terms { tls, crowd, ..Terms::plain(config.read_timeout, fitting) }
}
