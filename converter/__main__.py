"""`python -m converter` from the repository's root: the command `inglenook-convert` without an installation."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from inglenook_convert.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
