"""edgekit takes a trained Keras model to edge devices."""
