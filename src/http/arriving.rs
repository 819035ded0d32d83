//! A request's body on its way, and what of it nobody has read when the request is answered.
//!
//! The HTTP library ends a connection whose body was not read to its end, and says so to nobody. A
//! proxy that keeps the connection then sends the next person's request into it, which is lost. So
//! no answer leaves before it is clear how the body ends: here and now, or with the connection.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, header::EXPECT};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::connection::Progress;

/// How much of a request that was answered already is still read.
pub(super) const REST_BYTES_MAX: usize = 256 * 1024;

/// In how many pieces. A chunk is a piece, however small, and each costs a turn.
const PIECES_MAX: usize = 64;

/// How often a piece is looked for: the library reads ahead only when asked to, and what has come
/// meanwhile is noticed between two turns of the thread.
const LOOKS: usize = 3;

/// What is left of a body when its reader has gone.
pub(super) enum Rest {
    /// It can be read on.
    Unread(Incoming),
    /// It broke, or its sender waits to be asked for it.
    Never,
}

/// A request's body.
pub struct Arriving {
    /// Nothing once it has come to its end.
    body: Option<Incoming>,
    waits_to_be_asked: bool,
    progress: Arc<Progress>,
}

impl Arriving {
    pub(super) fn watch(request: Request<Incoming>, progress: &Arc<Progress>) -> Request<Self> {
        let has_body = !request.body().is_end_stream();
        let waits_to_be_asked = has_body && request.headers().contains_key(EXPECT);
        let progress = Arc::clone(progress);
        request.map(|body| Self {
            body: Some(body).filter(|_| has_body),
            waits_to_be_asked,
            progress,
        })
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.waits_to_be_asked = false;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(&mut *body).poll_frame(context));
        if body.is_end_stream() || !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        if matches!(frame, Some(Err(_))) {
            self.progress.leave(Rest::Never);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        if let Some(body) = self.body.take() {
            let rest = if self.waits_to_be_asked { Rest::Never } else { Rest::Unread(body) };
            self.progress.leave(rest);
        }
    }
}

/// Reads what is here of a body, and waits for nothing. Whether that was all of it.
pub(super) async fn read_at_once(rest: Rest) -> bool {
    let Rest::Unread(mut body) = rest else { return false };
    let mut bytes = 0;
    for _ in 0..PIECES_MAX {
        match piece(&mut body).await {
            Some(Some(Ok(frame))) => bytes += frame.data_ref().map_or(0, Bytes::len),
            Some(None) => return true,
            Some(Some(Err(_))) | None => return false,
        }
        if body.is_end_stream() || bytes > REST_BYTES_MAX {
            break;
        }
    }
    body.is_end_stream()
}

/// The next piece if it is here.
async fn piece(body: &mut Incoming) -> Option<Option<Result<Frame<Bytes>, hyper::Error>>> {
    for _ in 1..LOOKS {
        if let Some(frame) = body.frame().now_or_never() {
            return Some(frame);
        }
        tokio::task::yield_now().await;
    }
    body.frame().now_or_never()
}
