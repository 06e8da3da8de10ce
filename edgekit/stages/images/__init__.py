"""Image classifiers in Keras: students, losses, training, and what they are exported as."""
