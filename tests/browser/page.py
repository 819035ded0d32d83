"""The page itself: bad input, markup, keyboard, small screens, other people's calls, secrets."""

import json
import re

from desk import Browser, Desk, somebody
from playwright.sync_api import expect

# text, what is said at the field
NO_OBJECTS = [
    ('["a"]', "this is a list"),
    ("null", "this is null"),
    ("17", "this is a number"),
    ('"text"', "this is a string"),
    ('{"email": }', "This is not JSON"),
    ("", "This is not JSON"),
]


def claims_that_are_no_object_are_refused_at_the_field(browser: Browser) -> None:
    desk = browser.desk()
    before = desk.numbers()
    field = desk.page.get_by_label("Claims that will be posted")
    for text, said in NO_OBJECTS:
        desk.claims(text)
        expect(desk.page.locator("#claims-fault")).to_contain_text(said)
        assert field.get_attribute("aria-invalid") == "true" and field.get_attribute("aria-describedby") == "claims-fault"
        desk.page.locator("#send").click()
        expect(field).to_be_focused()
    desk.picture("claims are no object")
    desk.assert_accessible("a fault at the field")
    assert desk.numbers() == before, "something was sent"
    desk.claims('{"email":"%s"}' % somebody())
    expect(desk.page.locator("#claims-fault")).to_be_empty()
    desk.send()
    assert "Account created" in desk.screen()


def the_form_and_the_text_are_one(browser: Browser) -> None:
    desk = browser.desk().choose("sign-up")
    email = somebody()
    desk.type(email=email)
    text = desk.page.get_by_label("Claims that will be posted").input_value()
    assert json.loads(text)["email"] == email, text
    desk.claims('{"email":"x@example.com","city":"Seattle","identities":[]}')
    assert desk.page.get_by_label("City").input_value() == "Seattle"
    assert "The caller adds: identities." in desk.screen()
    # Exactly what is written is sent: not what a parser makes of it.
    text = '{ "email":"%s",\t"n": 12345678901234567890.50 }' % somebody()
    desk.claims(text).send()
    assert text in desk.page.locator("details.card pre.body").first.inner_text()


# What a parser would not give back as it was, and what it would.
LOST = ['{"email":"a","n":12345678901234567890.50}', '{"email":"a","email":"b"}', '{"email":"a","n":1.0}', '{"email":"\\u0061"}']
KEPT = ['{"email":"a"}', ' {\t"email" : "a  \\" b" ,\n"n":[1, {"x": null}]}\n', '{"email":"é","n":-1.5,"is":true}']


def the_form_changes_nothing_but_what_is_typed(browser: Browser) -> None:
    desk = browser.desk().choose("sign-up")
    email, locked = desk.page.locator("#screen [data-claim=email]"), "Edit these claims as JSON"
    for text in LOST:
        desk.claims(text)
        assert not email.is_editable() and locked in desk.screen(), text
        email.press("x")
        assert desk.page.get_by_label("Claims that will be posted").input_value() == text
    desk.assert_accessible("a locked form")
    desk.picture("locked form")
    for text in KEPT:
        desk.claims(text).type(email="typed")
        assert locked not in desk.screen(), text
        written = desk.page.get_by_label("Claims that will be posted").input_value()
        assert json.loads(written) == json.loads(text) | {"email": "typed"}, written


MEMBERS = ["constructor", "toString", "__proto__"]
MARKUP = '<img src=x onerror=alert(1)><b id=bold>&amp;</b>'


def assert_no_markup(desk: Desk) -> None:
    elements = "document.querySelectorAll('main img, main script, main .screen b, main b#bold, main i:not([class]):empty').length"
    dots = "document.querySelectorAll('.window > .bar i').length"
    assert desk.page.evaluate(elements) == desk.page.evaluate(dots), "text has become markup"


def markup_in_a_claim_is_shown_as_text(browser: Browser) -> None:
    desk = browser.desk()
    desk.choose("sign-up", "A claim holds markup: it stays text").send()
    assert_no_markup(desk)
    assert "<img src=x onerror=alert(1)> <b>bobby</b>" in desk.screen()
    desk.picture("markup is text")
    script = "<script>alert(2)</script>"
    claims = {"email": somebody(), MARKUP: "1", "displayName": script, "extension_<i>x</i>": MARKUP}
    # Names that every object of the page's language has.
    claims |= {name: "p" for name in MEMBERS}
    desk.choose("prefill").claims(json.dumps(claims))
    labels = desk.page.locator("#screen label").all_inner_texts()
    assert labels == ["Email address", MARKUP, "Display name", "<i>x</i>", *MEMBERS], labels
    for name in MEMBERS:
        desk.page.get_by_label(name, exact=True).fill(f"typed {name}")
    text = desk.page.get_by_label("Claims that will be posted").input_value()
    assert json.loads(text) == claims | {name: f"typed {name}" for name in MEMBERS}, text
    desk.send()
    for text in (MARKUP, script, "extension_<i>x</i>"):
        assert text in desk.card("HTTP request"), text
    expect(desk.page.locator("#calls tr").first).to_contain_text(MARKUP)
    assert_no_markup(desk)


RESULTS = [
    ("sign-up", "The worker allows, tidies the name and adds a claim"),
    ("sign-up", "The worker blocks"),
    ("sign-up", "The worker finds a mistake in the form"),
    ("sign-up", "The caller does not know the password"),
    ("prefill", "The worker fills in the form"),
]


def axe_finds_nothing_in_light_and_dark_wide_and_small(browser: Browser) -> None:
    for scheme, width in (("light", 1280), ("dark", 390), ("dark", 1280), ("light", 390)):
        desk = browser.desk(width=width, scheme=scheme)
        desk.assert_accessible(f"{scheme} {width}")
        desk.picture(f"start {scheme} {width}")
        # Colours do not depend on the width, nor what is there on the colours.
        for connector, sample in RESULTS if (scheme == "light") == (width == 1280) else RESULTS[:1]:
            desk.choose(connector, sample).send()
            desk.assert_accessible(f"{scheme} {width} {sample}")
        desk.picture(f"result {scheme} {width}")


# Instead of what was played; returns how wide the page becomes. No label may leave the drawing.
ANOTHER_TIMELINE = """([deadline_ms, caller_waits_ms]) => import('/timeline.js').then(({ timeline }) => {
    const noted = { arrived_ms: 1, authenticated_ms: 1, read_ms: 1, messages: [], replies: [], answered_ms: null };
    const drawn = timeline({ noted, heard_ms: null }, { deadline_ms, caller_waits_ms }, 2, 'Another');
    document.getElementById('timelines').replaceChildren(drawn);
    const whole = drawn.getBoundingClientRect();
    for (const label of drawn.querySelectorAll('.overview .mark:not(.start) span')) {
        const { left, right } = label.getBoundingClientRect();
        if (left < whole.left || right > whole.right) throw new Error(`${label.textContent} leaves the drawing`);
    }
    return document.scrollingElement.scrollWidth;
})"""


def nothing_is_wider_than_a_small_screen(browser: Browser) -> None:
    for width in (390, 320):
        desk = browser.desk(width=width, height=800)
        desk.choose("sign-up", "The worker finds a mistake in the form").caller("retry", 0.2).send()
        wide = desk.page.evaluate("document.scrollingElement.scrollWidth")
        assert wide <= width, f"{wide} of {width}"
        desk.choose("loyalty", "The policy gets a message").send()
        wide = desk.page.evaluate("document.scrollingElement.scrollWidth")
        assert wide <= width, f"{wide} of {width} with the longest outcome"
        # A deadline anywhere, for a caller that waits long or not.
        for deadline, waits in ((2, 20), (11, 20), (15, 20), (19.5, 20), (5.2, 10)):
            wide = desk.page.evaluate(ANOTHER_TIMELINE, [deadline * 1000, waits * 1000])
            assert wide <= width, f"{wide} of {width} with a deadline of {deadline} s of {waits} s"


def everything_can_be_done_by_keyboard_alone(browser: Browser) -> None:
    desk = browser.desk()
    keys = desk.page.keyboard
    focused = lambda: desk.page.evaluate("document.activeElement.dataset.claim || document.activeElement.id")  # noqa: E731

    def tab_to(wanted: str) -> None:
        for _ in range(60):
            keys.press("Tab")
            if focused() == wanted:
                outline = "getComputedStyle(document.activeElement).outlineStyle"
                assert desk.page.evaluate(outline) != "none", f"{wanted} does not show its focus"
                return
        raise AssertionError(f"no way to {wanted}; the focus is on {focused()!r}")

    keys.press("Tab")
    assert desk.page.evaluate("document.activeElement.textContent") == "Skip to the sign-up"
    tab_to("connector")
    keys.type("sign-up")
    tab_to("sample")
    keys.press("ArrowDown")
    tab_to("email")
    keys.press("Control+A")
    keys.type(somebody("gold.example"))
    keys.press("Enter")
    expect(desk.page.locator("#again")).to_be_focused()
    assert "gold" in desk.screen()
    keys.press("Enter")
    expect(desk.page.locator("#screen [data-claim=email]")).to_be_focused()
    tab_to("worker-none")
    keys.press("ArrowDown")
    assert focused() == "worker-slow"
    keys.press("ArrowUp")
    expect(desk.page.locator("#worker-none")).to_be_checked()
    tab_to("filter-connector")
    keys.type("sign-up")
    expect(desk.page.locator("#calls tr").first).to_contain_text("sign-up")


# Backwards from the end of the page, where what is next is always above; returns what is covered.
COVERED = """() => {
    const header = document.querySelector('.top');
    const fields = [...document.querySelectorAll('main :is(button, input, select, textarea, [tabindex], summary)')];
    const covered = [];
    for (const field of fields.reverse()) {
        if (field.closest('#person, [hidden]')) continue;
        scrollTo(0, document.body.scrollHeight);
        field.focus();
        const { top } = field.getBoundingClientRect();
        const { bottom } = header.getBoundingClientRect();
        if (document.activeElement === field && top < bottom) covered.push(field.id || field.outerHTML.slice(0, 60));
    }
    return covered;
}"""


def what_has_the_focus_is_not_under_the_header(browser: Browser) -> None:
    for width in (1280, 800, 600):
        desk = browser.desk(width=width, height=600).choose("sign-up").send()
        covered = desk.page.evaluate(COVERED)
        assert not covered, f"{width}: {covered}"


def the_focus_goes_with_the_person_and_is_taken_from_nobody(browser: Browser) -> None:
    desk = browser.desk()
    field, send = desk.page.get_by_label("Claims that will be posted"), desk.page.locator("#send")
    slow = '{"email":"slow@example.com","displayName":"%s"}'
    desk.choose("sign-up").claims(slow % somebody())
    send.focus()
    desk.page.keyboard.press("Enter")
    expect(desk.page.get_by_role("heading", name="Please wait")).to_be_focused()
    expect(desk.page.locator("#again")).to_be_focused()
    desk.page.locator("#again").click()
    desk.claims(slow % somebody())
    send.click()
    # Who types elsewhere meanwhile goes on with that, and there is no form to send again.
    field.fill('{"email":"other@example.com"}')
    assert send.count() == 0 and desk.page.locator("#waiting").count() == 1
    expect(desk.page.locator("#again")).to_be_visible()
    expect(field).to_be_focused()


# connector, sample, what a screen reader says at the end
SPOKEN = [
    ("sign-up", "The worker blocks", "You cannot sign up. Sign-up is not open to your organisation."),
    ("sign-up", "The caller does not know the password", "Something went wrong. The caller shows an error page"),
    ("sign-up", "The worker allows, tidies the name and adds a claim", "Account created. 1 field overwritten. 1 field added."),
    ("prefill", "The worker fills in the form", "Create your account. The worker has filled in what is marked. 2 fields filled in."),
]  # fmt: skip

# All that a status has said, one by one.
LISTEN = """() => { const status = document.getElementById('spoken');
    new MutationObserver(() => window.said.push(status.textContent)).observe(status, { childList: true }); }"""


def a_screen_reader_says_what_the_person_sees(browser: Browser) -> None:
    desk = browser.desk()
    assert desk.page.locator("#spoken").get_attribute("role") == "status"
    desk.page.evaluate(LISTEN)
    for connector, sample, wanted in SPOKEN:
        desk.choose(connector, sample)
        desk.page.evaluate("window.said = []")
        desk.send()
        expect(desk.page.locator("#again")).to_be_visible()
        said = desk.page.evaluate("window.said")
        assert len(said) == 1 and said[0].startswith(wanted), said
    desk.choose("sign-up", "The worker finds a mistake in the form").send()
    expect(desk.page.locator("#screen").get_by_role("alert")).to_have_text("Please enter a valid postal code.")
    expect(desk.page.locator("#spoken")).to_be_empty()


def a_page_whose_bridge_is_away_says_so_and_comes_back(browser: Browser) -> None:
    page = browser.window(watched=False)
    page.route("**/api/**", lambda route: route.abort())
    page.goto(browser.demo.page)
    trouble, strip = page.locator("#trouble"), page.locator("#strip .badge")
    unknown = ["NATS not known", "workers not known", "breaker not known"]
    expect(trouble).to_contain_text("does not answer")
    expect(strip).to_have_text(unknown)
    page.unroute("**/api/**")
    expect(page.locator("#send")).to_be_visible()
    expect(trouble).to_be_hidden()
    expect(strip.first).to_have_class("badge good")
    # Away for longer: nothing is claimed of it, and what is wrong is said once.
    page.evaluate(
        "() => { window.said = 0; const alert = document.getElementById('trouble');"
        " new MutationObserver(() => { window.said += 1; }).observe(alert, { childList: true }); }"
    )
    page.route("**/api/**", lambda route: route.abort())
    expect(strip).to_have_text(unknown)
    expect(page.locator("#strip .badge.quiet")).to_have_count(3)
    for _ in range(2):
        page.wait_for_event("requestfailed")
    assert page.evaluate("window.said") == 1
    # One that never answers is given up.
    page.unroute("**/api/**")
    expect(trouble).to_be_hidden()
    page.route("**/api/live", lambda route: None)
    expect(trouble).to_contain_text("no answer within 5 s")
    page.unroute("**/api/live")
    expect(trouble).to_be_hidden()


def a_switch_that_could_not_be_turned_stands_as_it_did(browser: Browser) -> None:
    desk = browser.desk(watched=False)
    group = desk.page.get_by_role("group", name="The worker")
    desk.page.route("**/api/faults", lambda route: route.fulfill(status=500, json={"error": "out of order"}))
    group.get_by_label("is gone").click()
    trouble = desk.page.locator("#trouble")
    expect(trouble).to_have_text("The switch was not turned: out of order.")
    expect(group.get_by_label("works")).to_be_checked()
    # That other things go well does not take the message away.
    for _ in range(2):
        desk.page.wait_for_event("requestfinished", lambda request: request.url.endswith("/api/live"))
    expect(trouble).to_be_visible()
    desk.page.unroute("**/api/faults")
    try:
        desk.switch("The worker", "is too slow")
        expect(trouble).to_be_hidden()
    finally:
        desk.switch("The worker", "works")


def calls_of_others_appear_by_themselves_and_their_claims_are_masked(browser: Browser) -> None:
    desk = browser.desk()
    email = somebody("blocked.example")
    browser.demo.call("sign-up", {"email": email, "displayName": "Somebody Else"})
    first = desk.page.locator("#calls tr").first
    expect(first).to_contain_text("email: •••")
    expect(first).to_contain_text("block page")
    assert email not in desk.page.content() and "Somebody Else" not in desk.page.content()
    assert email not in json.dumps(desk.live())
    browser.demo.call("token", {"email": somebody(), "objectId": "1"})
    expect(first).to_contain_text("token")
    desk.page.locator("#filter-connector").select_option("sign-up")
    assert "token" not in desk.page.locator("#calls th").all_inner_texts()
    desk.page.locator("#filter-outcome").select_option("show_block_page")
    assert set(desk.page.locator("#calls .badge").all_inner_texts()) == {"block page"}
    desk.page.locator("#filter-outcome").select_option("refused")
    shown = desk.page.locator("#calls .badge").all_inner_texts()
    assert set(shown) <= {"turned away"}, shown


def nothing_is_kept_and_no_secret_reaches_the_page(browser: Browser) -> None:
    page = browser.window()
    bodies: list[str] = []
    page.on("response", lambda answer: bodies.append(str(answer.headers) + answer.text()))
    page.goto(browser.demo.page)
    page.wait_for_selector("#send")
    desk = Desk(page, browser)
    email = somebody()
    for credentials in ("right", "wrong", "none"):
        page.get_by_label("Credentials").select_option(credentials)
        desk.type(email=email).send()
        page.locator("#again").click()
    kept = page.evaluate(
        "(async () => [localStorage.length, sessionStorage.length, document.cookie,"
        " (await indexedDB.databases()).length, (await caches.keys()).length, location.href, history.length])()"
    )
    assert kept[:5] == [0, 0, "", 0, 0] and kept[5] == browser.demo.page + "/", kept
    assert email not in page.url and page.context.cookies() == []
    everything = "\n".join(bodies) + page.content()
    assert len(bodies) > 15 and email in everything
    for secret in (browser.demo.password, browser.demo.basic):
        assert secret not in everything
    assert not re.search(r"this is not the password|ZGVtbzp", everything)


ALL = [
    claims_that_are_no_object_are_refused_at_the_field,
    the_form_and_the_text_are_one,
    the_form_changes_nothing_but_what_is_typed,
    markup_in_a_claim_is_shown_as_text,
    axe_finds_nothing_in_light_and_dark_wide_and_small,
    nothing_is_wider_than_a_small_screen,
    everything_can_be_done_by_keyboard_alone,
    what_has_the_focus_is_not_under_the_header,
    the_focus_goes_with_the_person_and_is_taken_from_nobody,
    a_screen_reader_says_what_the_person_sees,
    a_page_whose_bridge_is_away_says_so_and_comes_back,
    a_switch_that_could_not_be_turned_stands_as_it_did,
    calls_of_others_appear_by_themselves_and_their_claims_are_masked,
    nothing_is_kept_and_no_secret_reaches_the_page,
]
