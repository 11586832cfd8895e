"""What the kernel should hold, how it differs from what it holds, and the netlink that closes the gap."""
