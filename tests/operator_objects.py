"""The objects that the operator (kernel-module-management v1.1.0) makes for a Module, as an API server holds them.

Source: internal/daemonset/daemonset.go, controllers/node_kernel_reconciler.go and
controllers/pod_node_module_reconciler.go of that release.
"""

from kmm.names import (
    KERNEL_LABEL,
    MODULE_NAME_LABEL,
    NODE_PREFIX,
    ROLE_DEVICE_PLUGIN,
    ROLE_LABEL,
    ROLE_MODULE_LOADER,
    ready_label,
)

FINALIZER = f"{NODE_PREFIX}node-labeler"
FIELD_MANAGER = "manager"  # the name of the operator's binary


def loader(module, kernel, image):
    """The ModuleLoader DaemonSet; `module` is the live Module object."""
    metadata, container = module["metadata"], module["spec"]["moduleLoader"]["container"]
    name = container["modprobe"]["moduleName"]
    labels = {MODULE_NAME_LABEL: metadata["name"], KERNEL_LABEL: kernel, ROLE_LABEL: ROLE_MODULE_LOADER}
    version = _version(module, "loader")
    modules = f"/lib/modules/{kernel}"
    pod = {
        "shareProcessNamespace": True,
        "nodeSelector": module["spec"]["selector"] | {KERNEL_LABEL: kernel} | version,
        "priorityClassName": "system-node-critical",
        "containers": [
            {
                "name": "module-loader",
                "image": image,
                "command": ["sleep", "infinity"],
                "lifecycle": {
                    "postStart": {"exec": {"command": ["/bin/sh", "-c", f"modprobe -v -d /opt {name}"]}},
                    "preStop": {"exec": {"command": ["/bin/sh", "-c", f"modprobe -rv -d /opt {name}"]}},
                },
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"add": ["SYS_MODULE"]},
                    "runAsUser": 0,
                    "seLinuxOptions": {"type": "spc_t"},
                },
                "volumeMounts": [{"name": "node-lib-modules", "readOnly": True, "mountPath": modules}],
            }
        ],
        "volumes": [{"name": "node-lib-modules", "hostPath": {"path": modules, "type": "Directory"}}],
    }
    return _daemon_set(module, labels | version, pod)


def device_plugin(module):
    """The device-plugin DaemonSet; it selects by the ready label without the namespace."""
    metadata, sockets = module["metadata"], "/var/lib/kubelet/device-plugins"
    labels = {MODULE_NAME_LABEL: metadata["name"], ROLE_LABEL: ROLE_DEVICE_PLUGIN}
    pod = {
        "nodeSelector": {f"{NODE_PREFIX}{metadata['name']}.ready": ""},
        "priorityClassName": "system-node-critical",
        "containers": [
            {
                "name": "device-plugin",
                **module["spec"]["devicePlugin"]["container"],
                "securityContext": {"privileged": True},
                "volumeMounts": [{"name": "kubelet-device-plugins", "mountPath": sockets}],
            }
        ],
        "volumes": [{"name": "kubelet-device-plugins", "hostPath": {"path": sockets, "type": "Directory"}}],
    }
    return _daemon_set(module, labels, pod)


def node_labels(module, kernel):
    """The labels on a node where the loader's pod is Ready, those of former releases too."""
    metadata = module["metadata"]
    return {
        KERNEL_LABEL: kernel,
        ready_label(metadata["namespace"], metadata["name"]): "",
        f"{NODE_PREFIX}{metadata['name']}.ready": "",
    }


def _version(module, part):
    """The label by which the operator tells versions apart, on pods and, copied from the user's, on nodes."""
    version = module["spec"]["moduleLoader"]["container"].get("version")
    metadata = module["metadata"]
    key = f"beta.{NODE_PREFIX}version-module-{part}.{metadata['namespace']}.{metadata['name']}"
    return {key: version} if version else {}


def _daemon_set(module, labels, pod):
    metadata = module["metadata"]
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {
            "generateName": f"{metadata['name']}-",
            "namespace": metadata["namespace"],
            "labels": labels,
            "ownerReferences": [
                {
                    "apiVersion": module["apiVersion"],
                    "kind": module["kind"],
                    "name": metadata["name"],
                    "uid": metadata["uid"],
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels, "finalizers": [FINALIZER]}, "spec": pod},
        },
    }
