"""Declares the manifests of the file `plain:manifests` names: what Pulumi itself takes for as many objects."""

import json
from pathlib import Path

import pulumi
import pulumi_kubernetes as k8s

config = pulumi.Config()
provider = k8s.Provider("cluster", kubeconfig=config.require("kubeconfig"))
options = pulumi.ResourceOptions(provider=provider)
for manifest in json.loads(Path(config.require("manifests")).read_text()):
    metadata = manifest["metadata"]
    if manifest["kind"] == "DaemonSet":
        k8s.apps.v1.DaemonSet(metadata["name"], metadata=metadata, spec=manifest["spec"], opts=options)
    else:
        k8s.core.v1.ServiceAccount(
            metadata["name"], metadata=metadata, automount_service_account_token=False, opts=options
        )
