"""Out-of-tree Linux kernel modules on Kubernetes, as a Pulumi program.

Data flows one way: observe, decide, declare. The modules, lowest layer first; nothing imports upward
(`tests/test_layers.py`):

- errors, problems, names: words and rules everything shares
- kernel, definition, nodes: what users write and what nodes are
- mapping, checks: what a Module means for a kernel
- plan: (modules, nodes, images) to one frozen Plan
- manifests: the Plan as Kubernetes dictionaries
- loading, cluster, registry: the only modules that read files, the API server, registries
- settings, components, node_labels: the only modules that know Pulumi
- commands: `python -m kmm`
"""
