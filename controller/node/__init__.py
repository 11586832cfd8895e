"""The agent of one node: its decisions, its report, and the loop that applies both."""
