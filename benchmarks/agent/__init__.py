"""The program that runs on the device: one file, needs Python, numpy and a runtime."""
