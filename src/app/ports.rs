//! The ports that are not for callers: administration, and the playground.

use std::{io, net::TcpListener, sync::Arc};

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
const CONNECTIONS_MAX: usize = 64;

/// Serves the administration, forever.
pub(super) fn administration(
    listener: TcpListener,
    config: &Config,
    metrics: &Metrics,
    router: axum::Router,
) -> impl Future<Output = ()> + Send + 'static {
    let serving = serve(listener, config, metrics, router);
    async move {
        if let Err(error) = serving.await {
            tracing::error!(%error, "the administration port is closed");
        }
    }
}

/// Serves the playground's page, forever.
pub(super) fn playground(
    listener: TcpListener,
    config: &Config,
    metrics: &Metrics,
    router: axum::Router,
) -> impl Future<Output = ()> + Send + 'static {
    let serving = serve(listener, config, metrics, router);
    async move {
        if let Err(error) = serving.await {
            tracing::error!(%error, "the playground's port is closed");
        }
    }
}

fn serve(
    listener: TcpListener,
    config: &Config,
    metrics: &Metrics,
    router: axum::Router,
) -> impl Future<Output = io::Result<()>> + Send + 'static {
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
        listener::serve(listener, terms, metrics, stopping, service).await
    }
}
