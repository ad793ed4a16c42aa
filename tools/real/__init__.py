"""Real nodes beside the simulated ones, for `make test-node`: a kubelet on this machine's kernel, a VM on Debian's.

Both join the embedded control plane and pull from one local registry. Needs root and a Debian-like machine.

- `packages`: programs that must be there, Debian's archive as this machine is set up to reach it
- `network`: the bridge that gives the registry one address for this machine, its pods and the VM
- `node_root`: the Debian root that both nodes run from, and the files laid over it
- `kubelet`, `virtual_machine`: the two nodes; `guest_agent`: commands in the VM without Kubernetes
- `images`: base images, made from Debian packages
- `site`: all of it together; `leftovers`: what a run that was killed left behind

`python -m tools.real down` removes what is left of earlier runs.
"""
