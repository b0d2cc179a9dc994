"""The fabric role: zones, pods, clusters, hosts and pools; what stands where."""
