"""The words of connector-bridge: labels, metrics, colors, what people got. One color means one thing,
everywhere."""

from .grafana import RATE, look, steps

# Labels of a process, and of a connector in it. `namespace` may be absent, outside Kubernetes.
PROCESS = 'namespace=~"$namespace", job=~"$job", instance=~"$instance"'
CONNECTOR = PROCESS + ', connector=~"$connector"'

# Green: decided, well. Orange and yellow: a fallback, a warning. Red: an error, a fault.
GREEN, YELLOW, ORANGE, RED, DARK_RED = "green", "yellow", "orange", "red", "dark-red"
BLUE, PURPLE, LIGHT_BLUE, LIGHT_GREEN = "blue", "purple", "light-blue", "light-green"
GREY, NEUTRAL = "#8e8e8e", "#56606e"  # not known; a number that is neither good nor bad

SOURCES = {
    "worker": ("Worker, now", GREEN),
    "replay": ("Worker, the same call again", LIGHT_BLUE),
    "cache": ("Fallback: an earlier decision", YELLOW),
    "default": ("Fallback: the default", ORANGE),
}
REASONS = {
    "no_responders": ("No worker listens", RED),
    "disconnected": ("NATS is gone", PURPLE),
    "timeout": ("Worker silent or too slow", ORANGE),
    "breaker_open": ("Not asked: no reply just before", YELLOW),
    "invalid_reply": ("Worker replies nonsense", DARK_RED),
    "worker_error": ("Worker says that it failed", "light-red"),
    "overload": ("Too many calls at once", BLUE),
    "missing_claim": ("A required claim is missing", LIGHT_GREEN),
    "shutting_down": ("Bridge is stopping", GREY),
}
RESULTS = {
    "ok": ("A decision", GREEN),
    "no_responders": REASONS["no_responders"],
    "disconnected": REASONS["disconnected"],
    "timeout": ("Silence until the deadline", ORANGE),
    "invalid_reply": ("Nonsense", DARK_RED),
    "worker_error": REASONS["worker_error"],
}


def name_of(metric):
    is_own = not metric.startswith(("process_", "up"))
    return "connector_bridge_" + metric if is_own else metric


# The families without a label `connector`.
OF_PROCESS = (
    "build_info cache_entries config_last_reload_successful credentials_loaded_timestamp_seconds draining events_total"
    " log_messages_dropped_total log_messages_total nats_connected nats_connection_events_total panics_total"
    " ready rejections_total spans_dropped_total store_available store_operations_total"
    " tls_certificate_not_after_timestamp_seconds"
).split()


def one(metric, **labels):
    """A selector. The value of a label may begin with an operator: code="!~200|400"."""
    matchers = PROCESS if metric in OF_PROCESS or name_of(metric) == metric else CONNECTOR
    for label, value in labels.items():
        operator = value[:2] if value[:2] in ("=~", "!~", "!=") else ""
        matchers += f', {label}{operator or "="}"{value[len(operator) :]}"'
    return f"{name_of(metric)}{{{matchers}}}"


def rate(metric, by="", **labels):
    return f"sum{f' by ({by})' if by else ''} (rate({one(metric, **labels)}[{RATE}]))"


def counted(metric, by="", **labels):
    """How often, over the whole range of the dashboard."""
    return f"sum{f' by ({by})' if by else ''} (increase({one(metric, **labels)}[$__range]))"


ROOM_USED = f"{one('requests_in_flight')} / {one('requests_in_flight_limit')}"


def share(part, whole):
    """Nothing, where there is nothing to divide by."""
    return f"({part}) / ({whole} > 0)"


def quantile(q, buckets):
    return f"histogram_quantile({q}, {buckets})"


def ours(expr):
    """Of series that every program has, those of the bridge: `job` may be set to all jobs."""
    return f"({expr}) and on (job, instance) {one('build_info')}"


def first(cases, otherwise):
    """The number of the first case that is true. A case is (condition, number)."""
    return (
        " or ".join(f"({condition}) * 0 + {number}" for condition, number in cases)
        + f" or vector({otherwise})"
    )


REQUESTS = rate("requests_total")
# A fallback because a claim is missing is no fault: the person is told what to fill in.
FELL_BACK = rate("fallbacks_total", reason="!=missing_claim")
TURNED_AWAY = rate("requests_total", source="none")

# What people got, as parts that add up to all requests whose callers stayed for an answer.
DECIDED = {"code": "=~200|400|409", "source": "=~worker|replay"}
OUTCOMES = [  # name, labels, color
    ("Went on", {"action": "continue", **DECIDED}, GREEN),
    ("Were blocked", {"action": "show_block_page", **DECIDED}, PURPLE),
    ("Were asked to correct something", {"action": "validation_error", "code": "=~200|400|409"}, BLUE),
    (
        "Got the fallback",
        {"action": "!=validation_error", "code": "=~200|409", "source": "=~cache|default"},
        ORANGE,
    ),
    ("Saw an error page", {"code": "!~200|400|401|403|409"}, RED),
    ("Were refused: the caller's credentials", {"code": "=~401|403"}, DARK_RED),
]
# The same, with what the fallback did to people.
PARTS = [
    *OUTCOMES[:3],
    ("Were let in by the fallback", {"action": "continue", "source": "=~cache|default"}, YELLOW),
    ("Were blocked by the fallback", {"action": "show_block_page", "code": "=~200|409", "source": "=~cache|default"}, ORANGE),
    *OUTCOMES[4:],
]
PART_COLORS = [look(name, color=color) for name, _, color in PARTS]


def ruled(series, **labels):
    """A series that the rules of deploy/prometheus make: it has no instance and no connector."""
    matchers = 'namespace=~"$namespace", job=~"$job"'
    matchers += "".join(f', {label}=~"{value}"' for label, value in labels.items())
    return f"{series}{{{matchers}}}"


def objective(kind, window):
    """Share of calls that missed an objective: "errors" or "slow"."""
    return ruled(f"namespace_job:connector_bridge_slo_{kind}_per_request:ratio_rate{window}")


NOW = "2m"  # what "now" means at the top: at least this long, or sign-ups would be too few to judge

GOOD_SHARE = steps(RED, (0.5, ORANGE), (0.9, YELLOW), (0.97, GREEN))
BAD_SHARE = steps(GREEN, (0.01, YELLOW), (0.05, ORANGE), (0.5, RED))
# Strangers and typing errors are always there.
REFUSED_SHARE = steps(GREEN, (0.05, YELLOW), (0.2, ORANGE), (0.5, RED))
