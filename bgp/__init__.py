"""Sessions, policy, routing tables and decision: what peers tell us and what we tell them."""
