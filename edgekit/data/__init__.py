"""How the user's data comes in: one loader a format, one way of splitting, one way of meeting a model."""
