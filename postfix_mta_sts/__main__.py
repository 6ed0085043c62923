"""`python -m postfix_mta_sts` runs the command without its installed script."""

import sys

from postfix_mta_sts.cli.main import main

sys.exit(main())
