"""A packaged TFLite model: `python3 -m NAME selftest`, `run` or `info`. Python 3.9, numpy and a TFLite runtime.

`NAME.api` is for a program of your own.
"""
