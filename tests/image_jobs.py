"""Jobs for tests, as a plan in which no image exists declares them; and how Kubernetes reads what is in them."""

import re
from contextlib import suppress

from builders import BUILD, module, node

from kmm.jobs import JobSettings
from kmm.manifests import JobInputs, manifests
from kmm.plan import Images, make_plan
from tools.api import ApiError

DOCKERFILE = "FROM registry.example/base:1\nRUN make\n"
SIGNER = "registry.example/signer:1"


def missing_plan(*modules, nodes=None):
    """The plan where no image is there."""
    return make_plan(modules, nodes or [node()], Images(assume_present=False))


def jobs(container=None, dockerfile=DOCKERFILE, settings=None, **spec):
    """The Jobs of one Module on one kernel."""
    inputs = JobInputs(
        JobSettings.model_validate({"sign": {"image": SIGNER}} | (settings or {})),
        {("default", "dockerfile"): dockerfile},
    )
    plan = missing_plan(module(container=container or {"build": BUILD}, **spec))
    return [one for one in manifests(plan, inputs) if one["kind"] == "Job"]


def pod(job):
    return job["spec"]["template"]["spec"]


def admit(cluster, namespace, level, job):
    """Ask the API server for the Job's pod where Pod Security is enforced at this level; ApiError if it refuses."""
    labels = {"pod-security.kubernetes.io/enforce": level}
    path, merge = f"/api/v1/namespaces/{namespace}", {"Content-Type": "application/merge-patch+json"}
    cluster.api.request("PATCH", path, {"metadata": {"labels": labels}}, merge)
    # Admission looks for the account, which comes a moment after its namespace.
    account = {"metadata": {"name": "own"}}
    with suppress(ApiError):
        cluster.api.request("POST", f"{path}/serviceaccounts", account)
    body = {"metadata": {"name": "one"}, "spec": pod(job) | {"serviceAccountName": "own"}}
    cluster.api.request("POST", f"{path}/pods?dryRun=All", body)


def container(job):
    (only,) = pod(job)["containers"]
    return only


def words(job):
    """The container's words after what the kubelet does to them: `$(NAME)` is replaced, `$$` is a dollar."""
    known = variables(job)
    given = [*container(job).get("command", ()), *container(job).get("args", ())]
    return [_expanded(word, known) for word in given]


def variables(job):
    """The container's environment."""
    known = {}
    for variable in container(job).get("env", ()):
        known[variable["name"]] = _expanded(variable["value"], known)
    return known


def _expanded(text, known):
    # k8s.io/kubernetes/third_party/forked/golang/expansion
    return re.sub(r"\$(?:\$|\(([^)]*)\))", lambda match: _value(match, known), text)


def _value(match, known):
    return "$" if match[0] == "$$" else known.get(match[1], match[0])
