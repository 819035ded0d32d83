"""A person at the page: what they can do, and what they see."""

import itertools
from pathlib import Path

from demo import Demo
from playwright.sync_api import Page, Playwright, expect

# How long anything that should happen soon may take on a busy machine.
SOON_MS = 20_000
expect.set_options(timeout=SOON_MS)

COUNT = itertools.count(1)


def somebody(domain: str = "example.com") -> str:
    """An address that no call has had."""
    return f"p{next(COUNT)}@{domain}"


class Browser:
    """One browser, with a window for each check."""

    def __init__(self, playwright: Playwright, tools: Path, demo: Demo, pictures: Path):
        # Root has no sandbox. The name is for a check of what leads here under another name.
        arguments = ["--no-sandbox", f"--host-resolver-rules=MAP rebound.example {demo.page[7:].split(':')[0]}"]
        self.chromium = playwright.chromium.launch(executable_path=tools / "chromium", args=arguments)
        self.axe = (tools / "python/axe_playwright_python/axe.min.js").read_text()
        self.demo, self.pictures = demo, pictures
        self.noise: list[str] = []
        self.answers: list[tuple[str, bytes]] = []
        self.contexts = []

    def window(self, width: int = 1280, height: int = 900, scheme: str = "light", watched: bool = True) -> Page:
        """An empty window. What it says on its console is kept, if it is `watched`."""
        size = {"width": width, "height": height}
        context = self.chromium.new_context(viewport=size, color_scheme=scheme)
        context.set_default_timeout(SOON_MS)
        self.contexts.append(context)
        page = context.new_page()
        if watched:
            page.on("console", lambda message: self.noise.append(f"{message.type}: {message.text}"))
            page.on("pageerror", lambda error: self.noise.append(f"error: {error}"))
            page.on("dialog", lambda dialog: self.noise.append(f"dialog: {dialog.message}") or dialog.dismiss())
            page.on("request", lambda request: self.heard_of(request.url))
        return page

    def heard_of(self, url: str) -> None:
        if not url.startswith(self.demo.page + "/"):
            self.noise.append(f"request to elsewhere: {url}")

    def desk(self, **window) -> "Desk":
        """The page, opened."""
        page = self.window(**window)
        page.goto(self.demo.page)
        page.wait_for_selector("#send")
        # The state of the bridge is there too.
        page.wait_for_selector("#calls tr")
        return Desk(page, self)

    def assert_quiet(self) -> None:
        assert not self.noise, self.noise

    def picture_of_failure(self, name: str) -> None:
        for index, context in enumerate(self.contexts):
            for page in context.pages:
                page.screenshot(path=self.pictures / f"FAIL {name} {index}.png", full_page=True)

    def tidy(self) -> None:
        for context in self.contexts:
            context.close()
        self.contexts, self.noise = [], []

    def close(self) -> None:
        self.chromium.close()


class Desk:
    """The page, and a person in front of it."""

    def __init__(self, page: Page, browser: Browser):
        self.page, self.browser = page, browser

    def choose(self, connector: str, sample: str | None = None) -> "Desk":
        self.page.get_by_label("Connector").first.select_option(connector)
        if sample:
            self.page.get_by_label("Sample").select_option(label=sample)
        return self

    def caller(self, manner: str, seconds: float | None = None) -> "Desk":
        self.page.get_by_label("The caller").select_option(manner)
        if seconds is not None:
            self.page.locator("#time").fill(str(seconds))
        return self

    def type(self, **claims: str) -> "Desk":
        for name, value in claims.items():
            self.page.locator(f"#screen [data-claim={name}]").fill(value)
        return self

    def claims(self, text: str) -> "Desk":
        self.page.get_by_label("Claims that will be posted").fill(text)
        return self

    def send(self) -> "Desk":
        """Sends the form, and waits for its end."""
        self.page.locator("#send").click()
        expect(self.page.locator("#result .line").first).to_be_visible()
        return self

    def screen(self) -> str:
        return self.page.locator("#screen").inner_text()

    def result(self) -> str:
        return self.page.locator("#result").inner_text()

    def points(self) -> str:
        return self.page.locator("#timelines").inner_text()

    def card(self, title: str) -> str:
        return self.page.locator("details.card", has_text=title).first.inner_text()

    def switch(self, switch: str, choice: str) -> "Desk":
        """Breaks something, or mends it."""
        self.page.get_by_role("group", name=switch).get_by_label(choice).check()
        expect(self.page.locator("#faults")).to_be_visible()
        return self

    def picture(self, name: str) -> None:
        # What sticks to the top of a window belongs to the top of a picture.
        self.page.evaluate("scrollTo(0, 0)")
        self.page.screenshot(path=self.browser.pictures / f"{name}.png", full_page=True)

    def numbers(self) -> int:
        """How many calls the bridge has had."""
        return self.live()["calls"][0]["number"]

    def live(self) -> dict:
        code = "fetch('/api/live', {headers: {'connector-playground': '1'}}).then((answer) => answer.json())"
        return self.page.evaluate(code)

    def assert_accessible(self, what: str) -> None:
        """By every rule that axe has."""
        # A world of its own, beside the policy of the page.
        if not self.page.evaluate("typeof axe === 'object'"):
            self.page.evaluate(self.browser.axe)
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        faults = [
            f"{rule['id']}: {node['target']} {node['failureSummary']}"
            for rule in found["violations"]
            for node in rule["nodes"]
        ]
        assert not faults, f"{what}: " + "\n".join(faults)
