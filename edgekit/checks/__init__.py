"""Whether a recipe, a target and what the user points at fit together: what `plan` refuses before any work."""
