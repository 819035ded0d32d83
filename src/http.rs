//! What callers talk to: from the first byte of a request to the last byte of its answer.

pub mod arriving;
mod body;
pub mod connection;
mod fair;
pub mod form;
pub mod handshakes;
mod head;
pub mod listener;
mod media_type;
mod outliving;
pub mod peer;
pub mod refusal;
mod terms;

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{
        ALLOW, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE,
        WWW_AUTHENTICATE,
    },
};
use http_body::Body;

pub use self::body::Room;
use self::{
    connection::{AnswerBody, Progress},
    media_type::is_json_in_utf8,
    outliving::Outliving,
    peer::{CertificateRules, Peer},
    refusal::Refusal,
};
use crate::{
    budget::{Share, Source},
    call::{Call, Finished, Posted, Watcher},
    clock,
    domain::{
        call_id::HashKey, credentials::AuthFailure, deadline::milliseconds, outcome::Reason,
        problem::Problem, trace_context::TraceContext,
    },
    journal::{Journal, Notes},
    lane::Lane,
    metrics::{Metrics, Traced},
    pipeline::{Answered, Pipeline},
    secrets::{Auth, Live, Presented},
    traces::{NewRequest, RequestSpan, Traces},
    wire::Wire,
};

/// The longest request target that is looked at; a longer one gets 414.
pub const TARGET_BYTES_MAX: usize = 8 * 1024;

const PATH: &str = "/connectors/";
const CALL_ID: HeaderName = HeaderName::from_static("connector-call-id");
const ANSWER_SOURCE: HeaderName = HeaderName::from_static("connector-answer-source");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PROBLEM: HeaderValue = HeaderValue::from_static(Problem::MEDIA_TYPE);
const CHALLENGE: HeaderValue =
    HeaderValue::from_static(r#"Basic realm="connector-bridge", charset="UTF-8""#);

/// A body that is there is read, however little of the call's time is left.
const BODY_TIME_MIN: Duration = Duration::from_millis(250);

/// One connector as callers reach it.
pub struct Endpoint {
    /// The memory that is kept for its calls alone.
    pub reserve: Arc<Share>,
    /// The connector at work.
    pub lane: Arc<Lane>,
    /// Who may call it.
    pub auth: Auth,
}

/// A request for a connector, and where it is recorded.
#[derive(Clone, Copy)]
struct Named<'a> {
    endpoint: &'a Endpoint,
    span: &'a RequestSpan,
    notes: &'a Notes,
}

/// Everything that a request needs.
pub struct Front<W> {
    /// Decides calls.
    pub pipeline: Arc<Pipeline<W>>,
    /// The connectors by name.
    pub endpoints: HashMap<Box<str>, Endpoint>,
    /// Which certificates of callers count.
    pub certificates: CertificateRules,
    /// The key of the hash behind call ids.
    pub hash_key: Arc<Live<HashKey>>,
    /// What is counted.
    pub metrics: Metrics,
    /// The largest body that is read, in bytes.
    pub max_body: usize,
    /// What bodies may take while they come, and calls while they are decided.
    pub room: Room,
    /// Whether a watcher looks at bodies.
    pub tells_bodies: bool,
    /// How long a head or a body may take.
    pub read_timeout: Duration,
    /// `http` or `https`: what callers speak to the bridge.
    pub scheme: &'static str,
    /// Makes spans.
    pub traces: Traces,
    /// Takes notes of requests.
    pub journal: Journal,
    /// Are told of the end of every call.
    pub watchers: Vec<Watcher>,
}

impl<W: Wire> Front<W> {
    /// Answers one request. The checks run in the order of the documentation; one that fails ends
    /// the request before anything reaches NATS.
    pub async fn handle<B>(
        self: &Arc<Self>,
        request: Request<B>,
        progress: &Arc<Progress>,
        peer: &Peer,
    ) -> Response<AnswerBody>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let arrived = progress.arrived();
        if let Err(refusal) = form::check(&request) {
            return self.refuse(None, progress, refusal);
        }
        if request.uri().path_and_query().is_some_and(|t| t.as_str().len() > TARGET_BYTES_MAX) {
            return self.refuse(None, progress, Refusal::TargetTooLong);
        }
        let Some(endpoint) = self.endpoint(request.uri().path()) else {
            return self.refuse(None, progress, Refusal::UnknownPath);
        };
        let span = self.traces.request(NewRequest {
            connector: &endpoint.lane.connector,
            method: request.method(),
            at: arrived,
            scheme: self.scheme,
            context: trace_context(request.headers()),
        });
        let notes = self.journal.request(&endpoint.lane.connector, arrived, peer.socket);
        let named = Named { endpoint, span: &span, notes: &notes };
        let call = match self.read(named, request, arrived, peer).await {
            Ok(call) => Arc::new(call),
            Err(refusal) => return self.refuse(Some(named), progress, refusal),
        };
        progress.is_from_a_caller();
        // A caller that hangs up drops this future, but not the decision.
        let (front, deciding) = (Arc::clone(self), Arc::clone(&call));
        let of_call = Arc::clone(&call);
        let decided = Outliving::new(
            AssertUnwindSafe(async move {
                let answered = front.pipeline.run(&deciding).await;
                front.finish(&deciding, &answered);
                answered
            })
            .catch_unwind(),
            move || of_call.outlives_its_caller(),
        );
        let Answered { outcome, receipt, .. } = decided.await.unwrap_or_else(|_panic| {
            let answered = Answered::alone(self.pipeline.fallback(&call, Reason::WorkerError));
            self.finish(&call, &answered);
            answered
        });
        let body = AnswerBody::new(outcome.answer.body.clone(), receipt, progress);
        let body = self.room.count(body, outcome.answer.body.len());
        let mut response = Response::new(body);
        *response.status_mut() =
            StatusCode::from_u16(outcome.answer.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, if outcome.answer.is_decision() { JSON } else { PROBLEM });
        headers.insert(CACHE_CONTROL, NO_STORE);
        headers.insert(ANSWER_SOURCE, HeaderValue::from_static(outcome.source.label()));
        if let Ok(id) = HeaderValue::try_from(call.id.to_string()) {
            headers.insert(CALL_ID, id);
        }
        response
    }

    fn endpoint(&self, path: &str) -> Option<&Endpoint> {
        self.endpoints.get(path.strip_prefix(PATH)?)
    }

    /// Everything that must hold before a request is a call.
    async fn read<B>(
        &self,
        Named { endpoint, span, notes }: Named<'_>,
        request: Request<B>,
        arrived: Instant,
        peer: &Peer,
    ) -> Result<Call, Refusal>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        if request.method() != Method::POST {
            return Err(Refusal::Method);
        }
        self.authenticate(endpoint, &request, peer).map_err(Refusal::Credentials)?;
        notes.authenticated();
        if !is_json_in_utf8(request.headers()) {
            return Err(Refusal::MediaType);
        }
        if announced_length(request.headers()).is_some_and(|length| length > self.max_body) {
            return Err(Refusal::TooLarge);
        }
        let (limit, now) = (endpoint.lane.connector.deadline, clock::now());
        // After a stall the deadline may be over, and the body is there all the same.
        let read_until = (now + self.read_timeout).min((arrived + limit).max(now + BODY_TIME_MIN));
        let announced = announced_length(request.headers());
        let source = Source::of(peer.socket.ip());
        let unfinished = &self.room.unfinished;
        let body = body::read(request.into_body(), announced, self.max_body, unfinished, source);
        let body = clock::until(read_until, body).await.ok_or(Refusal::BodyTimeout)??;
        let (body, is_kept) = self.room.keep(body, &endpoint.reserve);
        let posted = Posted { body, is_kept, tells_body: self.tells_bodies };
        let lane = Arc::clone(&endpoint.lane);
        let (key, span, notes) = (self.hash_key.get(), span.clone(), notes.clone());
        Call::read(lane, arrived, posted, &key, span, notes).map_err(Refusal::Json)
    }

    fn authenticate<B>(
        &self,
        endpoint: &Endpoint,
        request: &Request<B>,
        peer: &Peer,
    ) -> Result<(), AuthFailure> {
        let (headers, now) = (request.headers(), clock::wall());
        endpoint.auth.check(Presented {
            authorization: headers.get_all(AUTHORIZATION).iter().map(HeaderValue::as_bytes),
            query: request.uri().query(),
            certificate: || peer.certificate(&self.certificates, headers, now),
            now,
        })
    }

    fn refuse(
        &self,
        named: Option<Named<'_>>,
        progress: &Arc<Progress>,
        refusal: Refusal,
    ) -> Response<AnswerBody> {
        let arrived = progress.arrived();
        if let Some(rejection) = refusal.rejection() {
            self.metrics.rejected(rejection);
        }
        if let Some(Named { endpoint: Endpoint { lane, .. }, span, notes }) = named {
            span.ended(refusal.status().as_u16());
            notes.refused(refusal.status().as_u16(), refusal.code());
            let taken = clock::now() - arrived;
            lane.metrics.refused(refusal.status().as_u16(), taken);
            let failure = refusal.auth_failure();
            if let Some(failure) = failure {
                lane.metrics.auth_failed(failure);
            }
            let connector = lane.connector.name.as_str();
            let (status, ms) = (refusal.status().as_u16(), milliseconds(taken));
            tracing::info!(
                connector,
                action = "none",
                source = "none",
                reason = refusal.code(),
                method = failure.map(|failure| failure.method.label()),
                fault = failure.map(|failure| failure.fault.label()),
                status,
                ms,
                trace_id = %span.trace_id(),
                "refused"
            );
        }
        let mut response = Response::new(AnswerBody::new(refusal.body(), None, progress));
        *response.status_mut() = refusal.status();
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, NO_STORE);
        if refusal.has_body() {
            headers.insert(CONTENT_TYPE, PROBLEM);
        }
        if refusal.closes() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        match refusal {
            Refusal::Method => drop(headers.insert(ALLOW, HeaderValue::from_static("POST"))),
            Refusal::Credentials(failure) if !failure.is_known_caller() => {
                drop(headers.insert(WWW_AUTHENTICATE, CHALLENGE));
            }
            Refusal::Credentials(_)
            | Refusal::Length
            | Refusal::Coding
            | Refusal::Target
            | Refusal::Host
            | Refusal::TargetTooLong
            | Refusal::UnknownPath
            | Refusal::MediaType
            | Refusal::TooLarge
            | Refusal::BrokenBody
            | Refusal::BodyTimeout
            | Refusal::NoRoom
            | Refusal::Json(_) => {}
        }
        response
    }

    /// Counts and logs the end of a call, and tells of it. Nothing returns past this.
    fn finish(&self, call: &Call, Answered { outcome, round, .. }: &Answered) {
        let (taken, at) = (clock::now() - call.arrived, clock::wall());
        let traced = call.span.recorded().map(|trace_id| Traced { trace_id, at });
        call.lane.metrics.answered(outcome, taken, traced);
        call.span.answered(outcome);
        let connector = call.lane.connector.name.as_str();
        let action = outcome.answer.action.map_or("none", |action| action.label());
        let reason = outcome.reason.map(Reason::label);
        let (status, ms) = (outcome.answer.status, milliseconds(taken));
        tracing::info!(
            connector,
            call_id = %call.id,
            action,
            source = outcome.source.label(),
            reason,
            status,
            ms,
            trace_id = %call.span.trace_id(),
            "answered"
        );
        let finished = Finished { call, outcome, round: *round, taken, at };
        self.watchers.iter().for_each(|watcher| watcher(&finished));
    }
}

/// The one that a caller brings.
fn trace_context(headers: &HeaderMap) -> Option<TraceContext> {
    let texts = |name| headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let mut parents = texts("traceparent");
    let parent = parents.next().filter(|_| parents.next().is_none())?;
    let states: Vec<&str> = texts("tracestate").collect();
    TraceContext::read(parent, Some(&states.join(",")))
}

fn announced_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
