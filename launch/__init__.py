"""Starting Lockstep on one host, a cluster or a TPU VM."""
