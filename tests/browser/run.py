#!/usr/bin/env python3
"""Uses the playground's page as a person does, in a real browser. `make test-browser` calls it.

    tests/browser/run.py --tools .tools/browser --program target/release/connector-bridge

--tools        where tests/browser/fetch-tools has put its tools
--program      a connector-bridge
--nats-server  for its demo
--pictures     where pictures of every outcome go
--only         runs only checks with this in their name
--readme       makes the picture of the README anew, and nothing else
"""

import argparse
import functools
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests"))

import checking  # noqa: E402: only now it can be found


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tools", type=Path, default=ROOT / ".tools/browser")
    parser.add_argument("--program", type=Path, default=ROOT / "target/release/connector-bridge")
    parser.add_argument("--nats-server", type=Path, default=ROOT / ".tools/nats-server/bin/nats-server")
    parser.add_argument("--pictures", type=Path, default=ROOT / "target/playground")
    parser.add_argument("--only", default="")
    parser.add_argument("--readme", action="store_true")
    return parser.parse_args()


def watched(check: Callable) -> Callable:
    """The same, and nothing is said on the console meanwhile; a failure leaves a picture."""

    @functools.wraps(check)
    def carry_out(browser):
        try:
            check(browser)
            browser.assert_quiet()
        except Exception:
            browser.picture_of_failure(check.__name__.replace("_", " "))
            # The picture shows what else Playwright would put into words.
            raise checking.Fault(traceback.format_exc().partition("\nAria snapshot:")[0]) from None
        finally:
            browser.tidy()

    return carry_out


def main() -> int:
    options = arguments()
    sys.path.insert(0, str(options.tools / "python"))
    from playwright.sync_api import sync_playwright

    import checks
    import pictures
    from demo import Demo
    from desk import Browser

    options.pictures.mkdir(parents=True, exist_ok=True)
    all_checks = [pictures.of_the_readme] if options.readme else checks.ALL
    chosen = [watched(check) for check in all_checks if options.only in check.__name__.replace("_", " ")]
    with Demo(options.program, options.nats_server) as demo, sync_playwright() as playwright:
        browser = Browser(playwright, options.tools, demo, options.pictures)
        total = checking.carry_out(chosen, browser)
        browser.close()
    print(f"{total}; pictures are in {options.pictures}")
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
