//! A request turned away before it became a call: which status and which code.

use bytes::Bytes;
use http::StatusCode;

use super::head::HeadFault;
use crate::{
    domain::{credentials::AuthFailure, json::JsonFault, problem::Problem},
    metrics::Rejection,
};

/// Why a request is turned away. In the order of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its length is given twice, or is none.
    Length,
    /// A transfer coding other than chunks.
    Coding,
    /// Not a target, or one for others.
    Target,
    /// No Host, two, or one that names no host.
    Host,
    /// The request target is too long.
    TargetTooLong,
    /// There is no such connector.
    UnknownPath,
    /// Not POST.
    Method,
    /// The credentials are missing, malformed, unknown, or right ones that are not let in here.
    Credentials(AuthFailure),
    /// Not JSON in UTF-8, by its headers.
    MediaType,
    /// The body is larger than allowed.
    TooLarge,
    /// What came as the body is not HTTP.
    BrokenBody,
    /// The body did not come in time.
    BodyTimeout,
    /// The body did not come as a whole before the room for it was needed for others.
    NoRoom,
    /// The body is not an object that is read.
    Json(JsonFault),
}

impl Refusal {
    fn problem(self) -> Problem {
        let problem = |status, code, title| Problem { status, code, title };
        match self {
            Refusal::Length => problem(400, "length", "Bad request"),
            Refusal::Coding => problem(400, "transfer_coding", "Bad request"),
            Refusal::Target => problem(400, "target", "Bad request"),
            Refusal::Host => problem(400, "host", "Bad request"),
            Refusal::TargetTooLong => problem(414, "target_too_long", "Address too long"),
            Refusal::UnknownPath => problem(404, "unknown_path", "Not found"),
            Refusal::Method => problem(405, "method_not_allowed", "Only POST is allowed"),
            Refusal::Credentials(failure) if failure.is_known_caller() => {
                problem(403, "forbidden", "Forbidden")
            }
            Refusal::Credentials(_) => problem(401, "unauthorized", "Unauthorized"),
            Refusal::MediaType => problem(415, "media_type", "Only JSON in UTF-8 is read"),
            Refusal::TooLarge => problem(413, "too_large", "The body is too large"),
            Refusal::BrokenBody => problem(400, "broken_body", "Bad request"),
            Refusal::BodyTimeout => problem(408, "body_timeout", "The body did not come in time"),
            Refusal::NoRoom => problem(408, "no_room", "The body did not come soon enough"),
            Refusal::Json(JsonFault::NotJson) => problem(422, "not_json", "The body is not JSON"),
            Refusal::Json(JsonFault::NotObject) => {
                problem(422, "not_an_object", "The body is not a JSON object")
            }
            Refusal::Json(JsonFault::KeyTwice) => {
                problem(422, "key_twice", "A key stands twice in the body")
            }
            Refusal::Json(JsonFault::TooDeep) => {
                problem(422, "too_deep", "The body is nested too deeply")
            }
        }
    }

    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.problem().status).unwrap_or(StatusCode::BAD_REQUEST)
    }

    /// The stable word for it.
    pub fn code(self) -> &'static str {
        self.problem().code
    }

    /// HTTP 400 with a body means ValidationError and nothing else.
    pub fn has_body(self) -> bool {
        self.status() != StatusCode::BAD_REQUEST
    }

    /// The body, empty where there is none.
    pub fn body(self) -> Bytes {
        if self.has_body() { self.problem().body().into() } else { Bytes::new() }
    }

    /// Whether the connection ends with it: what follows on it would not be a request.
    pub fn closes(self) -> bool {
        match self {
            Refusal::Length
            | Refusal::Coding
            | Refusal::Target
            | Refusal::Host
            | Refusal::TargetTooLong
            | Refusal::TooLarge
            | Refusal::BrokenBody
            | Refusal::BodyTimeout
            | Refusal::NoRoom => true,
            Refusal::UnknownPath
            | Refusal::Method
            | Refusal::Credentials(_)
            | Refusal::MediaType
            | Refusal::Json(_) => false,
        }
    }

    /// What is wrong with the credentials, if that is it.
    pub fn auth_failure(self) -> Option<AuthFailure> {
        if let Refusal::Credentials(failure) = self { Some(failure) } else { None }
    }

    /// Under what it is counted, besides failed authentication.
    pub fn rejection(self) -> Option<Rejection> {
        match self {
            Refusal::Length
            | Refusal::Coding
            | Refusal::Target
            | Refusal::Host
            | Refusal::BrokenBody => Some(Rejection::Malformed),
            Refusal::TargetTooLong => Some(Rejection::HeadTooLarge),
            Refusal::UnknownPath => Some(Rejection::UnknownPath),
            Refusal::Method => Some(Rejection::Method),
            Refusal::Credentials(_) => None,
            Refusal::MediaType => Some(Rejection::MediaType),
            Refusal::TooLarge => Some(Rejection::TooLarge),
            Refusal::BodyTimeout | Refusal::NoRoom => Some(Rejection::Timeout),
            Refusal::Json(_) => Some(Rejection::BadJson),
        }
    }
}

impl From<HeadFault> for Refusal {
    fn from(fault: HeadFault) -> Self {
        match fault {
            HeadFault::TwoLengths | HeadFault::NoLength => Refusal::Length,
            HeadFault::Coding => Refusal::Coding,
            HeadFault::Fragment => Refusal::Target,
            HeadFault::LineTooLong => Refusal::TargetTooLong,
        }
    }
}
