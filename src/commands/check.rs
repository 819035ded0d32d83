//! `connector-bridge check`

use std::io::Write;

use lexopt::Arg;

use super::{Failure, file, print, read_config};
use crate::secrets::Secrets;

pub(super) fn run(mut arguments: lexopt::Parser) -> Result<(), Failure> {
    let (mut config, mut files) = (None, false);
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("config") => config = Some(file(&mut arguments)?),
            Arg::Long("files") => files = true,
            other @ (Arg::Long(_) | Arg::Short(_) | Arg::Value(_)) => {
                return Err(other.unexpected().into());
            }
        }
    }
    let config = read_config(config.as_deref())?;
    if files {
        Secrets::open(&config).map_err(|error| Failure::Config(error.to_string()))?;
    }
    print(&config.effective());
    for warning in config.warnings() {
        drop(writeln!(std::io::stderr(), "warning: {warning}"));
    }
    Ok(())
}
