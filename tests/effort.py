"""How much is tried, and from which seed.

``./dev test`` tries a bounded number of random cases, ``./dev check`` a part of them, ``./dev soak`` the same at length. All
begin at a seed that is printed, and ``TOWPATH_SEED`` (``./dev test --seed``) begins there again.
"""

import os
import random

from hypothesis import HealthCheck, settings

SOAK = os.environ.get("TOWPATH_SOAK", "") not in {"", "0"}
SEED = int(os.environ.get("TOWPATH_SEED") or random.SystemRandom().randrange(1 << 32))
os.environ["TOWPATH_SEED"] = str(SEED)  # processes that share the run's tests begin there too
BRIEF = not SOAK and os.environ.get("TOWPATH_BRIEF", "") not in {"", "0"}
LONGER = 50
SHORTER = 5


def examples(number: int, *, soak: int | None = None) -> int:
    """``number`` of cases or rounds, before a commit a fifth of them; in a soak ``soak``, or 50 times as many."""
    if SOAK:
        return number * LONGER if soak is None else soak
    return -(-number // SHORTER) if BRIEF else number


def chance(*names: str) -> random.Random:
    """Randomness from the seed; with names, another stream from the same seed."""
    return random.Random(":".join((str(SEED), *names)))


def load_profile() -> None:
    """Hypothesis' profiles: ``ci`` bounds the number of examples, ``soak`` runs many more and lets them be large.

    Neither has a deadline for an example: on a busy machine that would fail for no fault of the code.
    """
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    settings.register_profile("ci", max_examples=examples(100), deadline=None, derandomize=False, print_blob=True)
    settings.register_profile("soak", settings.get_profile("ci"), suppress_health_check=slow)
    settings.load_profile("soak" if SOAK else "ci")
