"""What the command uses besides its options: files, the terminal, the clock. Tests replace them."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


def show(line: str) -> None:
    print(line, flush=True)


@dataclass(frozen=True)
class World:
    # The checkout.
    root: Path = Path(__file__).parents[2]
    say: Callable[[str], None] = show
    sleep: Callable[[float], None] = time.sleep
    # Seconds to connect, and to wait for the next part of an answer.
    timeout: tuple[float, float] = (10.0, 60.0)
