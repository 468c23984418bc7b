"""A model cut into segments that run one after another or side by side, each a `.tflite` of its own."""
