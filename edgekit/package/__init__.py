"""Packages that people can ship, and the pieces they are made of."""
