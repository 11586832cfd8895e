"""Small networks of namespaces for the demo and the tests, and the API server that goes with them."""
