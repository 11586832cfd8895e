"""The Kubernetes API: client, watches, leases, events. The only place that imports ``kubernetes``."""
