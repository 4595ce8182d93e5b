"""Load on a server: requests a second and how long they take, batched and one by one.

    python benchmarks/serving.py MODEL.onnx FOLDER [--rounds 3] [--seconds 4]

The server is a process of its own, the clients are threads of this one that keep their
connections and send photos as fast as they are answered. Rounds alternate between a server that
batches and one that does not; printed are medians over the rounds, and of the ratios.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
import time
from itertools import cycle
from pathlib import Path
from statistics import median, quantiles

import page

CLIENTS = (1, 4, 16)
PHOTOS = 256


def main() -> None:
    parser = page.parser(__doc__)
    parser.add_argument("model")
    parser.add_argument("folder")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    with page.recorded(options):
        benchmark(options.model, options.folder, options.rounds, options.seconds)


def benchmark(model: str, folder: str, rounds: int, seconds: float) -> None:
    paths = sorted(path for path in Path(folder).rglob("*") if path.suffix in (".jpg", ".png"))
    bodies = [path.read_bytes() for path in paths[:PHOTOS]]
    servers = {how: start(model, how) for how in ("batched", "single")}
    found: dict[tuple[str, int], list[tuple[float, float, float, float]]] = {}
    try:
        for port, _ in servers.values():
            load(port, bodies, 4, 1.0)  # the first inferences do not count
        for _ in range(rounds):
            for clients in CLIENTS:
                for how, (port, _) in servers.items():
                    took = load(port, bodies, clients, seconds)
                    found.setdefault((how, clients), []).append(took)
                    page.sample(f"{how}, {clients} clients: requests/s, p50, p95 ms, batch", took)
    finally:
        for _, process in servers.values():
            process.terminate()
            process.wait()
    print("clients  server    requests/s   p50 ms   p95 ms   images in an inference")
    for (how, clients), took in found.items():
        rate, middle, slow, batch = (median(one[i] for one in took) for i in range(4))
        print(f"{clients:7}  {how:8}  {rate:10.0f}  {middle:7.1f}  {slow:7.1f}   {batch:.2f}")
    for clients in CLIENTS:
        pairs = zip(found["batched", clients], found["single", clients], strict=True)
        ratios = [batched[0] / single[0] for batched, single in pairs]
        page.ratio(f"{clients} clients: batched / single", ratios)
        print(
            f"{clients} clients, batched to single: {median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f})"
        )


def load(
    port: int, bodies: list[bytes], clients: int, seconds: float
) -> tuple[float, float, float, float]:
    """Return requests/s, p50 and p95 in milliseconds, and the mean size of a batch."""
    took: list[tuple[float, int]] = []
    end = time.perf_counter() + seconds

    def client(first: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        for body in cycle(bodies[first:] + bodies[:first]):
            started = time.perf_counter()
            if started > end:
                break
            connection.request("POST", "/predict", body)
            reply = connection.getresponse()
            answer = json.loads(reply.read())
            assert reply.status == 200, answer
            took.append((time.perf_counter() - started, answer["batch"]))
        connection.close()

    started = time.perf_counter()
    threads = [
        threading.Thread(target=client, args=(n * len(bodies) // clients,)) for n in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = len(took) / (time.perf_counter() - started)
    times = [1000 * one for one, _ in took]
    batches = len(took) / sum(1 / batch for _, batch in took)
    return rate, median(times), quantiles(times, n=20)[-1], batches


def start(model: str, how: str) -> tuple[int, subprocess.Popen[str]]:
    """Start a server in a process of its own; return its port, too."""
    process = subprocess.Popen(
        [sys.executable, __file__, "--serve", model, how], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return int(process.stdout.readline()), process


def serve_one(path: str, how: str) -> None:
    """Be the server: as ``headstart serve`` is, but for the size of a batch."""
    from headstart import load_model
    from headstart.core.parallel import available_cores
    from headstart.models import serve
    from headstart.models.serve import app
    from headstart.models.serve.batching import Batcher

    model = load_model(path)
    listener = serve.listen("127.0.0.1", 0)
    batcher = Batcher(model, available_cores(), None if how == "batched" else 1)
    application = app.build(app.Service(model, path, batcher))
    number = listener.getsockname()[1]
    serve.server(application, lambda: print(number, flush=True)).run([listener])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve_one(*sys.argv[2:])
    else:
        main()
