//! Who may call one connector, by the secrets in force.

use std::{sync::Arc, time::SystemTime};

use super::{Live, Secret};
use crate::{
    config::AuthSettings,
    domain::credentials::{
        AuthFailure, AuthFault, Verdicts,
        api_key::ApiKeys,
        basic::BasicCredentials,
        certificate::{Certificate, Listed},
    },
};

/// Who may call one connector.
#[derive(Clone)]
pub enum Auth {
    /// Anyone.
    Anyone,
    /// Whoever shows what one of these wants.
    Credentials {
        /// User names and passwords, where there are any.
        basic: Option<Arc<Live<BasicCredentials>>>,
        /// Certificates, where there are any.
        certificates: Option<Arc<[Listed]>>,
        /// Keys that are needed in addition, where there are any.
        api_keys: Option<Arc<Live<ApiKeys>>>,
    },
}

/// What a request shows.
pub struct Presented<'a, A, C> {
    /// The values of all its `Authorization` headers.
    pub authorization: A,
    /// The query of its URL.
    pub query: Option<&'a str>,
    /// Finds out which certificate it shows; `None` where it shows none.
    pub certificate: C,
    /// The time.
    pub now: SystemTime,
}

/// What a caller that knows the secrets in force would show.
#[derive(Default)]
pub struct Shown {
    /// User name and password.
    pub basic: Option<(String, Secret)>,
    /// Goes into the URL.
    pub api_key: Option<Secret>,
}

impl Auth {
    /// The first of each kind that `settings` name. No certificate: its key is with the caller.
    pub fn first(&self, settings: &AuthSettings) -> Shown {
        match (self, settings) {
            (Auth::Credentials { basic, api_keys, .. }, AuthSettings::Credentials(settings)) => {
                let username = settings.basic.first().map(|entry| entry.username.clone());
                let password = basic.as_ref().and_then(|basic| basic.first());
                let api_key = api_keys.as_ref().and_then(|keys| keys.first());
                Shown { basic: username.zip(password), api_key }
            }
            (Auth::Anyone, _) | (_, AuthSettings::None) => Shown::default(),
        }
    }

    /// Checks what a request shows. Everything is looked at that the connector has, whatever comes
    /// of the first.
    pub fn check<'a, A, C>(&self, presented: Presented<'a, A, C>) -> Result<(), AuthFailure>
    where
        A: Iterator<Item = &'a [u8]>,
        C: FnOnce() -> Result<Option<Certificate>, AuthFault>,
    {
        let Auth::Credentials { basic, certificates, api_keys } = self else { return Ok(()) };
        let basic = basic.as_ref().map(|basic| basic.get().check(presented.authorization));
        let certificate = certificates.as_ref().map(|listed| {
            let certificate = (presented.certificate)()?.ok_or(AuthFault::Missing)?;
            certificate.check(listed, presented.now)
        });
        let api_key = api_keys.as_ref().map(|keys| keys.get().check(presented.query));
        Verdicts { basic, certificate, api_key }.judge()
    }
}
