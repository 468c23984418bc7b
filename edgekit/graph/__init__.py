"""Walk, group and rewrite a Keras functional graph; every training-time stage stands on it."""
