"""Every outcome that is documented, clicked through."""

from desk import Browser

# connector, sample, what the person sees, what is said of it
OUTCOMES = [
    ("sign-up", "The worker allows, tidies the name and adds a claim", ["Account created", "Ada Lovelace", "overwritten by the worker", "standard", "added by the worker"], ["continue", "HTTP 200"]),
    ("sign-up", "Another organisation gets another tier", ["Account created", "gold"], ["continue"]),
    ("sign-up", "The worker blocks", ["You cannot sign up", "Sign-up is not open to your organisation."], ["block page", "HTTP 200"]),
    ("sign-up", "The worker finds a mistake in the form", ["Create your account", "Please enter a valid postal code."], ["message at the form", "from worker", "HTTP 400"]),
    ("sign-up", "The worker is slow", ["Account created", "slow@example.com"], ["continue"]),
    ("sign-up", "The worker keeps silent: the configured default, before the caller gives up", ["You cannot sign up", "Wir konnten Ihre Anfrage nicht prüfen"], ["block page", "from default", "kept silent until the deadline"]),
    ("sign-up", "The worker talks nonsense", ["We could not check your request."], ["block page", "from default", "is no decision"]),
    ("sign-up", "A required claim is missing: the worker is not asked", ["Create your account", "Please fill in all fields."], ["message at the form", "from default", "no worker was asked", "0 messages"]),
    ("sign-up", "The caller does not know the password", ["Something went wrong", "What it would log", "HTTP 401"], ["turned away", "HTTP 401", "unauthorized", "Nothing reached NATS"]),
    ("sign-up", "A key stands twice: the bridge refuses to guess", ["Something went wrong", "HTTP 422"], ["turned away", "HTTP 422", "key_twice", "Nothing reached NATS"]),
    ("nobody-listens", "No worker is there", ["We could not check your request."], ["block page", "from default", "no worker listened"]),
    ("prefill", "The worker fills in the form", ["Create your account", "Display name filled in", "Tier filled in"], ["continue", "HTTP 200"]),
    ("prefill", "The worker blocks before there is a form", ["You cannot sign up", "Sign-up is not open to your organisation."], ["block page"]),
    ("token", "The worker adds a claim to the token", ["Signed in", "gold"], ["continue", "from worker"]),
    ("token", "The worker blocks where no block page exists: no token", ["Something went wrong", "HTTP 503"], ["block page, shown as an error page", "HTTP 503", "would let the person go on"]),
    ("loyalty", "The policy gets a claim", ["The policy goes on", "gold"], ["continue", "HTTP 200"]),
    ("loyalty", "The policy gets a message", ["Sign-up is not open to your organisation."], ["block page, shown as a message at the form", "HTTP 409"]),
]  # fmt: skip


def every_documented_outcome_is_shown(browser: Browser) -> None:
    desk = browser.desk()
    offered = set()
    for connector in desk.page.locator("#connector option").all_inner_texts():
        desk.choose(connector)
        for sample in desk.page.locator("#sample option").all_inner_texts():
            offered.add((connector, sample))
    played = {(connector, sample) for connector, sample, _, _ in OUTCOMES}
    others = {
        sample
        for connector, sample in offered - played
        if sample not in ("As the caller's documentation shows it", "A claim holds markup: it stays text")
    }
    # What differs from the first only in what was typed before.
    assert others <= {"The person corrects it"}, others
    for number, (connector, sample, seen, said) in enumerate(OUTCOMES, 1):
        desk.choose(connector, sample).send()
        screen, result = desk.screen(), desk.result()
        for text in seen:
            assert text in screen, f"{sample}: {text!r} is not in {screen!r}"
        for text in said:
            assert text in result, f"{sample}: {text!r} is not in {result!r}"
        desk.picture(f"outcome {number:02} {connector}")


def documented_claims_are_ready_for_every_connector(browser: Browser) -> None:
    desk = browser.desk()
    for connector in desk.page.locator("#connector option").all_inner_texts():
        desk.choose(connector, "As the caller's documentation shows it").send()
        assert "continue" in desk.result() or connector == "nobody-listens", desk.result()
        assert "johnsmith@fabrikam.onmicrosoft.com" in desk.card("HTTP request")


def what_travels_is_shown_as_it_was(browser: Browser) -> None:
    desk = browser.desk()
    desk.choose("sign-up", "Another organisation gets another tier").type(displayName="grace  b.  HOPPER").send()
    request, message = desk.card("HTTP request"), desk.card("NATS message")
    reply, answer = desk.card("Worker's reply"), desk.card("HTTP answer")
    assert "POST /connectors/sign-up HTTP/1.1" in request and "authorization: Basic [not shown]" in request
    for header in ["Connector-Call-Id: ", "Connector-Attempt: 1", "Connector-Deadline: 2", "traceparent: 00-"]:
        assert header in message, message
    assert "connectors.sign-up.before-create" in message and '"grace  b.  HOPPER"' in message
    assert '{"action":"Continue","displayName":"Grace B. Hopper"' in reply, reply
    assert "HTTP/1.1 200" in answer and '{"version":"1.0.0","action":"Continue"' in answer, answer
    points = desk.points()
    places = [
        points.index(name)
        for name in ["Caller connects", "First byte received", "Authenticated", "Sent to NATS", "Worker's reply", "Answered", "Caller has the answer"]
    ]  # fmt: skip
    assert places == sorted(places), points
    assert "deadline 2" in points and "caller's limit 20 s" in points, points


def the_timeline_is_to_scale(browser: Browser) -> None:
    desk = browser.desk()
    desk.choose("sign-up", "The worker keeps silent: the configured default, before the caller gives up").send()
    track = desk.page.locator(".overview").bounding_box()
    at = {
        kind: (desk.page.locator(f".overview .mark.{kind}").bounding_box()["x"] - track["x"]) / track["width"]
        for kind in ("deadline", "limit")
    }
    # 2 s and 20 s of 20.4 s that are shown.
    assert abs(at["deadline"] - 2 / 20.4) < 0.02 and abs(at["limit"] - 20 / 20.4) < 0.02, at
    used = desk.page.locator(".overview .used").bounding_box()["width"] / track["width"]
    assert abs(used - 2 / 20.4) < 0.02, used


# A message that nobody heard, and the same one sent again, which a worker answered.
SENT_AGAIN = """() => import('/timeline.js').then(({ timeline }) => {
    const ended = (at_ms, ended_ms) => ({ at_ms, ended_ms });
    const noted = { arrived_ms: 0, authenticated_ms: 1, read_ms: 2, messages: [ended(10, 20), ended(60, 100)],
        replies: [{ at_ms: 100, late: false }], answered_ms: 110, end: { source: 'worker' } };
    const drawn = timeline({ noted, heard_ms: 120, answer: {} }, { deadline_ms: 2000, caller_waits_ms: 20000 }, 0, '');
    return [...drawn.querySelectorAll('.lane.worker .bar')].map(({ style }) => parseFloat(style.width));
})"""


def a_message_that_was_sent_again_has_its_own_bar(browser: Browser) -> None:
    first, again = browser.desk().page.evaluate(SENT_AGAIN)
    # 10 ms and 40 ms of the 124.8 ms that are shown.
    assert abs(first - 8.01) < 0.1 and abs(again - 32.05) < 0.1, (first, again)


ALL = [
    every_documented_outcome_is_shown,
    documented_claims_are_ready_for_every_connector,
    what_travels_is_shown_as_it_was,
    the_timeline_is_to_scale,
    a_message_that_was_sent_again_has_its_own_bar,
]
