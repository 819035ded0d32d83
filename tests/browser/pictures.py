"""The picture of the README."""

from desk import Browser


def of_the_readme(browser: Browser) -> None:
    desk = browser.desk(width=1360, height=1330)
    desk.choose("sign-up", "Another organisation gets another tier")
    desk.send()
    desk.choose("sign-up", "Another organisation gets another tier")
    desk.type(displayName="  grace   b. HOPPER ").send()
    desk.page.wait_for_timeout(500)
    desk.page.screenshot(path="docs/pictures/playground.png")
