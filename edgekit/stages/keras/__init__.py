"""The encoder's Keras twin: how it is trained, and how it becomes a .tflite."""
