"""The api role: the CloudStack API over HTTP; it intends, and asks no component for anything."""
