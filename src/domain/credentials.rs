//! Who may call: what the ways to authenticate say of a request, and what follows from that.
//!
//! Of `basic` and `client_certificates` one match suffices; an API key is needed in addition where
//! the connector has one.

pub mod api_key;
pub mod basic;
pub mod certificate;
pub mod forwarded;

/// A key for comparing secrets by their hashes. Random, and known to this process alone, so that
/// nobody can choose a secret whose hash begins as that of another.
pub type CompareKey = [u8; 32];

/// A way to authenticate, as callers use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// User name and password.
    Basic,
    /// A key in the URL.
    ApiKey,
    /// A client certificate.
    Certificate,
    /// The request used none of the ways that the connector has.
    None,
}

impl Method {
    /// The value of a metric's label.
    pub fn label(self) -> &'static str {
        match self {
            Method::Basic => "basic",
            Method::ApiKey => "api_key",
            Method::Certificate => "certificate",
            Method::None => "none",
        }
    }
}

/// What is wrong with what a request presents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuthFault {
    /// It presents nothing.
    Missing,
    /// It is not what the method prescribes.
    Malformed,
    /// It is not configured, or comes from a certificate authority that is not.
    Wrong,
    /// A certificate that is valid but not listed at this connector.
    NotListed,
    /// A certificate that is out of date, or not valid yet.
    Expired,
}

impl AuthFault {
    /// The value of a metric's label.
    pub fn label(self) -> &'static str {
        match self {
            AuthFault::Missing => "missing",
            AuthFault::Malformed => "malformed",
            AuthFault::Wrong => "wrong",
            AuthFault::NotListed => "not_listed",
            AuthFault::Expired => "expired",
        }
    }
}

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AuthFailure {
    /// By which way it tried.
    pub method: Method,
    /// What is wrong with that.
    pub fault: AuthFault,
}

impl AuthFailure {
    /// Every failure that there can be.
    pub const ALL: [Self; 10] = [
        Self { method: Method::None, fault: AuthFault::Missing },
        Self { method: Method::Basic, fault: AuthFault::Malformed },
        Self { method: Method::Basic, fault: AuthFault::Wrong },
        Self { method: Method::Certificate, fault: AuthFault::Malformed },
        Self { method: Method::Certificate, fault: AuthFault::Wrong },
        Self { method: Method::Certificate, fault: AuthFault::NotListed },
        Self { method: Method::Certificate, fault: AuthFault::Expired },
        Self { method: Method::ApiKey, fault: AuthFault::Missing },
        Self { method: Method::ApiKey, fault: AuthFault::Malformed },
        Self { method: Method::ApiKey, fault: AuthFault::Wrong },
    ];

    /// Whether the bridge knows who calls, and does not let them in here: 403 instead of 401.
    pub fn is_known_caller(self) -> bool {
        self.fault == AuthFault::NotListed
    }
}

/// What one way to authenticate says of a request.
pub type Verdict = Result<(), AuthFault>;

/// What every way that a connector has says of a request; `None` for a way that it does not have.
#[derive(Clone, Copy, Debug, Default)]
pub struct Verdicts {
    /// User name and password.
    pub basic: Option<Verdict>,
    /// Client certificate.
    pub certificate: Option<Verdict>,
    /// Key in the URL.
    pub api_key: Option<Verdict>,
}

impl Verdicts {
    /// Whether the request is let in.
    ///
    /// Where none of several ways fits, the failure is that of the way that the request used;
    /// where it used both, of the user name and password.
    pub fn judge(self) -> Result<(), AuthFailure> {
        let ways = [(Method::Basic, self.basic), (Method::Certificate, self.certificate)];
        let is_known = ways.iter().any(|(_, verdict)| *verdict == Some(Ok(())));
        let used = ways.into_iter().find_map(|(method, verdict)| match verdict {
            Some(Err(fault)) if fault != AuthFault::Missing => Some(AuthFailure { method, fault }),
            Some(_) | None => None,
        });
        let unused = AuthFailure { method: Method::None, fault: AuthFault::Missing };
        match (is_known, self.api_key) {
            (false, _) => Err(used.unwrap_or(unused)),
            (true, None | Some(Ok(()))) => Ok(()),
            (true, Some(Err(fault))) => Err(AuthFailure { method: Method::ApiKey, fault }),
        }
    }
}

/// Whether `presented` is one of `known`. Takes the same time whichever it is, or none: hashes are
/// compared in constant time, and all of them are.
fn is_among(known: &[blake3::Hash], presented: blake3::Hash) -> bool {
    known.iter().fold(false, |is_among, hash| is_among | (*hash == presented))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_basic_and_certificate_suffices_and_an_api_key_is_needed_in_addition() {
        use AuthFault::{Expired, Malformed, Missing, NotListed, Wrong};
        use Method::{ApiKey, Basic, Certificate, None as Nothing};
        const OK: Option<Verdict> = Some(Ok(()));
        const NO: Option<Verdict> = None;
        let bad = |fault| Some(Err(fault));
        let fails = |method, fault| Err(AuthFailure { method, fault });
        #[rustfmt::skip]
        let rows = [
            // basic, certificate, api key
            (OK, NO, NO, Ok(())),
            (NO, OK, NO, Ok(())),
            (OK, bad(Missing), NO, Ok(())),
            (OK, bad(NotListed), NO, Ok(())),
            (OK, bad(Expired), NO, Ok(())),
            (bad(Missing), OK, NO, Ok(())),
            (bad(Wrong), OK, NO, Ok(())),
            (bad(Missing), NO, NO, fails(Nothing, Missing)),
            (NO, bad(Missing), NO, fails(Nothing, Missing)),
            (bad(Missing), bad(Missing), NO, fails(Nothing, Missing)),
            (bad(Wrong), NO, NO, fails(Basic, Wrong)),
            (bad(Malformed), bad(Missing), NO, fails(Basic, Malformed)),
            (bad(Missing), bad(NotListed), NO, fails(Certificate, NotListed)),
            (bad(Missing), bad(Expired), NO, fails(Certificate, Expired)),
            (bad(Wrong), bad(NotListed), NO, fails(Basic, Wrong)),
            (OK, NO, OK, Ok(())),
            (OK, NO, bad(Missing), fails(ApiKey, Missing)),
            (NO, OK, bad(Wrong), fails(ApiKey, Wrong)),
            (bad(Wrong), NO, OK, fails(Basic, Wrong)),
            (bad(Missing), bad(Missing), OK, fails(Nothing, Missing)),
            (bad(Missing), NO, bad(Missing), fails(Nothing, Missing)),
            (NO, NO, NO, fails(Nothing, Missing)),
            (NO, NO, OK, fails(Nothing, Missing)),
        ];
        for (basic, certificate, api_key, wanted) in rows {
            let verdicts = Verdicts { basic, certificate, api_key };
            assert_eq!(verdicts.judge(), wanted, "{verdicts:?}");
            if let Err(failure) = wanted {
                assert!(AuthFailure::ALL.contains(&failure), "{failure:?}");
                assert_eq!(failure.is_known_caller(), failure.fault == NotListed);
            }
        }
    }
}
