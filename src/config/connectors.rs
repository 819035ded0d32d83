//! The section `connectors`.

use std::time::Duration;

use super::{
    ConnectorSettings, HOUR,
    auth::{self, Certificates},
    section::Section,
    units::{self, Parsed},
};
use crate::domain::{
    breaker::BreakerRules,
    connector::{ClaimRules, Connector, ConnectorName, Subject},
    decision::UserMessage,
    fallback::{CachedRules, DefaultAnswer, FallbackRules},
    message::Messages,
    protocol::{Expresses, PROTOCOLS, Protocol, Step},
    sending::Patience,
};

/// The shortest deadline.
const DEADLINE_MIN: Duration = Duration::from_millis(50);

/// Members of a decision that are not claims, so that listing them makes no sense.
const NOT_CLAIMS: [&str; 4] = ["version", "status", "action", "userMessage"];

const DEFAULTS: [(&str, DefaultAnswer); 3] = [
    ("block", DefaultAnswer::Block),
    ("continue", DefaultAnswer::Continue),
    ("refuse", DefaultAnswer::Refuse),
];

/// The word for a default in the configuration.
pub(super) fn default_word(default: DefaultAnswer) -> &'static str {
    DEFAULTS.iter().find(|(_, answer)| *answer == default).map_or("", |(word, _)| *word)
}

pub(super) fn read(root: &Section<'_>, certificates: Certificates) -> Vec<ConnectorSettings> {
    if !root.has("connectors") {
        root.fault("connectors", "there must be at least one connector");
    }
    let Some(section) = root.sub("connectors") else { return Vec::new() };
    let all = section.subs();
    if all.is_empty() {
        root.fault("connectors", "there must be at least one connector");
    }
    let mut connectors = Vec::with_capacity(all.len());
    for (name, connector) in all {
        let parsed = ConnectorName::parse(&name);
        if parsed.is_none() {
            section.fault(&name, "the name of a connector is 1 to 64 of A-Z, a-z, 0-9, _ and -");
        }
        connectors.extend(self::connector(parsed, connector, certificates));
    }
    connectors
}

/// Reads everything, so that every fault is found, before giving up for want of a name or a step.
fn connector(
    name: Option<ConnectorName>,
    section: Section<'_>,
    certificates: Certificates,
) -> Option<ConnectorSettings> {
    let protocol = section.required("protocol", protocol);
    let step = step(&section, protocol);
    let subject = section.value("subject", units::subject);
    let deadline = section.value("deadline", deadline(protocol));
    let max_in_flight = section.or("max_in_flight", 1024, units::number(1..=1_000_000));
    let grace = section.or("grace", Duration::from_millis(500), units::duration(HOUR));
    let reconnect_grace =
        section.or("reconnect_grace", Duration::from_secs(10), units::duration(HOUR));
    let identify_by = section.list("identify_by", claim_name).unwrap_or_default();
    let auth = auth::read(&section, certificates);
    let claims = claims(&section);
    let fallback = fallback(&section, step);
    let breaker = breaker(&section);
    section.finish();

    let (name, protocol, step) = (name?, protocol?, step?);
    let default_subject = || Subject::parse(&format!("connectors.{name}.{}", step.name));
    let deadline = deadline.unwrap_or(protocol.default_deadline);
    let connector = Connector {
        subject: subject.or_else(default_subject)?,
        name,
        protocol,
        step,
        deadline,
        max_in_flight,
        patience: Patience { grace: grace.min(deadline), reconnect_grace },
        identify_by,
        claims,
        fallback,
        breaker,
    };
    Some(ConnectorSettings { connector, auth: auth? })
}

fn protocol(name: &str) -> Parsed<&'static Protocol> {
    let names = || PROTOCOLS.map(|protocol| protocol.name).join(", ");
    Protocol::named(name).ok_or_else(|| format!("{name:?} is none of {}", names()))
}

fn step(section: &Section<'_>, protocol: Option<&'static Protocol>) -> Option<&'static Step> {
    section
        .required("step", |name| match protocol {
            // Without a protocol there is one fault already; which steps there are is not known.
            None => Ok(None),
            Some(protocol) => protocol.step(name).map(Some).ok_or_else(|| {
                let names: Vec<&str> = protocol.steps.iter().map(|step| step.name).collect();
                format!("{name:?} is no step of {}; it has {}", protocol.name, names.join(", "))
            }),
        })
        .flatten()
}

fn deadline(protocol: Option<&'static Protocol>) -> impl Fn(&str) -> Parsed<Duration> {
    move |text| {
        let Some(protocol) = protocol else {
            return units::duration(DEADLINE_MIN..=Duration::MAX)(text);
        };
        units::duration(DEADLINE_MIN..=protocol.deadline_max())(text).map_err(|fault| {
            let waits = units::write_duration(protocol.caller_waits);
            format!("{fault}; the caller of {} stops waiting after {waits}", protocol.name)
        })
    }
}

fn claim_name(text: &str) -> Parsed<String> {
    units::text(text)
}

fn returned_claim_name(text: &str) -> Parsed<String> {
    if NOT_CLAIMS.contains(&text) {
        return Err(format!("{text:?} is not a claim"));
    }
    claim_name(text)
}

fn claims(section: &Section<'_>) -> ClaimRules {
    let claims = section.sub("claims");
    let claims = claims.as_ref();
    let message = claims.and_then(|claims| claims.value("require_message", units::message));
    let rules = ClaimRules {
        require: claims.and_then(|claims| claims.list("require", claim_name)).unwrap_or_default(),
        require_message: Messages::new(message.unwrap_or(UserMessage::FILL_IN_ALL), vec![]),
        returned: claims.and_then(|claims| claims.list("return", returned_claim_name)),
    };
    claims.into_iter().for_each(Section::finish);
    rules
}

fn fallback(section: &Section<'_>, step: Option<&'static Step>) -> FallbackRules {
    let fallback = section.sub("fallback");
    let fallback = fallback.as_ref();
    let default = fallback.and_then(|fallback| fallback.value("default", default_answer(step)));
    if step.is_some_and(has_no_block_page)
        && !fallback.is_some_and(|fallback| fallback.has("default"))
    {
        let (section, key) =
            fallback.map_or((section, "fallback"), |fallback| (fallback, "default"));
        section.fault(key, "must be written here: the step has no block page");
    }
    let message = fallback.and_then(|fallback| fallback.value("message", units::message));
    let languages = fallback.and_then(|fallback| fallback.sub("messages")).map(languages);
    let cached = fallback.and_then(|fallback| fallback.sub("cached")).map(cached);
    fallback.into_iter().for_each(Section::finish);
    FallbackRules {
        cached,
        default: default.unwrap_or(DefaultAnswer::Block),
        messages: Messages::new(
            message.unwrap_or(UserMessage::COULD_NOT_CHECK),
            languages.unwrap_or_default(),
        ),
    }
}

fn has_no_block_page(step: &Step) -> bool {
    step.expresses == Expresses::OnlyContinue
}

fn default_answer(step: Option<&'static Step>) -> impl Fn(&str) -> Parsed<DefaultAnswer> {
    move |text| match units::one_of(&DEFAULTS)(text)? {
        DefaultAnswer::Block if step.is_some_and(has_no_block_page) => {
            Err("the step has no block page; write continue or refuse".to_owned())
        }
        answer @ (DefaultAnswer::Block | DefaultAnswer::Continue | DefaultAnswer::Refuse) => {
            Ok(answer)
        }
    }
}

fn languages(section: Section<'_>) -> Vec<(String, UserMessage)> {
    let messages = section.values(units::message);
    for (at, (tag, _)) in messages.iter().enumerate() {
        if messages.iter().take(at).any(|(other, _)| other.eq_ignore_ascii_case(tag)) {
            section.fault(tag, "stands twice: case does not count in a language tag");
        }
        let fits = |subtag: &str| {
            (1..=8).contains(&subtag.len()) && subtag.bytes().all(|c| c.is_ascii_alphanumeric())
        };
        if !tag.split('-').all(fits) {
            section.fault(tag, "is not a language tag as de or pt-BR");
        }
    }
    section.finish();
    messages
}

fn cached(section: Section<'_>) -> CachedRules {
    let year = Duration::from_secs(365 * 86_400);
    let second = Duration::from_secs(1);
    let by = required_list(&section, "by");
    let rules = CachedRules {
        by,
        max_age: section.or("max_age", 86_400 * second, units::duration(second..=year)),
        max_entries: section.or("max_entries", 10_000, units::number(1..=10_000_000)),
        shared: section.or("shared", false, units::boolean),
    };
    section.finish();
    rules
}

fn required_list(section: &Section<'_>, key: &str) -> Vec<String> {
    let names = section.list(key, claim_name);
    if names.as_ref().is_none_or(Vec::is_empty) {
        section.fault(key, "must name at least one claim");
    }
    names.unwrap_or_default()
}

fn breaker(section: &Section<'_>) -> BreakerRules {
    let breaker = section.sub("breaker");
    let breaker = breaker.as_ref();
    let failures = breaker.and_then(|b| b.value("failures", units::number(1..=1_000_000)));
    let bounds = Duration::from_millis(100)..=*HOUR.end();
    let open_for = breaker.and_then(|b| b.value("open_for", units::duration(bounds.clone())));
    breaker.into_iter().for_each(Section::finish);
    BreakerRules {
        failures: failures.unwrap_or(5),
        open_for: open_for.unwrap_or(Duration::from_secs(10)),
    }
}
