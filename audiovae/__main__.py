"""`python -m audiovae` is the command line."""

import sys

from audiovae.cli import main

if __name__ == "__main__":
    sys.exit(main())
