""".tflite files: reading, checking and writing them."""
