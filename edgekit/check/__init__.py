"""Will a file run on a target, and what would pay there: told by the file and the target; nothing is run."""
