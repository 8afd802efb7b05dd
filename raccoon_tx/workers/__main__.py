"""``python -m raccoon_tx.workers NUMBER``: one worker, as its parent starts it."""

from __future__ import annotations

import signal

if __name__ == "__main__":
    # A terminal sends these to all processes in it; the parent hears them, and says what is to be done.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    from raccoon_tx.workers.child import main

    main()
