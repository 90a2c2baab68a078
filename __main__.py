"""Run the `duet` command as `python -m duet_av`."""

import sys

from .commands import main

sys.exit(main())
