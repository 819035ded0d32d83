//! `connector-bridge serve`

use std::time::Duration;

use lexopt::Arg;

use super::{Failure, file, read_config, runtime};
use crate::{
    app::App,
    config::{self, TraceSettings},
    lifecycle,
};

/// How long what is still running may take at the very end.
const EXIT_TIMEOUT: Duration = Duration::from_millis(200);

pub(super) fn run(mut arguments: lexopt::Parser) -> Result<(), Failure> {
    let mut config = None;
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("config") => config = Some(file(&mut arguments)?),
            other @ (Arg::Long(_) | Arg::Short(_) | Arg::Value(_)) => {
                return Err(other.unexpected().into());
            }
        }
    }
    let mut config = read_config(config.as_deref())?;
    config.traces =
        TraceSettings::read(variable).map_err(|error| Failure::Config(error.to_string()))?;
    config.instance = config::instance(variable);
    let runtime = runtime()?;
    let ended = runtime.block_on(async {
        let app = App::start(config, true).await?;
        let (address, admin_address) = (app.address, app.admin_address);
        tracing::info!(version = crate::VERSION, %address, %admin_address, "listening");
        if let Some(address) = app.playground_address {
            tracing::warn!(%address, "the playground is open to everyone on this machine");
        }
        app.run(async {
            if let Err(error) = lifecycle::signal().await {
                tracing::error!(%error, "signals cannot be received; stopping");
            }
        })
        .await
        .map_err(Failure::from)
    });
    // A look at a secret file on a disk that hangs does not hold up the end.
    runtime.shutdown_timeout(EXIT_TIMEOUT);
    ended
}

/// The exporter of spans is configured by the variables that all programs share, and the name of a
/// container's machine is one.
#[expect(clippy::disallowed_methods, reason = "these variables stand in no file")]
fn variable(name: &'static str) -> Option<String> {
    std::env::var(name).ok()
}
