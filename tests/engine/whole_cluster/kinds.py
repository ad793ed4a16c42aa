"""CustomResourceDefinitions in the cluster, for as long as a test needs them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tests.engine.deployment import eventually
from tools.api import Api, ApiError

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@contextmanager
def installed(api: Api, definition: Mapping[str, Any]) -> Iterator[None]:
    """Install a kind and wait until its objects are served; at the end, remove it and wait until it is gone."""
    spec, path = definition["spec"], f"{CRDS}/{definition['metadata']['name']}"
    (version,) = spec["versions"]
    objects = f"/apis/{spec['group']}/{version['name']}/{spec['names']['plural']}"
    api.request("POST", CRDS, definition)
    eventually(lambda: _is_there(api, objects))
    yield
    api.request("DELETE", path)
    eventually(lambda: not _is_there(api, objects) and not _is_there(api, path))


def _is_there(api: Api, path: str) -> bool:
    try:
        api.request("GET", path)
    except ApiError as error:
        if error.status not in (404, 429):  # 429: its storage is being made
            raise
        return False
    return True
