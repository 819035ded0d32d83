//! The configurations of the runs.

use std::sync::LazyLock;

use connector_bridge::{
    config::Config, domain::connector::Connector, metrics::Metrics, secrets::Secrets,
};

use super::plan::Times;

/// A configuration with what is made of it.
pub(crate) struct Setting {
    pub(crate) config: Config,
    pub(crate) secrets: Secrets,
    pub(crate) metrics: Metrics,
    pub(crate) times: Times,
}

impl Setting {
    fn of(protocol: &str, deadline: u64, window: u64, more: &str) -> Self {
        let text = format!(
            "calls: {{store: jetstream, replay_window: {window}ms}}\nconnectors:\n  c: {{protocol: \
             {protocol}, step: before-create, auth: none, deadline: {deadline}ms, {more}}}"
        );
        let config = Config::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let waits = config.connectors[0].connector.protocol.caller_waits;
        let caller_waits = u64::try_from(waits.as_millis()).unwrap();
        let (secrets, metrics) = (Secrets::open(&config).unwrap(), Metrics::new().unwrap());
        Self { config, secrets, metrics, times: Times { deadline, caller_waits, window } }
    }

    pub(crate) fn connector(&self) -> &Connector {
        &self.config.connectors[0].connector
    }
}

/// Made once: that takes longer than a run.
pub(crate) static SETTINGS: LazyLock<Vec<Setting>> = LazyLock::new(|| {
    let cached = "fallback: {cached: {by: [email], max_age: 1h}}";
    vec![
        Setting::of("entra", 15_000, 45_000, ""),
        Setting::of("b2c", 3_500, 15_000, ""),
        Setting::of("b2c", 3_500, 12_000, ""),
        Setting::of("b2c", 2_000, 12_000, cached),
    ]
});
