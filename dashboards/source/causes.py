"""What is wrong, and does it keep people from signing up: the states and the verdict of the first
screen."""

from .grafana import words
from .terms import *

REFUSED = rate("requests_total", code="=~401|403")
NO_BRIDGE = f"(sum({one('ready')}) or vector(0)) == 0"
UNKNOWN = f"absent({one('ready')})"
NATS_GONE = f"max({one('nats_connected')}) == 0"
NATS_REFUSES = rate("nats_connection_events_total", event="auth_error") + " > 0"
WITHOUT_WORKER = (
    f"max by (connector) ({one('workers_available')}) == 0 or "
    + share(
        rate("fallbacks_total", by="connector", reason="no_responders"),
        rate("requests_total", by="connector"),
    )
    + " > 0.05"
)
SILENT = rate("fallbacks_total", reason="=~timeout|breaker_open")
SLOW = share(
    f"{rate('caller_timeout_used_ratio_count')} - {rate('caller_timeout_used_ratio_bucket', le='0.5')}",
    rate("caller_timeout_used_ratio_count"),
)


def many(part):
    """So many of all requests that it is no accident."""
    return f"{share(part, REQUESTS)} > 0.05"


def some(part):
    return f"{part} > 0"


def fell_back(reason):
    return rate("fallbacks_total", reason=reason)


NOTHING_SENT = rate("nats_requests_total", result="=~ok|timeout|worker_error|invalid_reply") + " == 0"
NO_REPLIES = rate("nats_requests_total", result="=~ok|worker_error|invalid_reply") + " == 0"
NO_WORKER_AT_ALL = f"count({WITHOUT_WORKER}) >= count(count by (connector) ({one('workers_available')}))"

# title, what to do, [(condition, word, color)], the word when all is well
CAUSES = [
    (
        "Bridge",
        "Is the program there? If it is down, nothing answers and people see an error page: look at the pods, "
        "then at their logs. Answers that are too late mean that it gets too little CPU.",
        [
            (NO_BRIDGE, "DOWN: nothing answers", RED),
            (rate("late_responses_total") + " > 0", "Answers too late", RED),
            (
                f"min({one('up')} and on (job, instance) last_over_time({one('build_info')}[$__range])) == 0",
                "One of them is down",
                ORANGE,
            ),
        ],
        "Running",
    ),
    (
        "NATS",
        "Is the bridge connected to NATS? If not, no worker can be asked and everybody gets the fallback. Mend "
        "NATS; leave the bridge running, it still answers. If NATS refuses it, look at its user and rights.",
        [
            (f"({NATS_GONE}) and ({NATS_REFUSES})", "REFUSES THE BRIDGE", RED),
            (NATS_GONE, "GONE: no connection", RED),
            (f"min({one('nats_connected')}) == 0", "Gone for one bridge", ORANGE),
            (NATS_REFUSES, "A right is missing", ORANGE),
        ],
        "Connected",
    ),
    (
        "Workers",
        "Does a worker listen for every connector? If none does, people get the fallback after half a second. "
        "Start the workers; the table of connectors says which are missing.",
        [
            (f"{NO_WORKER_AT_ALL} and {many(SILENT)}", "HUNG: none answers", RED),
            (NO_WORKER_AT_ALL, "GONE: nobody decides", RED),
            (f"count({WITHOUT_WORKER}) > 0", "Gone for a connector", RED),
            (NATS_GONE, "Not known without NATS", GREY),
        ],
        "Listening",
    ),
    (
        "Workers' speed",
        "Do workers reply before the deadline? If not, people wait for all of it and get the fallback. Late "
        "replies: give workers more copies or a longer deadline. No reply at all: they hang, or their call was lost.",
        [
            (f"{many(SILENT)} and {some(rate('late_replies_total'))}", "TOO SLOW: reply too late", RED),
            (many(SILENT), "SILENT: no reply at all", RED),
            (f"{SLOW} > 0.05", "Slow", ORANGE),
            (some(SILENT), "A few got no reply", YELLOW),
            (NOTHING_SENT, "Nothing to reply to", GREY),
        ],
        "Fast enough",
    ),
    (
        "Workers' replies",
        "Are replies decisions as the contract has them? If not, people get the fallback at once. Mend the "
        "worker; the panel of broken replies says what is wrong with them.",
        [
            (
                rate("reply_rejections_total", reason="jetstream_ack") + " > 0",
                "NONSENSE: a stream answers",
                RED,
            ),
            (many(fell_back("invalid_reply")), "NONSENSE: no decisions", RED),
            (many(fell_back("worker_error")), "Worker says it failed", RED),
            (some(fell_back("=~invalid_reply|worker_error")), "A few are no decisions", YELLOW),
            (
                rate("reply_rejections_total", reason="claim_not_listed") + " > 0",
                "Claims are dropped",
                YELLOW,
            ),
            (NO_REPLIES, "No replies now", GREY),
        ],
        "Valid",
    ),
    (
        "Callers' credentials",
        "Does the identity provider show the right password, certificate or key? If all are refused, people see an error page: "
        "compare what Entra has with the secret of the bridge. A few wrong ones are strangers.",
        [
            (
                f"({REFUSED} > 0) unless ({rate('requests_total', code='!~401|403')} > 0)",
                "ALL WRONG: refused",
                RED,
            ),
            (many(REFUSED), "Many are refused", RED),
            (f"min({one('config_last_reload_successful')}) == 0", "New secret is broken", ORANGE),
            (f"{REQUESTS} == 0", "No requests now", GREY),
        ],
        "Right",
    ),
    (
        "Load",
        "Are there more calls than may be with the workers at once (max_in_flight), or more connections than "
        "allowed? Too many calls get the fallback at once, too many connections are closed. More workers first.",
        [
            (many(fell_back("overload")), "OVERLOAD: too many calls", RED),
            (
                rate("rejections_total", reason="connections") + " > 0",
                "OVERLOAD: connections",
                RED,
            ),
            (
                f"max({ROOM_USED}) > 0.8",
                "Nearly full",
                ORANGE,
            ),
            (some(fell_back("overload")), "A few were too many", YELLOW),
        ],
        "Within limits",
    ),
    (
        "Shared store",
        "Can the replicas share what they know of calls (calls.store: jetstream)? Without it people are decided "
        "as before, but a retry at another replica is decided again. Look at JetStream and the bridge's rights.",
        [
            (f"({NATS_GONE}) and (min({one('store_available')}) == 0)", "Gone with NATS", GREY),
            (f"min({one('store_available')}) == 0", "GONE: retries may ask twice", ORANGE),
            (
                share(rate("store_operations_total", result="!~ok|conflict"), rate("store_operations_total"))
                + " > 0.01",
                "Some of it fails",
                YELLOW,
            ),
        ],
        "There, or not used",
    ),
]


def cause_states(number, cases, well):
    """Every state of every cause has a number of its own, so one table of words serves them all."""
    base = 10 * (number + 1)
    conditions = [(UNKNOWN, base + 9)] if number else []
    conditions += [(condition, base + 1 + at) for at, (condition, _, _) in enumerate(cases)]
    meaning = {base + 1 + at: (word, color) for at, (_, word, color) in enumerate(cases)}
    return first(conditions, base), {base: (well, GREEN), **meaning, base + 9: ("Not known", GREY)}


CAUSE_STATES = [cause_states(at, cases, well) for at, (_, _, cases, well) in enumerate(CAUSES)]

# Why sign-ups do not work, by the label `reason` of what `verdict` returns.
VERDICTS = {
    "bridge_down": "The bridge is down",
    "disconnected": "NATS is gone",
    "no_responders": "No worker is there",
    "late": "Workers are too slow",
    "timeout": "Workers are silent",
    "invalid_reply": "Workers reply nonsense",
    "worker_error": "Workers say that they fail",
    "overload": "Too many calls at once",
    "refused": "Callers' credentials are wrong",
    "turned_away": "What comes is no call",
    "shutting_down": "The bridge is stopping",
    "one_connector": "A connector has no worker",
    "store": "The shared store is gone",
    "quiet": "Nobody signs up just now",
    "none": "Workers decide",
}
HOW_MUCH = words(
    {
        0: ("YES", GREEN),
        -1: ("QUIET", BLUE),
        (0.0001, 0.009): ("YES, BUT", YELLOW),
        (0.009, 0.5): ("PARTLY", ORANGE),
        (0.5, 1.1): ("NO", RED),
    }
)


def verdict():
    """The first of these that is there: its value says how much does not work, its label why."""

    def because(reason, expr):
        return f'label_replace({expr}, "reason", "{reason}", "", "")'

    reasons = " or ".join(
        [
            rate("fallbacks_total", by="reason", reason="!~missing_claim|timeout|breaker_open"),
            because("late", f"({SILENT}) and on () ({rate('late_replies_total')} > 0)"),
            because("timeout", f"({SILENT}) unless on () ({rate('late_replies_total')} > 0)"),
            because("refused", REFUSED),
            because("turned_away", rate("requests_total", source="none", code="!~401|403")),
        ]
    )
    return " or on () ".join(
        [
            because("bridge_down", f"({NO_BRIDGE}) + 1"),
            because("disconnected", f"({NATS_GONE}) + 1"),
            f"(topk(1, {reasons}) / on () group_left () ({REQUESTS} > 0) > 0.01)",
            because("no_responders", f"0 * ({NO_WORKER_AT_ALL}) + 1"),
            because("one_connector", f"0.1 + 0 * (count({WITHOUT_WORKER}) > 0)"),
            because("store", f"(min({one('store_available')}) == 0) + 0.001"),
            because("quiet", f"({REQUESTS} == 0) - 1"),
            because("none", "vector(0)"),
        ]
    )
