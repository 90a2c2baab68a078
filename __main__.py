"""`python -m duet_av` is the `duet` command."""

import sys

from .commands import main

sys.exit(main())
