"""Another site, open in the same browser, that would like to drive the playground."""

import http.server
import threading
import urllib.error
import urllib.request
from collections.abc import Callable

from desk import Browser

# Each tries something with TARGET; a real page would do all of it.
ATTEMPTS = {
    "a request with our header": "fetch(TARGET + '/api/plays', {method: 'POST', headers: {'connector-playground': '1', 'content-type': 'application/json'}, body: PLAY}).then((answer) => answer.status)",
    "a request that needs no leave": "fetch(TARGET + '/api/plays', {method: 'POST', mode: 'no-cors', headers: {'content-type': 'text/plain'}, body: PLAY}).then((answer) => answer.type)",
    "reading the last calls": "fetch(TARGET + '/api/live').then((answer) => answer.text())",
    "reading them with our header": "fetch(TARGET + '/api/live', {headers: {'connector-playground': '1'}}).then((answer) => answer.text())",
    "a form": """new Promise((done) => {
        const frame = document.body.appendChild(document.createElement('iframe'));
        frame.name = 'into'; frame.onload = () => done('loaded');
        const form = document.body.appendChild(document.createElement('form'));
        form.target = 'into'; form.method = 'post'; form.enctype = 'text/plain'; form.action = TARGET + '/api/plays';
        const field = form.appendChild(document.createElement('input')); field.name = PLAY.slice(0, -1) + ',"x":"'; field.value = '"}';
        form.submit(); setTimeout(() => done('sent'), 500); })""",
    "breaking things": "fetch(TARGET + '/api/faults', {method: 'PUT', headers: {'connector-playground': '1', 'content-type': 'application/json'}, body: '{\"worker\":\"gone\",\"nats\":\"none\"}'}).then((answer) => answer.status)",
}  # fmt: skip

PLAY = '{"connector":"sign-up","claims":"{}","manner":"normal","ms":0,"credentials":"right"}'


class Quiet(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:  # noqa: N802: the name is that of the library
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>Another site</title><body>")

    def log_message(self, *_: object) -> None:
        pass


def with_another_site(use: Callable[[str], None]) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        use(f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()


def another_site_in_the_same_browser_cannot_drive_it(browser: Browser) -> None:
    desk = browser.desk()
    before, faults = desk.numbers(), desk.live()["faults"]
    names = desk.page.locator("#connector option").all_inner_texts()

    def attack(site: str) -> None:
        page = browser.window(watched=False)
        page.goto(site)
        setting = f"const TARGET = {browser.demo.page!r}, PLAY = {PLAY!r};"
        for name, attempt in ATTEMPTS.items():
            code = f"(async () => {{ {setting} try {{ return String(await {attempt}); }} catch (error) {{ return 'refused'; }} }})()"
            said = page.evaluate(code)
            assert said in ("refused", "opaque", "loaded", "sent"), f"{name}: {said}"
            assert not any(connector in said for connector in names), name
        # In a frame it shows nothing.
        page.evaluate(
            "(target) => { const frame = document.body.appendChild(document.createElement('iframe')); frame.src = target; }",
            browser.demo.page,
        )
        page.wait_for_timeout(300)
        assert not any(frame.query_selector("#send") for frame in page.frames[1:])

    with_another_site(attack)
    assert desk.numbers() == before and desk.live()["faults"] == faults


def another_name_for_this_machine_does_not_lead_in(browser: Browser) -> None:
    page = browser.window(watched=False)
    port = browser.demo.page.rsplit(":", 1)[1]
    answer = page.goto(f"http://rebound.example:{port}/")
    assert answer.status == 403 and page.locator("#send").count() == 0
    code = "fetch('/api/live', {headers: {'connector-playground': '1'}}).then((answer) => answer.status)"
    assert page.evaluate(code) == 403


def what_is_no_browser_needs_the_header_too(browser: Browser) -> None:
    rows = [
        ({"connector-playground": "1"}, 200),
        ({}, 403),
        ({"connector-playground": "1", "Origin": "http://127.0.0.1:1"}, 403),
        ({"connector-playground": "1", "Origin": "null"}, 403),
        ({"connector-playground": "1", "Host": "example.com"}, 403),
    ]
    for headers, wanted in rows:
        request = urllib.request.Request(f"{browser.demo.page}/api/about", headers=headers)
        try:
            with urllib.request.urlopen(request) as answer:
                status = answer.status
        except urllib.error.HTTPError as error:
            status = error.code
        assert status == wanted, headers


ALL = [
    another_site_in_the_same_browser_cannot_drive_it,
    another_name_for_this_machine_does_not_lead_in,
    what_is_no_browser_needs_the_header_too,
]
