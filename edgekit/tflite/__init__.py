"""Read, explain and edit a TFLite flatbuffer."""
