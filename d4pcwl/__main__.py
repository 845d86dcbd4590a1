"""``python -m d4pcwl``: the command ``d4pcwl``."""

import sys

from d4pcwl.cli.main import main

sys.exit(main())
