"""What samples tell of where they come from: corrected values, and intervals about them."""
