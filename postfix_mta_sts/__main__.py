"""`python -m postfix_mta_sts` runs the command `postfix-mta-sts`."""

import sys

from postfix_mta_sts.cli.main import main

sys.exit(main())
