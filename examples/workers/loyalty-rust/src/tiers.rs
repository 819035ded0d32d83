//! Who is a member, and of which tier. Knows nothing of NATS.

use std::collections::HashMap;

/// What somebody is who is no member yet.
pub const ENTRY: Tier = Tier::Bronze;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    Bronze,
    Silver,
    Gold,
}

impl Tier {
    pub fn name(self) -> &'static str {
        match self {
            Self::Bronze => "bronze",
            Self::Silver => "silver",
            Self::Gold => "gold",
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub struct Member {
    pub number: String,
    /// Since the beginning.
    orders: u32,
    /// In whole euros, since the beginning.
    spent: u32,
}

impl Member {
    /// The rule. Either of the two is enough.
    pub fn tier(&self) -> Tier {
        match (self.orders, self.spent) {
            (20.., _) | (_, 1000..) => Tier::Gold,
            (5.., _) | (_, 250..) => Tier::Silver,
            _ => Tier::Bronze,
        }
    }
}

/// All members, by e-mail address.
#[derive(Debug)]
pub struct Members(HashMap<String, Member>);

impl Members {
    /// Reads a table with the columns `email,member,orders,spent`, without quotes. An error names
    /// the line and nothing that stands in it, which is personal data.
    pub fn parse(table: &str) -> Result<Self, String> {
        let mut members = HashMap::new();
        for (line, number) in table.lines().zip(1..).skip(1) {
            let fault = |what| format!("line {number}: {what}");
            let columns: Vec<_> = line.split(',').map(str::trim).collect();
            let [email, member, orders, spent] = columns[..] else {
                return Err(fault("it does not have four columns"));
            };
            let count =
                |text: &str| text.parse().map_err(|_| fault("orders or spent is no number"));
            if email.is_empty() || member.is_empty() {
                return Err(fault("email or member is empty"));
            }
            let found =
                Member { number: member.to_owned(), orders: count(orders)?, spent: count(spent)? };
            if members.insert(normal(email), found).is_some() {
                return Err(fault("the email stands twice"));
            }
        }
        Ok(Self(members))
    }

    pub fn find(&self, email: &str) -> Option<&Member> {
        self.0.get(&normal(email))
    }
}

/// The same text for the same mailbox, however it is typed. Letters beyond ASCII stay as they are:
/// the small letter of the kelvin sign is a k, and would make one member of two.
fn normal(email: &str) -> String {
    email.trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tier_of(orders: u32, spent: u32) -> Tier {
        Member { number: String::new(), orders, spent }.tier()
    }

    #[test]
    fn a_tier_comes_from_many_orders_or_from_much_money() {
        let rows = [
            (0, 0, Tier::Bronze),
            (4, 249, Tier::Bronze),
            (5, 0, Tier::Silver),
            (0, 250, Tier::Silver),
            (19, 999, Tier::Silver),
            (20, 0, Tier::Gold),
            (0, 1000, Tier::Gold),
            (u32::MAX, u32::MAX, Tier::Gold),
        ];
        for (orders, spent, tier) in rows {
            assert_eq!(tier_of(orders, spent), tier, "{orders} orders, {spent} spent");
        }
    }

    #[test]
    fn a_member_is_found_however_the_address_is_typed() {
        let members =
            Members::parse("email,member,orders,spent\nAda@example.com, M-1 ,3,4\n").unwrap();
        let ada = Member { number: "M-1".to_owned(), orders: 3, spent: 4 };
        assert_eq!(members.find(" ADA@Example.com"), Some(&ada));
        assert_eq!(members.find("ada@example.org"), None);
        let kim = Members::parse("email,member,orders,spent\nkim@example.com,M-2,3,4\n").unwrap();
        assert!(kim.find("Kim@example.com").is_some());
        assert_eq!(kim.find("\u{212a}im@example.com"), None, "the kelvin sign is no k");
        assert_eq!(members.find(""), None);
    }

    #[test]
    fn the_table_that_comes_with_it_can_be_read() {
        let members = Members::parse(include_str!("../members.csv")).unwrap();
        let tiers = ["ada", "grace", "alan"]
            .map(|name| members.find(&format!("{name}@example.com")).map(Member::tier));
        assert_eq!(tiers, [Some(Tier::Gold), Some(Tier::Silver), Some(Tier::Bronze)]);
    }

    #[test]
    fn a_fault_names_the_line_and_quotes_nothing() {
        for line in [
            "secret",
            "secret,M-1,1",
            "secret,M-1,x,1",
            "secret,M-1,1,-1",
            ",M-1,1,1",
            "secret,,1,1",
        ] {
            let fault = Members::parse(&format!("head\na@b,M,1,1\n{line}\n")).unwrap_err();
            assert!(fault.starts_with("line 3: "), "{fault}");
            assert!(!fault.contains("secret"), "{fault}");
        }
        let fault = Members::parse("head\na@b,M-1,1,1\nA@b,M-2,1,1\n").unwrap_err();
        assert_eq!(fault, "line 3: the email stands twice");
    }
}
