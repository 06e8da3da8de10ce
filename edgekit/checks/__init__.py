"""Whether a recipe, a target and what the user points at fit together: one module for each kind of data."""
