//! The ports that are not for callers: administration, and the playground.

use std::{net::TcpListener, sync::Arc};

use http::Request;
use hyper::body::Incoming;
use tower_service::Service;

use crate::{
    config::Config,
    http::{
        connection::Progress,
        listener::{self, Terms},
        peer::Peer,
    },
    lifecycle,
    metrics::Metrics,
};

/// The most connections to each of these ports.
pub(super) const CONNECTIONS_MAX: usize = 64;

/// What is at a port.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Port {
    /// Probes, metrics and the state.
    Administration,
    /// The playground's page.
    Playground,
}

/// Serves a port, forever.
pub(super) fn serve(
    port: Port,
    listener: TcpListener,
    router: axum::Router,
    config: &Config,
    metrics: &Metrics,
) -> impl Future<Output = ()> + Send + 'static {
    let terms = Terms::plain(config.read_timeout, CONNECTIONS_MAX);
    let metrics = metrics.clone();
    // Probes are answered to the very end.
    let (never, stopping) = lifecycle::new();
    let service = move |request: Request<Incoming>, _: Arc<Progress>, _: Arc<Peer>| {
        let mut router = router.clone();
        async move {
            match router.call(request.map(axum::body::Body::new)).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        }
    };
    async move {
        let _never = never;
        let ended = listener::serve(listener, terms, metrics, stopping, service).await;
        match (ended, port) {
            (Ok(()), _) => {}
            (Err(error), Port::Administration) => {
                tracing::error!(%error, "the administration port is closed");
            }
            (Err(error), Port::Playground) => {
                tracing::error!(%error, "the playground's port is closed");
            }
        }
    }
}
