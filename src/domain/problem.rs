//! Error bodies (RFC 9457). They carry no internal name, claim or worker text, because the caller
//! may show them to the person who signs up.

/// An error that is not an answer of any caller's contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// A stable word for programs.
    pub code: &'static str,
    /// A short text for people.
    pub title: &'static str,
}

impl Problem {
    /// The media type of [`Self::body`].
    pub const MEDIA_TYPE: &'static str = "application/problem+json";

    /// No decision can be expressed; the only one that an authenticated, well-formed call can get.
    pub const NO_DECISION: Self = Self { status: 503, code: "no_decision", title: "No decision" };

    /// The JSON body.
    pub fn body(&self) -> String {
        let Self { status, code, title } = self;
        format!(r#"{{"title":"{title}","status":{status},"code":"{code}"}}"#)
    }
}
