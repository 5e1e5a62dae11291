"""`python -m attribution COMMAND`; see `attribution.commands`."""

import sys

from attribution.commands import main

if __name__ == "__main__":
    sys.exit(main())
