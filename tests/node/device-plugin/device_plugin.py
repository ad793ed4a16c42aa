#!/usr/bin/python3
"""A device plugin that offers DEVICES devices of the resource RESOURCE to the kubelet.

It speaks the kubelet's device plugin API v1beta1 (k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1/api.proto). The few
messages are written by hand, so that the image needs neither a compiler nor generated code.
"""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import grpc

RESOURCE = os.environ.get("RESOURCE", "kmm.example.com/sample")
DEVICES = int(os.environ.get("DEVICES", "2"))
FOLDER = Path("/var/lib/kubelet/device-plugins")
SOCKET = FOLDER / (RESOURCE.replace("/", "_") + ".sock")

stopping = threading.Event()


def field(number: int, value: bytes) -> bytes:
    """Encode a string or message of under 128 bytes."""
    return bytes([number << 3 | 2, len(value)]) + value


def device(index: int) -> bytes:
    """Encode a Device: its ID and health."""
    return field(1, f"{SOCKET.stem}-{index}".encode()) + field(2, b"Healthy")


def list_and_watch(_request: bytes, _context: grpc.ServicerContext) -> Iterator[bytes]:
    """Report the devices once and keep the stream open: its end means that they are gone."""
    yield b"".join(field(1, device(index)) for index in range(DEVICES))
    stopping.wait()


def allocate(_request: bytes, _context: grpc.ServicerContext) -> bytes:
    """Let the container that asked (the kubelet asks for one at a time) see that it got a device."""
    environment = field(1, b"SAMPLE_DEVICE") + field(2, b"allocated")
    return field(1, field(1, environment))


def register() -> None:
    """Tell the kubelet our socket and resource."""
    with grpc.insecure_channel(f"unix://{FOLDER}/kubelet.sock") as channel:
        request = field(1, b"v1beta1") + field(2, SOCKET.name.encode()) + field(3, RESOURCE.encode())
        channel.unary_unary("/v1beta1.Registration/Register")(request, timeout=30)
    print(f"registered {RESOURCE}", flush=True)


def serve() -> grpc.Server:
    """Serve the plugin's side of the API on our socket."""
    methods = {
        "GetDevicePluginOptions": grpc.unary_unary_rpc_method_handler(lambda _request, _context: b""),
        "ListAndWatch": grpc.unary_stream_rpc_method_handler(list_and_watch),
        "Allocate": grpc.unary_unary_rpc_method_handler(allocate),
    }
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("v1beta1.DevicePlugin", methods),))
    SOCKET.unlink(missing_ok=True)
    server.add_insecure_port(f"unix://{SOCKET}")
    server.start()
    return server


def main() -> None:
    """Serve until SIGTERM; register again when the kubelet started anew, which removes all sockets."""
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    while not stopping.is_set():
        server = serve()
        register()
        while not stopping.wait(1) and SOCKET.exists():
            pass
        server.stop(grace=1).wait()


if __name__ == "__main__":
    main()
