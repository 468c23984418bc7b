"""Packages: a deployed file and everything that the build of an app or a firmware needs around it."""
