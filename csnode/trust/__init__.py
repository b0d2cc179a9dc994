"""Who belongs to the cluster, and how it is proved."""
