"""Shows who waits, lets them in, or turns them away.

    python3 approvals.py list [--all]
    python3 approvals.py approve EMAIL
    python3 approvals.py refuse EMAIL
"""

import argparse
import sys

import register

SETTLED = {"approve": "approved", "refuse": "refused"}


def printable(text: str) -> str:
    """A person typed it, and a terminal obeys control characters."""
    return "".join(each if each.isprintable() else "?" for each in text)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list").add_argument("--all", action="store_true", help="also those that are settled")
    for command in SETTLED:
        commands.add_parser(command).add_argument("email")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    db = register.open_register()
    if options.command == "list":
        statuses = ["waiting", "approved", "refused"] if options.all else ["waiting"]
        for request in register.requests(db, statuses):
            print("\t".join(map(printable, request)))
        return 0
    status = SETTLED[options.command]
    if not register.settle(db, options.email, status, register.utc_now):
        print(f"{printable(options.email)} has not asked", file=sys.stderr)
        return 1
    print(f"{printable(options.email)} is {status}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
