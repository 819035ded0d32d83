//! The section `events`.

use super::{ConnectorSettings, section::Section, units};
use crate::domain::{connector::Subject, event::EventRules};

/// Where records go that nobody has given another subject.
const SUBJECT: &str = "connector-events.decided";

/// The name of this replica in records: that of its machine, which containers have in `HOSTNAME`.
/// A text that is no name of a machine counts as none.
pub fn instance(variable: impl Fn(&'static str) -> Option<String>) -> Option<String> {
    let fits = |name: &String| {
        (1..=253).contains(&name.len()) && name.bytes().all(|c| c.is_ascii_graphic())
    };
    variable("HOSTNAME").filter(fits)
}

/// Records of decisions, where they are configured. What is published where workers listen would
/// be taken for a call.
pub(super) fn read(root: &Section<'_>, connectors: &[ConnectorSettings]) -> Option<EventRules> {
    let section = root.sub("events")?;
    let written = section.value("subject", units::subject);
    let claims = section.list("claims", units::text).unwrap_or_default();
    for (at, claim) in claims.iter().enumerate() {
        if claims.iter().take(at).any(|other| other == claim) {
            section.fault("claims", format!("names {claim:?} twice"));
        }
    }
    section.finish();
    let subject = written.or_else(|| Subject::parse(SUBJECT))?;
    let same = connectors.iter().find(|settings| settings.connector.subject == subject);
    if let Some(settings) = same {
        let name = &settings.connector.name;
        section.fault("subject", format!("is where the workers of connectors.{name} listen"));
    }
    Some(EventRules { subject, claims })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_has_the_name_of_its_machine_where_that_is_one() {
        let instance = |name: &str| instance(|key| (key == "HOSTNAME").then(|| name.to_owned()));
        for name in ["bridge-7d9c8b6f5-x2k4q", "node.example.com", &"x".repeat(253)] {
            assert_eq!(instance(name).as_deref(), Some(name));
        }
        for name in ["", "a b", "a\n", "n\u{e9}", &"x".repeat(254)] {
            assert_eq!(instance(name), None, "{name:?}");
        }
        assert_eq!(super::instance(|_| None), None);
    }
}
