"""The top floor: the command line, the composition of each process and the Kubernetes adapters."""
