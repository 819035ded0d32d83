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
    steps: &[AFTER_FEDERATION, BEFORE_CREATE, BEFORE_TOKEN],
    word,
    read,
};

const BEFORE_TOKEN: Step =
    Step { name: "before-token", expresses: Expresses::OnlyContinue, overwrites_form: false };
