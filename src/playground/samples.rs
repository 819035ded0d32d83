//! Claims to begin with, as the callers' documentation shows them.

use crate::{
    caller::SAMPLE_CLAIMS,
    domain::connector::{Connector, ConnectorName},
};

/// Claims that somebody has written down for a connector.
#[derive(Clone, Debug)]
pub struct Sample {
    /// For whom.
    pub connector: ConnectorName,
    /// What happens with them.
    pub name: &'static str,
    /// One JSON object.
    pub claims: &'static str,
    /// Whether the caller shows the right password with them.
    pub knows_password: bool,
}

/// "Add an API connector to a sign-up user flow" (Azure AD B2C documentation, 2023): the request
/// before the user is created.
const B2C_CLAIMS: &str = r#"{"email":"johnsmith@fabrikam.onmicrosoft.com","identities":[{"signInType":"federated","issuer":"facebook.com","issuerAssignedId":"0123456789"}],"displayName":"John Smith","givenName":"John","surname":"Smith","jobTitle":"Supplier","streetAddress":"1000 Microsoft Way","city":"Seattle","postalCode":"12345","state":"Washington","country":"United States","step":"PostAttributeCollection","client_id":"93fd07aa-333c-409d-955d-96008fd08dd9","ui_locales":"en-US"}"#;

/// The same, right after an identity provider: the attribute form was not shown yet.
const AFTER_FEDERATION_CLAIMS: &str = r#"{"email":"johnsmith@fabrikam.onmicrosoft.com","identities":[{"signInType":"federated","issuer":"facebook.com","issuerAssignedId":"0123456789"}],"displayName":"John Smith","givenName":"John","surname":"Smith","ui_locales":"en-US"}"#;

/// "Enrich tokens with claims from external sources using API connectors" (Azure AD B2C
/// documentation, 2023).
const TOKEN_CLAIMS: &str = r#"{"email":"johnsmith@fabrikam.onmicrosoft.com","identities":[{"signInType":"federated","issuer":"facebook.com","issuerAssignedId":"0123456789"}],"displayName":"John Smith","objectId":"aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb","step":"PreTokenIssuance","client_id":"93fd07aa-333c-409d-955d-96008fd08dd9","ui_locales":"en-US"}"#;

/// A custom policy sends the input claims of its technical profile, under names of its own.
const POLICY_CLAIMS: &str = r#"{"email":"johnsmith@fabrikam.onmicrosoft.com","givenName":"John","surname":"Smith","loyaltyNumber":"1234567","ui_locales":"en-US"}"#;

/// The documented claims for a connector's step.
pub(super) fn documented(connector: &Connector) -> &'static str {
    match (connector.protocol.name, connector.step.name) {
        (_, "after-federation") => AFTER_FEDERATION_CLAIMS,
        (_, "before-token") => TOKEN_CLAIMS,
        ("b2c", _) => B2C_CLAIMS,
        ("b2c-policy", _) => POLICY_CLAIMS,
        (_, _) => SAMPLE_CLAIMS,
    }
}
