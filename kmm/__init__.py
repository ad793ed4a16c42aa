"""Out-of-tree Linux kernel modules on Kubernetes, as a Pulumi program.

Data flows one way: observe, decide, declare. The modules, lowest layer first; nothing imports upward
(`tests/test_layers.py`):

- errors, names, wire, images, module_source, background: words and shapes that everything shares
- problems, kernel, nodes, workloads, modprobe_words: what can be said of files, kernels, nodes and pods
- documents, duration, image_files, node_list, workload_list, label_ownership: what texts and API objects mean
- definition: what users write
- mapping, checks, jobs: what a Module means for a kernel
- policies: what an organisation may ask of Modules; `policy/` reports it
- used_nodes: which nodes count for a Module
- plan: (modules, nodes, images) to one frozen Plan
- manifests: the Plan as Kubernetes dictionaries
- rollout, audit, outputs, job_checks, job_inputs, image_rules: what became of it in the cluster, what scripts are
  told, what Jobs and images lack
- ready_labels, kept_versions: what nodes say of it; what stays of earlier versions
- changes: what that does to modules that are loaded
- declaration, impact: what is declared besides; what a plan changes as far as the cluster tells
- status, explanation: how Modules fare in a cluster, and why
- docker_config, registry_errors: what registries want and answer
- logins, registry_http: what `registry` is made of
- loading, node_file, cluster, registry: with stack_file the only modules that read files, the API server, registries
- image_layers, pull_secrets, preflight: what images hold, logins to them; whether Modules are ready for kernels to come
- stalled_update, final_words: how an update goes on past nodes that do not report; what pods say as they go
- rollout_wait, departure, settings: waiting for the cluster, leaving it in order; the stack's configuration
- stack_file: the stack's configuration, read without Pulumi
- observation: everything that is read before anything is decided
- resources: what Pulumi declares
- program: what `pulumi up` runs; with `resources` alone in knowing Pulumi
- commands: `python -m kmm`
"""
