"""Good and bad requests for a long time: what breaks, what grows?"""

import io
import json
import threading
import time
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from benchmarks import serve_clients, tables

_CLIENTS = 8
_SAMPLES = 50
_LIMITS = (503, 504)


def soak(
    server: serve_clients.Server, pictures: Sequence[bytes], seconds: float
) -> str:
    """Sends requests of all kinds, and returns what came of it."""
    memory: list[tuple[float, float]] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(seconds / _SAMPLES):
            resident = server.metrics()["process_resident_memory_bytes"]
            memory.append((time.monotonic(), resident))

    watching = threading.Thread(target=watch)
    watching.start()
    kinds = requests_of_all_kinds(server, pictures)
    try:
        counts = serve_clients.soak(server, kinds, _CLIENTS, seconds)
    finally:
        ended.set()
        watching.join()
    rows = [
        [kind, str(status or "none"), f"{count:,}"]
        for (kind, status), count in sorted(counts.items())
    ]
    table = tables.markdown(["request", "status", "times"], rows)
    return f"\n{table}\n\n{summary(counts, memory)}"


def summary(
    counts: Mapping[tuple[str, int], int],
    memory: Sequence[tuple[float, float]],
) -> str:
    """Returns what is to be learnt from a soak.

    Args:
        counts: Requests by kind and status.
        memory: Seconds, and bytes of the server then. The first fifth is
            left out: caches fill.
    """
    ours = sum(
        count
        for (kind, status), count in counts.items()
        if (status >= 500 and status not in _LIMITS)
        or (not status and kind != "client leaves")
    )
    text = [f"- {sum(counts.values()):,} requests, errors of ours: {ours}"]
    late = np.array(memory[len(memory) // 5 :])
    if len(late) >= 2:
        minutes = (late[:, 0] - late[0, 0]) / 60
        slope, _ = np.polyfit(minutes, late[:, 1] / 1e6, 1)
        text.append(
            f"- memory: {late[0, 1] / 1e6:,.0f} MB, then "
            f"{late[-1, 1] / 1e6:,.0f} MB; {slope:+.2f} MB a minute"
        )
    return "\n".join(text)


def requests_of_all_kinds(
    server: serve_clients.Server, pictures: Sequence[bytes]
) -> dict[str, serve_clients.Request]:
    """Returns good and bad requests by what they are."""
    path, good = server.predict(pictures[0])
    rows = json.loads(good)["instances"]
    buffer = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(buffer, "PNG")
    many = [{"b64": ""}] * 10_000
    return {
        "good": (path, good),
        "16 pictures": (path, json.dumps({"instances": rows * 16}).encode()),
        "raw picture": ("/classify", pictures[1]),
        "truncated": ("/classify", pictures[2][:2000]),
        "no picture": ("/classify", b"hello"),
        "bomb": ("/classify", buffer.getvalue()),
        "one bad of four": (
            path,
            json.dumps({"instances": [*rows * 3, {"b64": "AAAA"}]}).encode(),
        ),
        "no JSON": (path, b"{"),
        "10,000 pictures": (path, json.dumps({"instances": many}).encode()),
        "another model": ("/v1/models/nobody:predict", good),
        "40 MB": ("/classify", bytes(40 << 20)),
    }
