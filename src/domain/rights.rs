//! What a NATS user may do: what a server says of it, and which of the rights that are needed are
//! missing. Without this, a missing right looks like silence.

use serde::Deserialize;

use super::connector::matches;

/// Something that a user can be allowed to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Right {
    /// To publish to this subject.
    Publish(String),
    /// To subscribe to this subject, which may hold wildcards.
    Subscribe(String),
}

/// The rights of one user, as `$SYS.REQ.USER.INFO` gives them. What is not there is not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    publish: Permission,
    subscribe: Permission,
}

/// Subjects with wildcards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct Permission {
    #[serde(default)]
    allow: Vec<String>,
    #[serde(default)]
    deny: Vec<String>,
}

#[derive(Deserialize)]
struct Reply {
    data: User,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    permissions: Permissions,
}

#[derive(Default, Deserialize)]
struct Permissions {
    #[serde(default)]
    publish: Permission,
    #[serde(default)]
    subscribe: Permission,
}

impl Rights {
    /// From the reply to `$SYS.REQ.USER.INFO`; `None` where it is none.
    pub fn parse(reply: &[u8]) -> Option<Self> {
        let Permissions { publish, subscribe } =
            serde_json::from_slice::<Reply>(reply).ok()?.data.permissions;
        Some(Self { publish, subscribe })
    }

    /// Whether the user has this right.
    pub fn has(&self, right: &Right) -> bool {
        match right {
            Right::Publish(subject) => self.publish.grants(subject),
            Right::Subscribe(subject) => self.subscribe.grants(subject),
        }
    }
}

impl Permission {
    /// An entry with a queue group behind it grants nothing outside of that group.
    fn grants(&self, subject: &str) -> bool {
        let is_in = |entries: &[String]| entries.iter().any(|pattern| matches(pattern, subject));
        (self.allow.is_empty() || is_in(&self.allow)) && !is_in(&self.deny)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_is_there_where_it_is_allowed_and_not_denied() {
        let rows: [(&str, &[&str], &[&str]); 6] = [
            (r#"{"user":"a","account":"A"}"#, &["connectors.c.s", "x"], &[]),
            (
                r#"{"permissions":{"publish":{"allow":["connectors.>","$SRV.INFO"]}}}"#,
                &["connectors.c.s", "$SRV.INFO"],
                &["$SRV.PING", "connectors", "other.c.s"],
            ),
            (
                r#"{"permissions":{"publish":{"allow":["connectors.*.s"],"deny":["connectors.d.>"]}}}"#,
                &["connectors.c.s"],
                &["connectors.d.s", "connectors.c.t", "connectors.c"],
            ),
            (r#"{"permissions":{"publish":{"deny":["a.b"]}}}"#, &["a.c"], &["a.b"]),
            (r#"{"permissions":{"publish":{"allow":["a.b q"]}}}"#, &[], &["a.b"]),
            (r#"{"permissions":{"subscribe":{"allow":["a"]}}}"#, &["b"], &[]),
        ];
        for (user, has, has_not) in rows {
            let rights = Rights::parse(format!(r#"{{"server":{{}},"data":{user}}}"#).as_bytes());
            let rights = rights.unwrap();
            for (subjects, wanted) in [(has, true), (has_not, false)] {
                for subject in subjects {
                    let right = Right::Publish((*subject).to_owned());
                    assert_eq!(rights.has(&right), wanted, "{user} {subject}");
                }
            }
        }
        let reply = br#"{"data":{"permissions":{"subscribe":{"allow":["_INBOX_a.>","b.*"]}}}}"#;
        let rights = Rights::parse(reply).unwrap();
        for (subject, wanted) in
            [("_INBOX_a.1.*", true), ("_INBOX_a.>", true), ("_INBOX.*", false), ("b.>", false)]
        {
            assert_eq!(rights.has(&Right::Subscribe(subject.to_owned())), wanted, "{subject}");
        }
        for bad in ["", "{}", r#"{"error":{"code":500}}"#] {
            assert_eq!(Rights::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
