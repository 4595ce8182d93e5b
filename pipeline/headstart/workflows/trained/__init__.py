"""What a model file says of its training, and the head that goes into it, by target type."""
