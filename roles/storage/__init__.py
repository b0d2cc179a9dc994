"""The storage role: images and volumes of the pools that this node reaches."""
