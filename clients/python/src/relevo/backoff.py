"""How long to wait before the next try to connect."""

from __future__ import annotations

import dataclasses
import random


@dataclasses.dataclass(frozen=True)
class Backoff:
    """Exponential, with full jitter: any time between none and a bound that doubles with each failure.

    All of the wait is left to chance, so that the clients of one server don't all come back at once.
    """

    first: float = 1.0
    """The first bound, in seconds."""
    longest: float = 30.0
    """The bound never grows past this, in seconds."""

    def __post_init__(self) -> None:
        if not 0 < self.first <= self.longest:
            raise ValueError("a Backoff needs 0 < first <= longest")

    def bound(self, failures: int) -> float:
        """The longest wait after this many failures in a row, in seconds."""
        # 2.0**1024 would be an error; the bound is long reached by then.
        return min(self.longest, self.first * 2.0 ** min(failures - 1, 64))

    def wait(self, failures: int) -> float:
        """A wait, in seconds."""
        return random.uniform(0, self.bound(failures))
