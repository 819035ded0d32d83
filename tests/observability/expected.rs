//! Which alerts real faults raise, and which cannot be raised here.

/// Alerts, without their common prefix, with a severity, that the story raises and ends.
pub(crate) const PROVOKED: &[(&str, &str)] = &[
    ("AvailabilityBudgetBurn", "critical"),
    ("AvailabilityBudgetBurn", "warning"),
    ("LatencyBudgetBurn", "warning"),
    ("LatencyBudgetBurn", "info"),
    ("ServingFallback", "critical"),
    ("ServingFallback", "warning"),
    ("UnexpectedStatus", "warning"),
    ("AllRequestsRefused", "critical"),
    ("AuthFailures", "warning"),
    ("ConnectionsRefused", "warning"),
    ("LateResponses", "critical"),
    ("LateResponses", "warning"),
    ("Stalled", "warning"),
    ("DeadlinePressure", "warning"),
    ("Retries", "warning"),
    ("NoWorkers", "critical"),
    ("InvalidReplies", "warning"),
    ("Overloaded", "warning"),
    ("BreakerOpen", "warning"),
    ("NatsDisconnected", "critical"),
    ("NatsInstanceDisconnected", "warning"),
    ("StoreUnavailable", "warning"),
    ("CertificateExpiry", "critical"),
    ("CertificateExpiry", "warning"),
    ("ReloadFailed", "warning"),
    ("LogLinesDropped", "warning"),
    ("SpansDropped", "info"),
    ("RecordsLost", "warning"),
    ("Restarting", "warning"),
    ("Down", "warning"),
    ("Absent", "critical"),
];

/// Those that it does not raise, and why. They have tests by promtool only.
pub(crate) const NOT_PROVOKED: &[(&str, &str, &str)] =
    &[("Panics", "warning", "no panic is known, and the program has no way to ask for one")];

/// Those whose end is not waited for: their windows are of two and six hours, which are minutes even
/// here.
pub(crate) const ENDS_LATER: &[(&str, &str)] =
    &[("AvailabilityBudgetBurn", "warning"), ("LatencyBudgetBurn", "info")];

/// One alert as it arrives: its name without the prefix, its severity, and labels that it has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    pub(crate) name: &'static str,
    pub(crate) severity: &'static str,
    pub(crate) labels: &'static [(&'static str, &'static str)],
}

impl Expected {
    /// Whether its end is waited for.
    pub(crate) fn ends_soon(&self) -> bool {
        !ENDS_LATER.contains(&(self.name, self.severity))
    }
}
