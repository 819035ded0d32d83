"""The dashboard of those who run connector-bridge."""

from .causes import *
from .grafana import *
from .terms import *


def now_row():
    panels = [
        stat(
            (12, 4),
            "Do sign-ups work?",
            "Whether workers decide, and the main reason if they do not. NO: it hits more than half of the requests. "
            "PARTLY: more than 1 in 100. The states below say what is wrong, the row Runbook what to do.",
            verdict(),
            legend="{{reason}}",
            mode="value_and_name",
            mappings=HOW_MUCH,
            looks=[look(reason, meaning) for reason, meaning in VERDICTS.items()],
            interval=NOW,
        ),
        stat(
            (3, 4),
            "Requests",
            "Requests that named a connector, each second. 0 at night may be right; 0 by day means that they do not "
            "reach the bridge: look at the ingress and at the API connector in Entra.",
            f"{REQUESTS} or (vector(0) unless on () ({NO_BRIDGE}))",
            "reqps",
            noValue="Not known",
            thresholds=steps(NEUTRAL),
            decimals=2,
            interval=NOW,
        ),
        stat(
            (3, 4),
            "Decided by workers",
            "Share of requests that got a decision of a worker. The rest got the fallback or were turned away.",
            share(rate("requests_total", source="=~worker|replay"), REQUESTS),
            "percentunit",
            thresholds=GOOD_SHARE,
            noValue="No calls",
            decimals=1,
            interval=NOW,
        ),
        stat(
            (3, 4),
            "Got the fallback",
            "Share of requests that no worker decided in time. The panel below says why.",
            share(FELL_BACK, REQUESTS),
            "percentunit",
            thresholds=BAD_SHARE,
            noValue="No calls",
            decimals=1,
            interval=NOW,
        ),
        stat(
            (3, 4),
            "Turned away",
            "Share of requests that got neither decision nor fallback: wrong credentials, or no call at all. People "
            "see an error page then. See the row What callers get.",
            share(TURNED_AWAY, REQUESTS),
            "percentunit",
            thresholds=REFUSED_SHARE,
            noValue="No calls",
            decimals=1,
            interval=NOW,
        ),
    ]
    for (title, about, _, _), (query, meanings) in zip(CAUSES, CAUSE_STATES):
        panels.append(
            stat((6, 3), title, about, query, mappings=words(meanings), noValue="Not known", interval=NOW)
        )
    every = {number: word for _, meanings in CAUSE_STATES for number, word in meanings.items()}
    panels += [
        states(
            (12, 9),
            "What was wrong, and when",
            "The states above over time. A state that comes from calls is only seen while there are calls.",
            [target(query, title) for (title, _, _, _), (query, _) in zip(CAUSES, CAUSE_STATES)],
            words(every),
        ),
        graph(
            (12, 9),
            "What people got",
            "Every request, by what the person got. Green, purple and blue are decisions. Yellow and orange: no "
            "decision, so the fallback let them in or blocked them. Red: an error page.",
            [target(rate("requests_total", **labels), name) for name, labels, _ in PARTS],
            "reqps",
            shape="areas",
            looks=PART_COLORS,
            noValue="No requests",
        ),
        graph(
            (10, 7),
            "Why people got the fallback",
            "Calls that no worker decided, by reason. The row Runbook says what to do about each.",
            [target(rate("fallbacks_total", by="reason", reason="!=missing_claim") + " > 0", "{{reason}}")],
            "reqps",
            shape="bars",
            looks=looks(REASONS),
            noValue="No fallbacks: workers decided everything",
        ),
        connectors(),
    ]
    return row("Now", *panels)


def connectors():
    by = "connector"
    colored = {"custom__cellOptions": {"type": "color-background", "mode": "basic"}}
    whole = rate("requests_total", by=by)
    workers = f"max by (connector) ({one('workers_available')})"
    return table(
        (14, 7),
        "Connectors",
        "Each connector now. Workers: how many answered the last look; a worker that does not speak the NATS "
        "services API is not seen. Breaker open: workers kept silent, so only a few calls ask them until they answer.",
        [
            ("Requests", whole, {"unit": "reqps", "decimals": 2}),
            (
                "Decided",
                share(rate("requests_total", by=by, source="=~worker|replay"), whole),
                {"unit": "percentunit", "thresholds": GOOD_SHARE, "decimals": 1} | colored,
            ),
            (
                "Fallback",
                share(rate("fallbacks_total", by=by, reason="!=missing_claim"), whole),
                {"unit": "percentunit", "thresholds": BAD_SHARE, "decimals": 1} | colored,
            ),
            (
                "Turned away",
                share(rate("requests_total", by=by, source="none"), whole),
                {"unit": "percentunit", "thresholds": REFUSED_SHARE, "decimals": 1} | colored,
            ),
            (
                "95 % within",
                quantile(0.95, rate("request_duration_seconds_bucket", by="connector, le", source="!=none")),
                {"unit": "s", "decimals": 2},
            ),
            (
                "Workers",
                # While NATS is gone nobody is counted, and the gauge keeps what it was.
                f"({workers} * 0 - 2) and on () ({NATS_GONE}) or {workers}",
                {
                    "mappings": words({-2: ("Not known", GREY), -1: ("Not seen", GREY), 0: ("None answers", RED)}),
                    "thresholds": steps(GREEN),
                }
                | colored,
            ),
            (
                "Breaker",
                f"max by (connector) ({one('breaker_open')})",
                {"mappings": words({0: ("Closed", GREEN), 1: ("Open", RED)})} | colored,
            ),
            (
                "Room used",
                f"max by (connector) ({ROOM_USED})",
                {"unit": "percentunit", "thresholds": steps(GREEN, (0.8, ORANGE), (1, RED)), "decimals": 0}
                | colored,
            ),
        ],
        keys=[("connector", "Connector")],
        noValue="No calls",
        interval=NOW,
    )


def callers_row():
    seconds = rate("request_duration_seconds_bucket", by="le", source="!=none")
    return row(
        "What callers get",
        graph(
            (8, 8),
            "Answers by status",
            "HTTP 200 and 400 are answers of the contract (409 too, for custom policies). Anything else makes the "
            "caller show an error page.",
            [target(rate("requests_total", by="code"), "{{code}}")],
            "reqps",
            shape="areas",
            looks=[
                look(code, color=color)
                for code, color in (
                    ("200", GREEN),
                    ("400", BLUE),
                    ("409", PURPLE),
                    ("401", DARK_RED),
                    ("403", "light-red"),
                    ("503", RED),
                    ("408", YELLOW),
                    ("413", "light-orange"),
                    ("415", ORANGE),
                    ("422", "dark-orange"),
                )
            ],
            noValue="No requests",
        ),  # fmt: skip
        graph(
            (8, 8),
            "Answers that nobody should see",
            "Status codes that are no answer of the contract and no refusal of credentials. Must be empty. 503: the "
            "fallback is refuse, or a worker blocked where blocking is not possible. 4xx: what came was no call.",
            [
                target(
                    rate("requests_total", by="connector, code", code="!~200|400|401|403|409") + " > 0",
                    "{{connector}} {{code}}",
                )
            ],
            "reqps",
            shape="bars",
            noValue="None",
        ),  # fmt: skip
        graph(
            (8, 8),
            "Refused for their credentials",
            "Requests that got 401 or 403. missing: none were sent. wrong: an old password or a stranger. not_listed: "
            "a valid certificate that this connector does not know. expired: the caller's certificate is out of date.",
            [target(rate("auth_failures_total", by="method, reason") + " > 0", "{{method}} {{reason}}")],
            "reqps",
            shape="bars",
            noValue="None refused",
        ),
        graph(
            (8, 8),
            "Time to the answer",
            "From the first byte of a request to its answer, requests turned away left out. The callers' patience is 5 "
            "to 20 s. If it grows, compare it with the workers' time further down.",
            [
                target(quantile(q, seconds), name)
                for q, name in ((0.5, "50 % within"), (0.95, "95 % within"), (0.99, "99 % within"))
            ],
            "s",
            looks=looks(
                {"50 % within": (None, GREEN), "95 % within": (None, YELLOW), "99 % within": (None, ORANGE)}
            ),
            noValue="No calls",
        ),  # fmt: skip
        heatmap(
            (8, 8),
            "Time to the answer, all of it",
            "How many answers took how long. A band at the deadline means silent workers, one at half a second that "
            "none listens.",
            rate("request_duration_seconds_bucket", by="le", source="!=none"),
            "s",
            noValue="No calls",
        ),
        graph(
            (8, 8),
            "Share of the caller's patience used",
            "How near the slowest answers (99 in 100 are faster) come to the moment when the caller gives up. At 100 % "
            "it has: look at CPU. Near the deadline: workers are slow or silent.",
            [
                target(
                    quantile(0.99, rate("caller_timeout_used_ratio_bucket", by="connector, le")),
                    "{{connector}}",
                )
            ],
            "percentunit",
            limit=steps("transparent", (0.75, ORANGE), (1, RED)),
            max=1.25,
            noValue="No calls",
        ),
        graph(
            (8, 8),
            "Answers after the caller gave up",
            "Must stay 0: each is a broken promise. Look at the CPU of the bridge, and at what stood still.",
            [target(rate("late_responses_total", by="connector"), "{{connector}}")],
            "reqps",
        ),
        graph(
            (8, 8),
            "Room used for calls with the workers",
            "Calls that wait for a worker now, as a share of max_in_flight, beyond which calls get the fallback at once. "
            "It rises when workers get slower.",
            [target(f"max by (connector) ({ROOM_USED})", "{{connector}}")],
            "percentunit",
            limit=steps("transparent", (0.8, ORANGE), (1, RED)),
            max=1.1,
        ),
        graph(
            (8, 8),
            "Turned away before they were calls",
            "Connections and requests that are no call: not HTTP, no such path, no JSON, too large, too slow. Strangers "
            "cause some always. If Entra does, look at the URL of the API connector and at the ingress.",
            [target(rate("rejections_total", by="reason") + " > 0", "{{reason}}")],
            "reqps",
            shape="bars",
            noValue="None turned away",
        ),
    )


def decisions_row():
    sources = rate("requests_total", by="source", source="!=none")
    return row(
        "Decisions and fallbacks",
        graph(
            (8, 8),
            "Where answers come from",
            "Green and light blue: a worker decided. Yellow and orange: the fallback.",
            [
                target(
                    f"{sources} / ignoring (source) group_left () ({rate('requests_total', source='!=none')} > 0)",
                    "{{source}}",
                )
            ],
            "percentunit",
            shape="areas",
            looks=looks(SOURCES),
            max=1,
            noValue="No calls",
        ),  # fmt: skip
        graph(
            (8, 8),
            "Fallbacks by connector",
            "Which connectors workers did not decide for. Then look at that connector's workers.",
            [target(rate("fallbacks_total", by="connector") + " > 0", "{{connector}}")],
            "reqps",
            shape="bars",
            noValue="No fallbacks",
        ),
        graph(
            (8, 8),
            "Repeated requests",
            "Retries of the caller. joined: the first request was still being decided. replayed: it got the recorded "
            "decision. taken_over: its replica had died, and a worker was asked again. A rise means that callers time out or connections break.",
            [target(rate("calls_total", by="result", result="!=first"), "{{result}}")],
            "reqps",
            looks=looks(
                {"joined": (None, BLUE), "replayed": (None, LIGHT_BLUE), "taken_over": (None, ORANGE)}
            ),
        ),
        graph(
            (8, 8),
            "Earlier decisions found for fallbacks",
            "Of the looks into the fallback cache, those that found a decision young enough. Only connectors with "
            "fallback.cached look, and only when no worker decided.",
            [target(share(rate("cache_lookups_total", result="hit"), rate("cache_lookups_total")), "Found")],
            "percentunit",
            looks=[look("Found", color=YELLOW)],
            max=1,
            noValue="Nobody had to look",
        ),
        graph(
            (8, 8),
            "Earlier decisions kept",
            "Entries in the fallback caches of all connectors. Bounded by the max_entries of each.",
            [target(f"sum by (instance) ({one('cache_entries')})", "{{instance}}")],
            "short",
        ),
        graph(
            (8, 8),
            "What the fallback was",
            "cache: an earlier decision. default: what the connector is configured to answer without one.",
            [target(rate("fallbacks_total", by="answer"), "{{answer}}")],
            "reqps",
            shape="areas",
            looks=looks({name: SOURCES[name] for name in ("cache", "default")}),
        ),
        collapsed=True,
    )


def workers_row():
    seconds = rate("nats_request_duration_seconds_bucket", by="connector, le")
    return row(
        "NATS and workers",
        graph(
            (8, 8),
            "Messages to workers, by how they ended",
            "Every message that was sent, or would have been had there been a connection. While no worker listens, a "
            "call tries several times.",
            [target(rate("nats_requests_total", by="result") + " > 0", "{{result}}")],
            "reqps",
            shape="bars",
            looks=looks(RESULTS),
            noValue="No messages",
        ),
        graph(
            (8, 8),
            "Time that workers take",
            "From sending a message to its reply; silence is not in it. If this is fast and answers are slow, look at "
            "the CPU of the bridge.",
            [
                target(quantile(0.5, seconds), "{{connector}}: 50 % within"),
                target(quantile(0.99, seconds), "{{connector}}: 99 % within"),
            ],
            "s",
            noValue="No replies",
        ),
        graph(
            (8, 8),
            "Workers that answer",
            "Workers seen by the NATS services API, asked every 15 s. -1: none was ever seen, which is right for plain "
            "subscribers. 0: all are gone.",
            [target(f"max by (connector) ({one('workers_available')})", "{{connector}}")],
            "short",
            min=-1,
            decimals=0,
        ),
        graph(
            (8, 8),
            "Replies that break the contract",
            "What is wrong with them: not_json, not_object, unknown_action, bad_claim, too_large; jetstream_ack: a "
            "stream took the message instead of a worker; claim_not_listed: only that claim was dropped.",
            [
                target(
                    rate("reply_rejections_total", by="connector, reason") + " > 0",
                    "{{connector}} {{reason}}",
                )
            ],
            "reqps",
            shape="bars",
            noValue="All replies keep the contract",
        ),
        graph(
            (8, 8),
            "Replies after the deadline",
            "Decisions that came too late for their request; the caller's next try gets them. Workers need more copies, "
            "or the connector a longer deadline.",
            [target(rate("late_replies_total", by="connector"), "{{connector}}")],
            "reqps",
        ),
        states(
            (8, 8),
            "Breaker",
            "Open: the workers of this connector kept silent several times in a row, so calls get the fallback at once "
            "for some seconds, then one call tries.",
            [target(f"max by (connector) ({one('breaker_open')})", "{{connector}}")],
            words({0: ("Closed", GREEN), 1: ("Open", RED)}),
        ),
        states(
            (12, 6),
            "Connection to NATS",
            "Each bridge's connection.",
            [target(f"max by (instance) ({one('nats_connected')})", "{{instance}}")],
            words({0: ("Gone", RED), 1: ("Connected", GREEN)}),
        ),
        graph(
            (12, 6),
            "Events of the connection",
            "auth_error: NATS refuses the user, or a right. slow_consumer: replies come faster than they are read.",
            [target(rate("nats_connection_events_total", by="event") + " > 0", "{{event}}")],
            "cps",
            shape="bars",
            looks=looks(
                {
                    "connected": (None, GREEN),
                    "disconnected": (None, PURPLE),
                    "auth_error": (None, RED),
                    "server_error": (None, ORANGE),
                    "slow_consumer": (None, YELLOW),
                }
            ),
            noValue="Nothing happened",
        ),  # fmt: skip
        collapsed=True,
    )


def store_row():
    return row(
        "Shared store",
        states(
            (8, 8),
            "Shared store, by bridge",
            "Gone: calls are decided without it, and a retry at another replica is decided again. There, also where none "
            "is configured.",
            [target(f"min by (instance) ({one('store_available')})", "{{instance}}")],
            words({0: ("Gone", ORANGE), 1: ("There, or not used", GREEN)}),
        ),
        graph(
            (8, 8),
            "What was asked of it",
            "claim: a new call. record: its end. deliver: that the caller has it. share and load: cached decisions.",
            [target(rate("store_operations_total", by="operation") + " > 0", "{{operation}}")],
            "ops",
            shape="bars",
            noValue="Nothing",
        ),
        graph(
            (8, 8),
            "What went wrong",
            "full: see Sizing in docs/reliability.md. unreadable: replicas have different keys. unavailable, timeout: "
            "JetStream is away. dropped: too much was waiting to be written.",
            [
                target(
                    rate("store_operations_total", by="operation, result", result="!~ok|conflict") + " > 0",
                    "{{operation}} {{result}}",
                )
            ],
            "ops",
            shape="bars",
            noValue="Nothing",
        ),  # fmt: skip
        collapsed=True,
    )


def process_row():
    def each(metric, how="max"):
        return f"{how} by (instance) ({ours(one(metric))})"

    seconds = f"rate({one('process_cpu_seconds_total')}[{RATE}])"
    files = f"{one('process_open_fds')} / {one('process_max_fds')}"
    return row(
        "The process",
        graph(
            (8, 8),
            "CPU",
            "Cores used. At the limit of the container, answers get late.",
            [target(f"sum by (instance) ({ours(seconds)})", "{{instance}}")],
            "short",
        ),
        graph(
            (8, 8),
            "Memory",
            "Resident memory. It grows with calls.max_entries and the fallback caches, to a bound.",
            [target(each("process_resident_memory_bytes"), "{{instance}}")],
            "bytes",
        ),
        graph(
            (8, 8),
            "Open files",
            "Share of the file descriptors that the process may have; each connection takes one. Above 80 %, lower "
            "max_connections or raise the limit.",
            [target(f"max by (instance) ({ours(files)})", "{{instance}}")],
            "percentunit",
            limit=steps("transparent", (0.8, ORANGE)),
        ),  # fmt: skip
        graph(
            (8, 7),
            "Time since the start",
            "A saw means that it restarts: look at the log of the container before.",
            [
                target(
                    f"max by (instance) ({ours('time() - ' + one('process_start_time_seconds'))})",
                    "{{instance}}",
                )
            ],
            "s",
        ),
        states(
            (8, 7),
            "Ready",
            "Ready: /readyz is 200. Stopping: it still takes calls for a while.",
            [
                target(
                    f"max by (instance) ({one('ready')}) + 2 * max by (instance) ({one('draining')})",
                    "{{instance}}",
                )
            ],
            words({0: ("Not ready", RED), 1: ("Ready", GREEN), 2: ("Stopping", BLUE), 3: ("Stopping", BLUE)}),
        ),
        graph(
            (8, 7),
            "Panics",
            "Faults in the program. Each cost one call its decision, and the person got the fallback. Must stay 0; "
            "please report them.",
            [target(f"sum by (instance) (rate({one('panics_total')}[{RATE}]))", "{{instance}}")],
            "cps",
        ),
        collapsed=True,
    )


def secrets_row():
    left = steps(RED, (2 * 86400, ORANGE), (14 * 86400, GREEN))
    cell = {"custom__cellOptions": {"type": "color-background", "mode": "basic"}}
    return row(
        "Secrets, certificates, versions",
        table(
            (6, 8),
            "Certificates end in",
            "The first certificate of each role. Orange: 14 days. Red: 2 days. Replace the file; it is read within 5 s.",
            [
                (
                    "Ends in",
                    f"min by (role) ({one('tls_certificate_not_after_timestamp_seconds')}) - time()",
                    {"unit": "dtdurations", "thresholds": left} | cell,
                )
            ],
            keys=[("role", "Role")],
            noValue="No certificates are used",
        ),
        table(
            (6, 8),
            "Secrets taken over",
            "How long ago secret files of each kind were last read anew. After a rotation this must be short, for every "
            "bridge. Kinds that are not used are left out.",
            [
                (
                    "Ago",
                    f"max by (kind) (time() - ({one('credentials_loaded_timestamp_seconds')} > 0))",
                    {"unit": "dtdurations"},
                )
            ],
            keys=[("kind", "Kind")],
            noValue="No secrets are used",
        ),
        states(
            (6, 8),
            "Changed secret files",
            "Broken: a changed file cannot be used, the old secret is still in force. The log says which.",
            [target(f"min by (instance) ({one('config_last_reload_successful')})", "{{instance}}")],
            words({0: ("Broken", RED), 1: ("In force", GREEN)}),
        ),
        table(
            (6, 8),
            "Versions",
            "How many bridges run which version. More than one line only during an update.",
            [("Bridges", f"count by (version, revision) ({one('build_info')})", {})],
            keys=[("version", "Version"), ("revision", "Revision")],
            noValue="No bridge is seen",
        ),
        collapsed=True,
    )


def logs_row():
    return row(
        "Logs, traces, events",
        graph(
            (6, 7),
            "Log lines by level",
            "At level info there is one line per request. Warnings and errors name their cause.",
            [target(rate("log_messages_total", by="level") + " > 0", "{{level}}")],
            "cps",
            shape="bars",
            looks=looks(
                {
                    "error": (None, RED),
                    "warn": (None, ORANGE),
                    "info": (None, GREEN),
                    "debug": (None, BLUE),
                    "trace": (None, GREY),
                }
            ),
            noValue="None",
        ),  # fmt: skip
        graph(
            (6, 7),
            "Log lines dropped",
            "Standard error was not read fast enough. Must stay 0.",
            [target(rate("log_messages_dropped_total"), "Dropped")],
            "cps",
            looks=[look("Dropped", color=RED)],
        ),
        graph(
            (6, 7),
            "Spans dropped",
            "queue_full: more than the exporter takes. export_failed: the collector did not take them. Calls do not "
            "suffer from it.",
            [target(rate("spans_dropped_total", by="reason"), "{{reason}}")],
            "cps",
            noValue="Nothing was dropped",
        ),
        graph(
            (6, 7),
            "Records of decisions",
            "What became of the records that `events` publishes. All but published and duplicate are, or may be, missing "
            "from the audit.",
            [target(rate("events_total", by="result"), "{{result}}")],
            "cps",
            noValue="Nothing was published",
        ),
        collapsed=True,
    )


RUNBOOK = """
| What you see | What it means | What to do |
| --- | --- | --- |
| **Bridge: down** | Nothing answers; people see an error page. | Look at the pods and their logs. Exit code 78: the configuration is wrong, `connector-bridge check` says where. |
| **NATS: gone** | No worker can be asked; everybody gets the fallback. | Mend NATS, or the way to it. Leave the bridge running. *Refuses the bridge*: its user, password or rights. |
| **Workers: gone** | Nobody listens on the connector's subject. *Hung*: they listen, but do nothing. | Start the workers. Do they subscribe to the subject that `/status` shows? |
| **Workers' speed: too slow** | Replies come after the deadline. | More copies of the worker; what it waits for (a database?); a deadline that fits. |
| **Workers' speed: silent** | Calls are taken, and no reply comes at all. | Do workers hang? May they publish to the reply subject? See `missing_rights` in `/status`. |
| **Workers' replies: nonsense** | The reply is no decision of the contract. | Mend the worker; *Replies that break the contract* says what is wrong. *A stream answers*: a JetStream stream covers the subject. |
| **Callers' credentials: all wrong** | The caller's credentials and the bridge's differ. | Was a password changed on one side only? Enter it in Entra again. Expired certificate: upload a new one. |
| **Load: overload** | More calls than `max_in_flight` wait for workers. | More workers; then a higher limit. |
| **Shared store: gone** | People are decided, but retries elsewhere are decided again. | JetStream, its leader, the bridge's rights. Seconds of it are a change of leader. |

`docs/reliability.md`, in the source of the version that runs, has each fault in full.
"""


def runbook_row():
    return row(
        "Runbook",
        text((24, 10), "What to do", "Each state of the first row, and what to do about it.", RUNBOOK),
        collapsed=True,
    )


def objectives_row():
    needs = "Needs the rules of deploy/prometheus in Prometheus. "
    return row(
        "Objectives and alerts",
        table(
            (12, 7),
            "Alerts that are firing",
            needs + "docs/runbook.md has a section for each, with the same name.",
            [
                (
                    "Firing",
                    f"sum by (alertname, severity) ({ruled('ALERTS', alertname='ConnectorBridge.+', alertstate='firing')})",
                    {"decimals": 0},
                )
            ],
            keys=[("alertname", "Alert"), ("severity", "Severity")],
            noValue="None is firing",
        ),
        stat(
            (4, 7),
            "Errors still allowed, of 30 days",
            needs + "99.9 % of calls are to be answered without an error. 100 %: there was none. Below 0: more than that.",
            f"min(1 - 1000 * avg_over_time({objective('errors', '5m')}[30d]))",
            "percentunit",
            thresholds=steps(RED, (0, ORANGE), (0.25, YELLOW), (0.5, GREEN)),
            noValue="No calls, or no rules",
            decimals=0,
        ),
        graph(
            (8, 7),
            "How fast the objectives are used up",
            needs + "1: just as fast as 30 days allow. From 14.4 on, the errors of 30 days are used up in 2 days.",
            [
                target(f"max(1000 * {objective('errors', '1h')})", "Errors"),
                target(f"max(100 * {objective('slow', '1h')})", "Slower than 2.5 s"),
            ],
            "short",
            limit=steps("transparent", (1, YELLOW), (14.4, RED)),
            looks=[look("Errors", color=RED), look("Slower than 2.5 s", color=ORANGE)],
            noValue="No calls, or no rules",
        ),
        collapsed=True,
    )


ROWS = [
    now_row(),
    objectives_row(),
    callers_row(),
    decisions_row(),
    workers_row(),
    store_row(),
    process_row(),
    secrets_row(),
    logs_row(),
    runbook_row(),
]
