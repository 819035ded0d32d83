//! User flows of Azure AD B2C: the words of [`super::entra`], one step more, and less time.
//!
//! Sources: "Add an API connector to a sign-up user flow" and its overview (Azure AD B2C
//! documentation). The caller waits 5 s since May 2025 (20 s before) and retries once. Before a
//! token is sent only Continue exists: a block page is ignored there and the person goes on to the
//! application.

use std::time::Duration;

use super::{
    Expresses, Protocol, Step,
    entra::{AFTER_FEDERATION, BEFORE_CREATE, read, word},
};

pub(super) static PROTOCOL: Protocol = Protocol {
    name: "b2c",
    caller_waits: Duration::from_secs(5),
    default_deadline: Duration::from_millis(3_500),
    names_the_person: true,
    steps: &[
        Step { sample: AFTER_FEDERATION_SAMPLE, ..AFTER_FEDERATION },
        Step { sample: BEFORE_CREATE_SAMPLE, ..BEFORE_CREATE },
        BEFORE_TOKEN,
    ],
    word,
    read,
};

/// Unlike Entra, it names its step and the application.
const AFTER_FEDERATION_SAMPLE: &str = r#"{"email":"johnsmith@fabrikam.onmicrosoft.com","identities":[{"signInType":"federated","issuer":"facebook.com","issuerAssignedId":"0123456789"}],"displayName":"John Smith","givenName":"John","surname":"Smith","step":"PostFederationSignup","client_id":"93fd07aa-333c-409d-955d-96008fd08dd9","ui_locales":"en-US"}"#;

const BEFORE_CREATE_SAMPLE: &str = r#"{"email":"johnsmith@fabrikam.onmicrosoft.com","identities":[{"signInType":"federated","issuer":"facebook.com","issuerAssignedId":"0123456789"}],"displayName":"John Smith","givenName":"John","surname":"Smith","jobTitle":"Supplier","streetAddress":"1000 Microsoft Way","city":"Seattle","postalCode":"12345","state":"Washington","country":"United States","extension_0123456789abcdef0123456789abcdef_CustomAttribute1":"custom attribute value","step":"PostAttributeCollection","client_id":"93fd07aa-333c-409d-955d-96008fd08dd9","ui_locales":"en-US"}"#;

const BEFORE_TOKEN: Step = Step {
    name: "before-token",
    expresses: Expresses::OnlyContinue,
    overwrites_form: false,
    sample: r#"{"email":"johnsmith@fabrikam.onmicrosoft.com","identities":[{"signInType":"federated","issuer":"facebook.com","issuerAssignedId":"0123456789"}],"displayName":"John Smith","objectId":"11111111-2222-3333-4444-555555555555","extension_0123456789abcdef0123456789abcdef_CustomAttribute1":"custom attribute value","step":"PreTokenIssuance","client_id":"93fd07aa-333c-409d-955d-96008fd08dd9","ui_locales":"en-US"}"#,
};
