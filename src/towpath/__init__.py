"""towpath: a BGP routing controller for Kubernetes."""
