"""Addresses of load balancers: which service has which, from the claims, the services and the pools. Pure functions alone."""
