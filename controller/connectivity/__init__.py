"""``helm test``: whether pods on all nodes, the nodes' own processes and the BGP peers reach each other."""
