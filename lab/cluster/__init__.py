"""Real Kubernetes clusters on one machine: every node a machine of its own, made of the kernel's namespaces."""
