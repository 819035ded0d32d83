//! What the bridge itself looks at in the claims that the caller posts.

use std::borrow::Cow;

use super::json::{Kind, Object, Value};

/// Claims that name the person, in either Microsoft contract. Two requests with the same claims
/// are only taken as the same call where one of these, or of the connector's `identify_by`, is
/// filled: otherwise two people who typed the same would get one decision.
pub const PERSON_CLAIMS: [&str; 5] =
    ["email", "identities", "objectId", "signInName", "correlationId"];

/// Whether the claim is there and neither `null` nor empty.
pub fn is_filled(claims: &Object<'_>, name: &str) -> bool {
    claims.get(name).is_some_and(|value| !is_empty(value))
}

/// Whether the claims say whom they are about.
pub fn name_the_person(claims: &Object<'_>, identify_by: &[String]) -> bool {
    PERSON_CLAIMS.into_iter().any(|name| is_filled(claims, name))
        || identify_by.iter().any(|name| is_filled(claims, name))
}

/// Longer than any list of languages that a person reads.
const LOCALES_BYTES_MAX: usize = 256;

/// The languages that the person's device asks for, as the caller passes them on.
pub fn ui_locales<'a>(claims: &'a Object<'_>) -> Option<Cow<'a, str>> {
    let locales = claims.get("ui_locales")?.as_str()?;
    (locales.len() <= LOCALES_BYTES_MAX).then_some(locales)
}

fn is_empty(value: Value<'_>) -> bool {
    match value.kind() {
        Kind::Null => true,
        Kind::Boolean | Kind::Number(_) => false,
        Kind::String(text) => text.is_empty(),
        Kind::Array(items) => items.is_empty(),
        Kind::Object(members) => members.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_name_a_person_only_with_a_filled_identifying_claim() {
        let rows = [
            (r#"{"email":"a@b.c"}"#, true),
            (r#"{"identities":[{"issuer":"x"}]}"#, true),
            (r#"{"objectId":"1"}"#, true),
            (r#"{"signInName":"1"}"#, true),
            (r#"{"correlationId":"1"}"#, true),
            (r#"{"loyaltyId":7}"#, true),
            (r#"{"email":"","identities":[ ],"objectId":null,"signInName":"","city":"x"}"#, false),
            (r#"{"identities":{}}"#, false),
            (r#"{"Email":"a@b.c"}"#, false),
            ("{}", false),
        ];
        for (claims, names) in rows {
            let claims = Object::parse(claims.as_bytes()).unwrap();
            assert_eq!(name_the_person(&claims, &["loyaltyId".into()]), names, "{claims:?}");
        }
    }
}
