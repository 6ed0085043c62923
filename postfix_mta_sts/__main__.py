"""`python -m postfix_mta_sts`: the command without its script."""

import sys

from postfix_mta_sts.cli.main import main

sys.exit(main())
