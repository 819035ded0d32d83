//! The ports that are not for callers: administration, and the playground.

use std::{net::TcpListener, sync::Arc};

use axum::response::{IntoResponse, Response};
use http::{Request, header::CONNECTION};
use tower_service::Service;

use crate::{
    admin::Admin,
    budget::{Crowd, Order, Share},
    clock,
    config::Config,
    domain::budget::Part,
    http::{
        arriving::Arriving,
        connection::Progress,
        form,
        listener::{self, Terms},
        peer::Peer,
        refusal::Refusal,
    },
    lane::Lane,
    lifecycle,
    metrics::Metrics,
    playground::Door,
    secrets::{Auth, Secrets},
};

/// The most connections to each of these ports; for one more, the one that was used longest ago is
/// closed.
pub(super) const CONNECTIONS_MAX: usize = 64;

/// What is at a port.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Port {
    /// Probes, metrics and the state.
    Administration,
    /// The playground's page.
    Playground,
}

/// An answer behind which the connection ends, without a body.
fn turned_away(refusal: Refusal, metrics: &Metrics) -> Response {
    refusal.rejection().into_iter().for_each(|why| metrics.rejected(why));
    (refusal.status(), [(CONNECTION, "close")]).into_response()
}

/// Serves a port, forever.
pub(super) fn serve(
    port: Port,
    listener: TcpListener,
    router: axum::Router,
    config: &Config,
    metrics: &Metrics,
) -> impl Future<Output = ()> + Send + 'static {
    let within = config.read_timeout;
    let room = CONNECTIONS_MAX * listener::connection_bytes(false);
    let crowd = Crowd::new(Share::new(Part::Connections, room), Order::Use);
    let terms = Terms { crowd, ..Terms::plain(within, usize::MAX) };
    let (metrics, counts) = (metrics.clone(), metrics.clone());
    // Probes are answered to the very end.
    let (never, stopping) = lifecycle::new();
    let service = move |request: Request<Arriving>, _: Arc<Progress>, _: Arc<Peer>| {
        let (mut router, metrics) = (router.clone(), counts.clone());
        async move {
            if let Err(refusal) = form::check(&request) {
                return turned_away(refusal, &metrics);
            }
            let answer = router.call(request.map(axum::body::Body::new));
            // What waits for no one waits for the body.
            match clock::until(clock::now() + within, answer).await {
                Some(Ok(response)) => response,
                Some(Err(never)) => match never {},
                None => turned_away(Refusal::BodyTimeout, &metrics),
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

/// What the playground calls, and with what.
pub(super) fn doors(config: &Config, secrets: &Secrets, admin: &Admin) -> Vec<Door> {
    let settings = config.connectors.iter().map(|settings| settings.auth.clone());
    let connectors = admin.lanes.iter().zip(&secrets.auth).zip(settings);
    let door = |((lane, (_, auth)), settings): ((&Arc<Lane>, &(_, Auth)), _)| Door {
        lane: Arc::clone(lane),
        auth: auth.clone(),
        settings,
    };
    connectors.map(door).collect()
}
