"""Addresses of load balancers at the edge: services are followed, claims and statuses written, people told."""
