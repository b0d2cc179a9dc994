"""The virtual world, and one suite for each interface; shipped, so that plug-ins test with it."""
