"""Commands for developers of this repository. The Makefile has a target for each."""
