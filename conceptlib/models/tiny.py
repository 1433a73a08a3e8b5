"""`conceptlib.worlds.tiny` by the name that it had before: `from conceptlib.models import tiny` goes on working."""

from __future__ import annotations

import sys

from conceptlib.worlds import tiny

sys.modules[__name__] = tiny
