//! `connector-bridge worker-check`: sends a worker what a bridge sends, and says whether its
//! replies keep the contract.

mod cases;
mod claims;
mod judge;
mod options;
mod play;
mod reading;
mod record;
mod report;
mod totals;
mod verdict;

use self::{
    options::{Format, Options},
    verdict::Level,
};
use super::{Failure, print, runtime};

pub(super) fn run(arguments: lexopt::Parser) -> Result<(), Failure> {
    let options = Options::read(arguments)?;
    let Options { connector, key, claims, burst, .. } = &options;
    let cases = cases::plan(connector, key, claims, *burst)
        .map_err(|fault| Failure::Internal(format!("a case is {fault}")))?;
    let record = runtime()?.block_on(play::play(&options, &cases))?;
    let rows = judge::judge(connector, &cases, &record);
    print(&match options.format {
        Format::Text => report::text(&options, &rows),
        Format::Json => report::json(&options, &rows),
    });
    match rows.iter().any(|row| row.level() == Level::Fail) {
        true => Err(Failure::Found),
        false => Ok(()),
    }
}
