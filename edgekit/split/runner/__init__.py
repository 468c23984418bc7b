"""A model in segments, run as a pipeline: `python3 run.py run`, `measure`, `info`. Python 3.9, numpy, a runtime."""
