//! What a configuration may say, but had better not without knowing it.

use std::time::Duration;

use super::{AuthSettings, CallStore, Config, ConnectorSettings, units::write_duration};
use crate::domain::{credentials::certificate::Listed, fallback::DefaultAnswer};

/// Kept back at the end of a shutdown.
const SHUTDOWN_MARGIN: Duration = Duration::from_secs(1);

pub(super) fn of(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    let longest = config.connectors.iter().map(|settings| settings.connector.deadline).max();
    let needed = config.drain_delay + longest.unwrap_or_default() + SHUTDOWN_MARGIN;
    if config.shutdown_grace < needed {
        warnings.push(format!(
            "shutdown_grace: {} is less than drain_delay, the longest deadline and 1s together \
             ({}): calls in flight at the end get their fallback early",
            write_duration(config.shutdown_grace),
            write_duration(needed)
        ));
    }
    if config.calls.hash_key_file.is_none() {
        warnings.push(
            "calls.hash_key_file: without it, whoever sees a call id can find the claims behind \
             it by trying"
                .to_owned(),
        );
    }
    let shares_decisions = config.connectors.iter().any(|settings| {
        settings.connector.fallback.cached.as_ref().is_some_and(|cached| cached.shared)
    });
    let is_shared = config.calls.store == CallStore::Jetstream || shares_decisions;
    if is_shared && config.calls.encryption_key_files.is_empty() {
        warnings.push(
            "calls.encryption_key_files: without them, whoever can read the streams in NATS can \
             read the answers that are shared"
                .to_owned(),
        );
    }
    if config.forwarded.trusted_proxies.iter().any(|network| network.prefix_len() == 0) {
        warnings.push("trusted_proxies: everyone is trusted to pass on certificates".to_owned());
    }
    if config.playground_listen.is_some() {
        warnings.push(
            "playground_listen: whoever can open a connection on this machine, or forward a port \
             to it, can call every connector with the caller's credentials"
                .to_owned(),
        );
    }
    if config.events.as_ref().is_some_and(|events| !events.claims.is_empty()) {
        warnings.push(
            "events.claims: personal data goes to a stream: see to it who may read that, and how \
             long it is kept"
                .to_owned(),
        );
    }
    if config.events.as_ref().is_some_and(|events| events.subject.matches("connectors.>")) {
        warnings.push(
            "events.subject: a worker that listens below `connectors.` takes records for calls, and \
             a stream with this subject and its neighbours takes calls for records"
                .to_owned(),
        );
    }
    for settings in &config.connectors {
        let name = &settings.connector.name;
        let texts = connector(settings, config);
        warnings.extend(texts.into_iter().map(|text| format!("connectors.{name}.{text}")));
    }
    warnings
}

fn connector(settings: &ConnectorSettings, config: &Config) -> Vec<String> {
    let connector = &settings.connector;
    let fallback = &connector.fallback;
    let mut warnings = Vec::new();
    let mut warn = |text: &str| warnings.push(text.to_owned());
    if settings.auth == AuthSettings::None {
        warn("auth: none lets everyone call");
    }
    if let AuthSettings::Credentials(settings) = &settings.auth
        && !config.forwarded.trusted_proxies.is_empty()
        && settings.client_certificates.iter().any(|listed| matches!(listed, Listed::Subject(_)))
    {
        warn(
            "auth.client_certificates: a subject is worth what the proxies in trusted_proxies \
             check: they must refuse certificates of authorities other than yours",
        );
    }
    if fallback.default == DefaultAnswer::Continue {
        warn("fallback.default: continue lets people in whom no worker has checked");
    }
    if fallback.cached.is_some() && connector.step.overwrites_form {
        warn(
            "fallback.cached.by: a person who was once let in can continue with whatever was \
             typed now while no worker decides",
        );
    }
    if !connector.protocol.names_the_person && connector.identify_by.is_empty() {
        warn(
            "identify_by: without it, a call is only joined, replayed or cached if it holds one \
             of the well-known claims that name a person",
        );
    }
    if config.calls.replay_window < connector.protocol.caller_waits * 2 {
        warn(&format!(
            "protocol: calls.replay_window is shorter than the two times {} that the caller \
             waits: its retry may be decided anew",
            write_duration(connector.protocol.caller_waits)
        ));
    }
    warnings
}
