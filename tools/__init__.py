"""Commands for people who change this repository; see the Makefile."""
