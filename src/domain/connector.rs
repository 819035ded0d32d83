//! One configured HTTP endpoint for one step of one user flow.

use std::{fmt, time::Duration};

use super::{
    breaker::BreakerRules,
    decision::Decision,
    fallback::FallbackRules,
    message::Messages,
    protocol::{Answer, Protocol, Step},
    sending::Patience,
};

/// The rules of one connector. Its secrets are not here.
#[derive(Clone, Debug)]
pub struct Connector {
    /// `POST /connectors/{name}`
    pub name: ConnectorName,
    /// The caller's contract.
    pub protocol: &'static Protocol,
    /// Where in its flow the caller calls.
    pub step: &'static Step,
    /// Where its workers listen.
    pub subject: Subject,
    /// From the request's first byte to the last byte of the answer.
    pub deadline: Duration,
    /// The most calls that are with the workers at once.
    pub max_in_flight: usize,
    /// How long a call waits for a worker or the connection to come back.
    pub patience: Patience,
    /// Claims that name the person, besides the well-known ones.
    pub identify_by: Vec<String>,
    /// What the bridge itself asks of claims.
    pub claims: ClaimRules,
    /// What is answered without a decision.
    pub fallback: FallbackRules,
    /// When its workers are given a rest.
    pub breaker: BreakerRules,
}

impl Connector {
    /// The answer that `decision` is here.
    pub fn answer(&self, decision: &Decision) -> Answer {
        Answer::to(self.protocol, self.step, decision)
    }
}

/// What the bridge itself asks of claims, posted and returned.
#[derive(Clone, Debug)]
pub struct ClaimRules {
    /// Posted claims that must be filled.
    pub require: Vec<String>,
    /// What the person is told otherwise.
    pub require_message: Messages,
    /// Returned claims that are passed on; all, where there is no list.
    pub returned: Option<Vec<String>>,
}

/// `[A-Za-z0-9_-]{1,64}`: fit for a URL path, a subject token and a label as it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectorName(Box<str>);

impl ConnectorName {
    /// The longest name, in characters.
    pub const CHARS_MAX: usize = 64;

    /// `None` for a text that is not a connector name.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let ok = (1..=Self::CHARS_MAX).contains(&text.len()) && text.chars().all(fits);
        ok.then(|| Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ConnectorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A subject that can be published to: no wildcard, no empty token, printable ASCII only, and not
/// one of those that NATS keeps for itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject(Box<str>);

impl Subject {
    /// The longest subject, in characters (NATS documentation, "Subject-Based Messaging").
    pub const CHARS_MAX: usize = 255;

    /// `None` for a text that is not such a subject.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = |c: char| c.is_ascii_graphic() && c != '*' && c != '>';
        let token = |token: &str| !token.is_empty() && token.chars().all(fits);
        let ok = text.len() <= Self::CHARS_MAX
            && !text.starts_with(['$', '_'])
            && text.split('.').all(token);
        ok.then(|| Self(text.into()))
    }

    /// The subject.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a subscription to `pattern` receives what is published here.
    pub fn matches(&self, pattern: &str) -> bool {
        matches(pattern, &self.0)
    }
}

/// Whether a subscription to `pattern` receives all that is published to `subject`, which may hold
/// wildcards itself.
pub(super) fn matches(pattern: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for wanted in pattern.split('.') {
        match (wanted, tokens.next()) {
            (">", Some(_)) => return true,
            ("*", Some(token)) if token != ">" => {}
            (wanted, Some(token)) if wanted == token => {}
            (_, _) => return false,
        }
    }
    tokens.next().is_none()
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_or_subject_that_could_reach_elsewhere_is_none() {
        for bad in ["", "a.b", "a b", "a/b", "ä", "a\r\n", &"x".repeat(65)] {
            assert_eq!(ConnectorName::parse(bad), None, "{bad:?}");
        }
        assert!(ConnectorName::parse("Approve_sign-up9").is_some());
        for bad in [
            "", ".", "a.", ".a", "a..b", "a.*", "a.>", "a b", "a\r\nb", "a\0", "$JS.API",
            "_INBOX.x",
        ] {
            assert_eq!(Subject::parse(bad), None, "{bad:?}");
        }
        assert_eq!(Subject::parse(&"x".repeat(256)), None);
        assert!(Subject::parse("connectors.approve-signup.before-create").is_some());
    }

    #[test]
    fn a_subscription_matches_token_by_token() {
        let subject = Subject::parse("connectors.a.before-create").unwrap();
        for pattern in [
            "connectors.a.before-create",
            "connectors.*.before-create",
            "connectors.>",
            ">",
            "*.*.*",
        ] {
            assert!(subject.matches(pattern), "{pattern}");
        }
        for pattern in ["connectors.a", "connectors.a.before-create.>", "*.*", "connectors.b.>", ""]
        {
            assert!(!subject.matches(pattern), "{pattern}");
        }
    }
}
