"""How long 200 image checks take beside 200 bare HEAD requests at the same concurrency.

Run it as `python -m bench.registry`; it starts a local registry. Goal: under 3 s.
"""

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter

import requests

from kmm.registry import WORKERS, ImageRequest, check_images
from tools.bootstrap import ensure
from tools.images import Pusher
from tools.registry import Registry

IMAGES, REPOSITORIES = 200, 10
ROUNDS = 5


def bare_heads(address: str, names: list[str]) -> None:
    """The floor: one request for each image, on kept connections, with no thought about the answer."""
    urls = [f"http://{address}/v2/{name.replace(':', '/manifests/')}" for name in names]
    with requests.Session() as session, ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(session.head, urls))


def fastest(task: Callable[[], object]) -> float:
    """Seconds of the fastest of some rounds: what the machine can do when nothing else runs."""
    seconds = []
    for _ in range(ROUNDS):
        start = perf_counter()
        task()
        seconds.append(perf_counter() - start)
    return min(seconds)


def main() -> None:
    names = [f"kmod-{number % REPOSITORIES}:{number}" for number in range(IMAGES)]
    with tempfile.TemporaryDirectory() as folder, Registry(Path(folder), ensure(["registry"])) as registry:
        with requests.Session() as session:
            pusher = Pusher(f"http://{registry.host}", session)
            for name in names:
                pusher.push_image(*name.split(":"))
        absent = [f"{name}-absent" for name in names]
        floor = fastest(lambda: bare_heads(registry.host, names))
        print(f"{IMAGES} images, {WORKERS} at a time")
        print(f"bare HEAD requests     {floor:6.3f} s")
        for label, asked in (("check_images, present", names), ("check_images, absent", absent)):
            images = [ImageRequest(f"{registry.host}/{name}", insecure=True) for name in asked]
            seconds = fastest(lambda images=images: check_images(images))
            print(f"{label:22} {seconds:6.3f} s  {seconds / floor:.1f} times the floor")


if __name__ == "__main__":
    main()
