//! Self-service sign-up in Microsoft Entra workforce tenants.
//!
//! Source: "Add an API connector to a user flow" (Microsoft Entra External ID documentation,
//! 2025-04-15): the caller waits 20 s, retries once, and reads `version`, `action`, `userMessage`
//! and, with HTTP 400 only, `status`.

use std::time::Duration;

use super::{Expresses, Protocol, Step, read_claims};
use crate::domain::{
    decision::{Decision, UserMessage, json_string},
    json::Object,
};

pub(super) static PROTOCOL: Protocol = Protocol {
    name: "entra",
    caller_waits: Duration::from_secs(20),
    default_deadline: Duration::from_secs(15),
    names_the_person: true,
    steps: &[AFTER_FEDERATION, BEFORE_CREATE],
    word,
    read,
};

pub(super) const AFTER_FEDERATION: Step = Step {
    name: "after-federation",
    expresses: Expresses::NoValidationError,
    overwrites_form: true,
    sample: r#"{"email":"johnsmith@fabrikam.onmicrosoft.com","identities":[{"signInType":"federated","issuer":"facebook.com","issuerAssignedId":"0123456789"}],"displayName":"John Smith","givenName":"John","lastName":"Smith","ui_locales":"en-US"}"#,
};

pub(super) const BEFORE_CREATE: Step = Step {
    name: "before-create",
    expresses: Expresses::Everything,
    overwrites_form: true,
    sample: r#"{"email":"johnsmith@fabrikam.onmicrosoft.com","identities":[{"signInType":"federated","issuer":"facebook.com","issuerAssignedId":"0123456789"}],"displayName":"John Smith","givenName":"John","surname":"Smith","jobTitle":"Supplier","streetAddress":"1000 Microsoft Way","city":"Seattle","postalCode":"12345","state":"Washington","country":"United States","ui_locales":"en-US"}"#,
};

/// "The version of your API", required in every answer; every documented example has this one.
pub(super) const VERSION: &str = "1.0.0";

const ENVELOPE: [&str; 2] = ["version", "action"];

pub(super) fn word(decision: &Decision) -> (u16, String) {
    let action = decision.action().name();
    match decision {
        Decision::Continue(claims) => {
            let claims = claims.members();
            let comma = if claims.is_empty() { "" } else { "," };
            // In no more room than it takes: it is remembered.
            let head = format!(r#"{{"version":"{VERSION}","action":"{action}""#);
            (200, [&head, comma, claims, "}"].concat())
        }
        Decision::ShowBlockPage(message) => {
            let message = json_string(message.as_str());
            let body =
                format!(r#"{{"version":"{VERSION}","action":"{action}","userMessage":{message}}}"#);
            (200, body)
        }
        Decision::ValidationError(message) => {
            let message = json_string(message.as_str());
            let body = format!(
                r#"{{"version":"{VERSION}","status":400,"action":"{action}","userMessage":{message}}}"#
            );
            (400, body)
        }
    }
}

pub(super) fn read(status: u16, body: &Object<'_>) -> Result<Decision, &'static str> {
    if body.get("version").and_then(|version| version.as_str()).is_none() {
        return Err("there is no version");
    }
    let message = || {
        let message = body.get("userMessage").and_then(|message| message.as_str());
        message.and_then(|text| UserMessage::parse(&text)).ok_or("there is no userMessage")
    };
    let status_in_body = body.get("status").map(|status| status.text());
    let action = body.get("action").and_then(|action| action.as_str());
    match (action.as_deref(), status, status_in_body) {
        (Some("Continue"), 200, None) => Ok(Decision::Continue(read_claims(body, &ENVELOPE)?)),
        (Some("ShowBlockPage"), 200, None) => Ok(Decision::ShowBlockPage(message()?)),
        (Some("ValidationError"), 400, Some("400" | "\"400\"")) => {
            Ok(Decision::ValidationError(message()?))
        }
        (Some("Continue" | "ShowBlockPage" | "ValidationError"), _, _) => {
            Err("the HTTP status or the status in the body does not fit the action")
        }
        (_, _, _) => Err("there is no known action"),
    }
}
