"""`python -m conceptlib`."""

import sys

from conceptlib.cli.main import main

sys.exit(main())
