"""Callers that behave otherwise than they should, and things that break."""

from desk import Browser, Desk, somebody
from playwright.sync_api import expect


def a_caller_that_gives_up_sees_its_own_error_and_the_decision_is_there_for_its_retry(browser: Browser) -> None:
    desk = browser.desk()
    text = '{"email":"slow@example.com","displayName":"%s"}' % somebody()
    desk.choose("sign-up").claims(text).caller("give_up", 0.3).send()
    assert "Something went wrong" in desk.screen() and "no answer within 0.3 s" in desk.screen()
    assert "Caller gives up" in desk.points()
    # What the bridge notes after the caller has gone is shown too.
    expect(desk.page.locator("#timelines")).to_contain_text("Answered")
    desk.picture("caller gives up")
    desk.page.locator("#again").click()
    desk.caller("normal").send()
    assert "from replay" in desk.result() and "Account created" in desk.screen(), desk.result()


def a_retry_joins_or_is_answered_by_what_was_recorded(browser: Browser) -> None:
    desk = browser.desk()
    text = '{"email":"slow@example.com","displayName":"%s"}' % somebody()
    desk.choose("sign-up").claims(text).caller("retry", 0.4).send()
    result = desk.result()
    assert "Join: the same call was in flight" in result and "0 messages" in result, result
    desk.picture("retry joins")
    desk.choose("sign-up").type(email=somebody()).caller("retry", 0.4).send()
    result = desk.result()
    assert "Replay: this call was decided within the replay window" in result, result
    assert desk.page.locator("figure.timeline").count() == 2
    desk.picture("retry is replayed")


def a_form_that_is_sent_twice_is_decided_once_but_for_a_validation_error(browser: Browser) -> None:
    desk = browser.desk()
    desk.choose("sign-up").type(email=somebody()).caller("resubmit").send()
    assert "from replay" in desk.result() and "0 messages" in desk.result(), desk.result()
    text = '{"email":"%s","postalCode":"1"}' % somebody()
    desk.claims(text).send()
    result = desk.result()
    assert result.count("from worker") == 2 and result.count("1 message to workers") == 2, result
    assert "Please enter a valid postal code." in desk.screen()


def a_slow_network_uses_up_the_time_and_too_slow_a_one_gets_408(browser: Browser) -> None:
    desk = browser.desk()
    desk.choose("sign-up").type(email=somebody()).caller("slow", 1).send()
    assert "Account created" in desk.screen()
    read = desk.page.locator(".points li", has_text="Whole body read").inner_text()
    assert 1.0 <= float(read.split()[0]) < 1.9, read
    desk.choose("sign-up").type(email=somebody()).caller("slow", 3).send()
    assert "HTTP 408" in desk.screen() and "body did not come" in desk.result(), desk.result()


# switch, choice, what is said of it
FAULTS = [
    ("The worker", "is too slow", "kept silent until the deadline"),
    ("The worker", "keeps silent", "kept silent until the deadline"),
    ("The worker", "replies nonsense", "reply is no decision"),
    ("The worker", "is gone", "no worker listened"),
    ("NATS", "is stopped", "no connection to NATS"),
]


def mended(desk: Desk) -> None:
    desk.switch("The worker", "works").switch("NATS", "runs")
    expect(desk.page.locator("#strip")).to_contain_text("NATS 2")


def what_is_broken_on_purpose_has_the_answer_that_users_would_get(browser: Browser) -> None:
    desk = browser.desk()
    try:
        for switch, choice, said in FAULTS:
            desk.choose("sign-up").type(email=somebody()).switch(switch, choice)
            if switch == "NATS":
                expect(desk.page.locator("#strip")).to_contain_text("NATS is away")
            desk.send()
            result = desk.result()
            assert "block page" in result and "from default" in result and said in result, result
            if choice == "is too slow":
                expect(desk.page.locator("#timelines")).to_contain_text("Reply, too late")
            desk.picture(f"fault {switch} {choice}")
            mended(desk)
        # All is well again, and the worker that was cut off has come back.
        desk.choose("sign-up").type(email=somebody()).send()
        assert "from worker" in desk.result(), desk.result()
    finally:
        mended(desk)


def a_cached_decision_answers_while_no_worker_does(browser: Browser) -> None:
    desk = browser.desk()
    email = somebody("gold.example")
    desk.choose("prefill", "The worker fills in the form").type(email=email).send()
    assert "from worker" in desk.result(), desk.result()
    expect(desk.page.locator("#connectors tr", has_text="prefill").locator("td").nth(4)).not_to_have_text("0")
    try:
        desk.switch("The worker", "replies nonsense")
        desk.choose("prefill", "The worker fills in the form").type(email=email, displayName="Another").send()
        result = desk.result()
        assert "from cache" in result and "from the fallback cache" in result, result
        assert "Nothing was filled in" in desk.screen()
    finally:
        mended(desk)


def a_breaker_that_opens_is_shown(browser: Browser) -> None:
    desk = browser.desk()
    desk.choose("loyalty", "The policy gets a claim").switch("The worker", "keeps silent")
    code = """(claims) => Promise.all(claims.map((claims) => fetch('/api/plays', {method: 'POST',
        headers: {'connector-playground': '1', 'content-type': 'application/json'},
        body: JSON.stringify({connector: 'loyalty', claims, manner: 'normal', ms: 0, credentials: 'right'})})
        .then((answer) => answer.status)))"""
    claims = ['{"loyaltyNumber":"%s"}' % somebody() for _ in range(5)]
    try:
        assert desk.page.evaluate(code, claims) == [200] * 5
        expect(desk.page.locator("#strip")).to_contain_text("breaker open")
        # One that probes finds the worker silent, so that the next pause is longer than it took.
        for _ in range(4):
            desk.type(loyaltyNumber=somebody()).send()
            if "the breaker is open" in desk.result():
                break
        assert "the breaker is open" in desk.result(), desk.result()
        desk.picture("breaker open")
    finally:
        mended(desk)


ALL = [
    a_caller_that_gives_up_sees_its_own_error_and_the_decision_is_there_for_its_retry,
    a_retry_joins_or_is_answered_by_what_was_recorded,
    a_form_that_is_sent_twice_is_decided_once_but_for_a_validation_error,
    a_slow_network_uses_up_the_time_and_too_slow_a_one_gets_408,
    what_is_broken_on_purpose_has_the_answer_that_users_would_get,
    a_cached_decision_answers_while_no_worker_does,
    a_breaker_that_opens_is_shown,
]
