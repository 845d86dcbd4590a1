"""``python -m d4pcwl``: the command ``d4pcwl``."""

import os
import sys

# With -m, modules in the current folder (signal.py) would go before all others.
_root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
if not sys.flags.safe_path and sys.path[0] not in (_root, *sys.path[1:]):
    del sys.path[0]

from d4pcwl.cli.main import main  # noqa: E402 - what it imports is to be Python's

sys.exit(main())
