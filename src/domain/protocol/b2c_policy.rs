//! RESTful technical profiles in custom policies of Azure AD B2C.
//!
//! Source: "Define a RESTful technical profile" (Azure AD B2C documentation): the caller waits
//! 10 s since May 2025 and retries once; success is HTTP 200 with the claims and nothing else,
//! failure is HTTP 409 with a message for the person.

use std::time::Duration;

use super::{Expresses, Protocol, Step, entra::VERSION, read_claims};
use crate::domain::{
    decision::{Decision, UserMessage, json_string},
    json::Object,
};

pub(super) static PROTOCOL: Protocol = Protocol {
    name: "b2c-policy",
    caller_waits: Duration::from_secs(10),
    default_deadline: Duration::from_millis(7_500),
    names_the_person: false,
    steps: &[CUSTOM],
    word,
    read,
};

/// A custom policy can call at any point; that it may be a form is assumed, since taking that for
/// granted does no harm. What it posts are the input claims that the policy's author names.
const CUSTOM: Step = Step {
    name: "custom",
    expresses: Expresses::Everything,
    overwrites_form: true,
    sample: r#"{"objectId":"11111111-2222-3333-4444-555555555555","signInName":"johnsmith@fabrikam.onmicrosoft.com","email":"johnsmith@fabrikam.onmicrosoft.com","displayName":"John Smith","loyaltyNumber":"1234567","correlationId":"99999999-8888-7777-6666-555555555555","ui_locales":"en-US"}"#,
};

fn word(decision: &Decision) -> (u16, String) {
    match decision {
        Decision::Continue(claims) => (200, format!("{{{}}}", claims.members())),
        Decision::ShowBlockPage(message) | Decision::ValidationError(message) => {
            let message = json_string(message.as_str());
            (409, format!(r#"{{"version":"{VERSION}","status":409,"userMessage":{message}}}"#))
        }
    }
}

fn read(status: u16, body: &Object<'_>) -> Result<Decision, &'static str> {
    let has = |name| body.get(name).is_some();
    match status {
        200 if has("version") || has("action") => Err("the claims hold an envelope"),
        200 => Ok(Decision::Continue(read_claims(body, &[])?)),
        409 if body.get("status").map(|status| status.text()) != Some("409") => {
            Err("the status in the body is not 409")
        }
        409 if !has("version") => Err("there is no version"),
        409 => {
            let message = body.get("userMessage").and_then(|message| message.as_str());
            let message = message.and_then(|text| UserMessage::parse(&text));
            message.map(Decision::ValidationError).ok_or("there is no userMessage")
        }
        _ => Err("the HTTP status is neither 200 nor 409"),
    }
}
