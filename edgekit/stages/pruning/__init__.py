"""What may go: how much each part matters, what shapes cost, and what a budget leaves."""
