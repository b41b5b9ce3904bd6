"""The Python backend's processes, and whether one of them has died."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

__all__: list[str] = []

_COMMAND = "triton_python_b"
"""`triton_python_backend_stub`, of which the kernel keeps 15 characters."""

_REAPED_SECONDS = 5.0
"""A process that ends while its model is loaded or unloaded is asked for its exit code, within 3 seconds."""


class StubWatch:
    """Notices a stub that died, and that its server goes on without.

    Triton 24.10 doesn't look after its stubs: it neither starts one again nor asks for its exit code, and goes on
    calling the model ready. So one that died stays a zombie.

    Args:
        server: Process id of the tritonserver.
    """

    def __init__(self, server: int) -> None:
        self._server = server
        self._since: dict[int, float] = {}

    def lost(self) -> str | None:
        """How a stub ended, for an error message; None as long as none is lost. To be called every few seconds."""
        now = time.monotonic()
        zombies = _zombies(self._server)
        self._since = {pid: self._since.get(pid, now) for pid in zombies}
        return next((zombies[pid] for pid, since in self._since.items() if now - since >= _REAPED_SECONDS), None)


def _zombies(server: int) -> dict[int, str]:
    found = {}
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            # The name, in parentheses, may hold spaces. Behind it: state, parent, …, last the exit status.
            head, _, rest = (directory / "stat").read_text(errors="replace").rpartition(")")
            state, parent, *others = rest.split()
            if (head.partition("(")[2], state, int(parent)) == (_COMMAND, "Z", server):
                found[int(directory.name)] = _ending(int(others[-1]))
    return found


def _ending(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"with exit code {code}"
    if -code not in set(signal.Signals):  # most real-time signals have no name
        return f"by signal {-code}"
    out_of_memory = ", as the kernel does when memory runs out" if code == -signal.SIGKILL else ""
    return f"by {signal.Signals(-code).name}{out_of_memory}"
