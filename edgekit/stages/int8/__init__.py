"""What becomes INT8, over which values, and what each layer loses by it."""
