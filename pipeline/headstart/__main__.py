"""The command ``headstart``, and ``python -m headstart``."""

import os
import signal
from types import FrameType
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line; an interrupt while it is still loading ends it without a traceback."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _leave)
    from headstart.cli import main as run

    run()


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    os.write(2, b"headstart: interrupted\n")
    os._exit(128 + number)


if __name__ == "__main__":
    main()
