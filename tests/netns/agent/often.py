"""Our programs, of which an agent looks at its machine every few seconds and not every half minute: it sees the same.

python -m tests.netns.agent.often agent ...
"""

import sys

from towpath.controller.node import preflight

if __name__ == "__main__":
    preflight.EVERY = 3.0  # before anybody takes it from there
    from towpath.controller.cli import main

    sys.exit(main())
