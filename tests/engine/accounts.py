"""ServiceAccounts with just the rights that a test gives them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.engine.deployment import eventually
from tools.cluster import Cluster

_RBAC = "/apis/rbac.authorization.k8s.io/v1"

_REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
_ATTRIBUTES = {"group": "apiGroups", "resource": "resources", "verb": "verbs", "name": "resourceNames"}

Rules = Sequence[Mapping[str, Any]]


class Account:
    """A ServiceAccount in a namespace, whose rights in the cluster are `rules`; `forget` takes the rights away."""

    def __init__(self, cluster: Cluster, namespace: str, name: str, rules: Rules) -> None:
        self._cluster, self._namespace, self._name = cluster, namespace, name
        api, self._role = cluster.api, f"{namespace}-{name}"
        accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        api.request("POST", accounts, {"metadata": {"name": name}})
        self._token = api.request("POST", f"{accounts}/{name}/token", {"spec": {}})["status"]["token"]
        metadata = {"name": self._role}
        api.request("POST", f"{_RBAC}/clusterroles", {"metadata": metadata, "rules": list(rules)})
        binding = {
            "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": self._role},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
        }
        api.request("POST", f"{_RBAC}/clusterrolebindings", binding)
        eventually(lambda: not rules or self._may(rules[0]))  # the authorizer hears of a whole role

    def _may(self, rule: Mapping[str, Any]) -> bool:
        attributes = {key: rule[many][0] for key, many in _ATTRIBUTES.items() if many in rule}
        user = f"system:serviceaccount:{self._namespace}:{self._name}"
        review = {"spec": {"user": user, "resourceAttributes": attributes}}
        answer = self._cluster.api.request("POST", _REVIEWS, review)
        return bool(answer["status"]["allowed"])

    def write_kubeconfig(self, path: Path) -> str:
        """Write a kubeconfig for this account and return its path."""
        config = yaml.safe_load(self._cluster.kubeconfig.read_text())
        config["users"][0]["user"] = {"token": self._token}
        path.write_text(yaml.safe_dump(config))
        return str(path)

    def forget(self) -> None:
        """Remove what is outside the namespace, and the account itself, which `destroy` knows nothing of."""
        for kind in ("clusterroles", "clusterrolebindings"):
            self._cluster.api.request("DELETE", f"{_RBAC}/{kind}/{self._role}")
        path = f"/api/v1/namespaces/{self._namespace}/serviceaccounts/{self._name}"
        self._cluster.api.request("DELETE", path)
