"""The dashboard of the identity team, in their words."""

from .grafana import *
from .terms import *

ANSWERED = "!=none"
IDENTITY = [  # title, outcome (one of OUTCOMES), what it means
    ("Went on", 0, "Their sign-up was checked, and they were let through."),
    ("Were blocked", 1, "They were checked, and saw the message that they cannot go on."),
    (
        "Were asked to correct",
        2,
        "They saw a message at the form, for instance that the postal code is wrong. If there are many: is the form clear?",
    ),
    (
        "We could not ask",
        3,
        "Nobody could check them in time, so they got the fallback: an earlier decision, or what is configured for this "
        "case. Before the form is shown, also people of whom a required detail is missing. If this grows, tell operations.",
    ),
    (
        "Got an error page",
        4,
        "They saw a general error of the sign-in page instead of an answer. Tell operations.",
    ),
]
CHECK = "A check is one question of the sign-up page about one person at one step; a repeated question counts again. "


def counts():
    panels = [
        stat(
            (4, 4),
            "Checks",
            CHECK + "All of them in the time range of this dashboard, those with a wrong password left out.",
            counted("requests_total", code="!~401|403"),
            "locale",
            thresholds=steps(NEUTRAL),
            decimals=0,
            noValue="0",
        )
    ]
    for title, at, about in IDENTITY:
        _, labels, color = OUTCOMES[at]
        is_bad = color in (ORANGE, RED)
        panels.append(
            stat(
                (4, 4),
                title,
                about + " How many in the time range of this dashboard.",
                counted("requests_total", **labels),
                "locale",
                thresholds=steps(GREEN, (0.5, color)) if is_bad else steps(color),
                decimals=0,
                noValue="0",
            )
        )
    return panels


def rows():
    checks = counted("requests_total", code="!~401|403")
    by = "connector"
    per = counted("requests_total", by=by, code="!~401|403")
    seconds = f"sum by (le) (increase({one('request_duration_seconds_bucket', source=ANSWERED)}[$__range]))"
    seconds_per = seconds.replace("by (le)", "by (connector, le)")
    again = "=~joined|replayed|taken_over"
    named = {name: title for title, at, _ in IDENTITY for name in [OUTCOMES[at][0]]}
    renamed = [look(name, named.get(name), color) for name, _, color in OUTCOMES[:5]]
    share_column = {"unit": "percentunit", "decimals": 1}
    return [
        row(
            "People, in the time range above",
            *counts(),
            bars(
                (12, 8),
                "What share",
                "The same as shares of all checks.",
                [
                    target(share(counted("requests_total", **OUTCOMES[at][1]), checks), title, instant=True)
                    for title, at, _ in IDENTITY
                ],
                "percentunit",
                looks=[look(title, color=OUTCOMES[at][2]) for title, at, _ in IDENTITY],
                min=0,
                max=1,
                decimals=1,
                noValue="No checks",
            ),
            stat(
                (6, 4),
                "Half of the people waited less than",
                "The time from the question to the answer, as people feel it.",
                quantile(0.5, seconds),
                "s",
                thresholds=steps(GREEN, (2, YELLOW), (5, ORANGE)),
                decimals=2,
                noValue="No checks",
            ),
            stat(
                (6, 4),
                "19 of 20 waited less than",
                "One person of 20 waited longer than this. From about 5 seconds on, people think that it is broken.",
                quantile(0.95, seconds),
                "s",
                thresholds=steps(GREEN, (2, YELLOW), (5, ORANGE)),
                decimals=2,
                noValue="No checks",
            ),
            stat(
                (6, 4),
                "Asked again about the same person",
                "Microsoft asks once more when it heard nothing in time or the connection broke. The person gets the "
                "same answer and is not checked twice. Many of these: tell operations.",
                counted("calls_total", result=again),
                "locale",
                thresholds=steps(NEUTRAL),
                decimals=0,
                noValue="0",
            ),
            stat(
                (6, 4),
                "Refused: password or certificate",
                "Questions that came with a wrong or missing password or certificate. A few are strangers. If it happens "
                "after a change of the password in Entra, the change is not complete.",
                counted("requests_total", code="=~401|403"),
                "locale",
                thresholds=steps(GREEN, (0.5, YELLOW), (100, RED)),
                decimals=0,
                noValue="0",
            ),
        ),
        row(
            "Over time",
            graph(
                (24, 9),
                "What people got, per minute",
                CHECK + "Orange: we could not ask. Red: an error page.",
                [
                    target(f"60 * {rate('requests_total', **labels)}", name)
                    for name, labels, _ in OUTCOMES[:5]
                ],
                "short",
                shape="areas",
                looks=renamed,
                noValue="No checks",
            ),
            graph(
                (12, 8),
                "How long people waited",
                "Half of the people, and 19 of 20, waited less than this.",
                [
                    target(
                        quantile(q, rate("request_duration_seconds_bucket", by="le", source=ANSWERED)), name
                    )
                    for q, name in ((0.5, "Half"), (0.95, "19 of 20"))
                ],
                "s",
                looks=looks({"Half": (None, GREEN), "19 of 20": (None, ORANGE)}),
                noValue="No checks",
            ),
            graph(
                (12, 8),
                "Asked again, and refused, per minute",
                "Asked again: a second question about the same person. Refused: a wrong password or certificate.",
                [
                    target(f"60 * {rate('calls_total', result=again)}", "Asked again"),
                    target(f"60 * {rate('requests_total', code='=~401|403')}", "Refused"),
                ],
                "short",
                looks=looks({"Asked again": (None, LIGHT_BLUE), "Refused": (None, DARK_RED)}),
            ),
        ),
        row(
            "By API connector",
            table(
                (24, 6),
                "API connectors, in the time range above",
                "Each API connector by its name. Shares are of its checks.",
                [
                    ("Checks", per, {"unit": "locale", "decimals": 0}),
                    *(
                        (
                            title,
                            share(counted("requests_total", by=by, **OUTCOMES[at][1]), per),
                            share_column
                            | {
                                "thresholds": BAD_SHARE if at > 2 else steps("transparent"),
                                "custom__cellOptions": {"type": "color-background", "mode": "basic"}
                                if at > 2
                                else {"type": "auto"},
                            },
                        )
                        for title, at, _ in IDENTITY
                    ),
                    (
                        "Asked again",
                        counted("calls_total", by=by, result=again),
                        {"unit": "locale", "decimals": 0},
                    ),
                    (
                        "Refused",
                        counted("requests_total", by=by, code="=~401|403"),
                        {"unit": "locale", "decimals": 0},
                    ),
                    ("Half waited less than", quantile(0.5, seconds_per), {"unit": "s", "decimals": 2}),
                    ("19 of 20", quantile(0.95, seconds_per), {"unit": "s", "decimals": 2}),
                ],
                keys=[("connector", "API connector")],
                noValue="None",
            ),
            graph(
                (12, 8),
                "Checks per minute, by API connector",
                "How much each of them is used. One that falls to nothing is no longer asked: look at the user flow.",
                [target(f"60 * {rate('requests_total', by=by, code='!~401|403')}", "{{connector}}")],
                "short",
                shape="areas",
                noValue="No checks",
            ),
            graph(
                (12, 8),
                "We could not ask, by API connector",
                "Share of checks that got the fallback or an error page.",
                [
                    target(
                        share(
                            f"({rate('fallbacks_total', by=by, reason='!=missing_claim')})",
                            rate("requests_total", by=by, code="!~401|403"),
                        ),
                        "{{connector}}",
                    )
                ],
                "percentunit",
                max=1,
                noValue="No checks",
            ),
        ),
    ]


ROWS = rows()
