//! `connector-bridge schema`

use lexopt::{Arg, ValueExt};

use super::{Failure, print};

const SCHEMAS: [(&str, &str); 4] = [
    ("config", include_str!("../schemas/config.json")),
    ("decision", include_str!("../schemas/decision.json")),
    ("call", include_str!("../schemas/call.json")),
    ("event", include_str!("../schemas/event.json")),
];

pub(super) fn run(mut arguments: lexopt::Parser) -> Result<(), Failure> {
    let mut name = "config".to_owned();
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Value(value) => name = value.string()?,
            other @ (Arg::Long(_) | Arg::Short(_)) => return Err(other.unexpected().into()),
        }
    }
    let schema = SCHEMAS.iter().find(|(known, _)| *known == name);
    let Some((_, text)) = schema else {
        let known = SCHEMAS.map(|(known, _)| known).join(", ");
        return Err(Failure::Usage(format!("no schema {name:?}; there are {known}")));
    };
    print(text);
    Ok(())
}
