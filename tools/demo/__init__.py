"""The demo: the stack `dev` on an embedded cluster with simulated nodes and a local registry.

Everything of it is in the folder `.kmm/demo` of the checkout, which `make demo-down` removes. `.kmm/demo/run COMMAND…`
runs any command in its environment.
"""
