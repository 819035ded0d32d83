"""All checks, in the order in which they run."""

import attacks
import callers
import outcomes
import page

# The page first: axe looks at every line of the list of calls, which grows.
ALL = [*page.ALL, *outcomes.ALL, *callers.ALL, *attacks.ALL]
