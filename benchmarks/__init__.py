"""The service beside the same endpoints written the tutorial way. README.md explains how."""
