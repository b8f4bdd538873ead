"""What a layer means: int8 arithmetic, graphs, .tflite files in and out."""
