"""A small Kubernetes-style API server: as little as our clients and a curious ``kubectl`` need, and durable."""
