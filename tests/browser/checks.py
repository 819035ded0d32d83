"""All checks, in the order in which they run."""

import attacks
import callers
import outcomes
import page

ALL = [*outcomes.ALL, *callers.ALL, *page.ALL, *attacks.ALL]
