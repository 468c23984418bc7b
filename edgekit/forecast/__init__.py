"""Which operators of a file an accelerator or a delegate takes, said before any compiler or device is asked."""
