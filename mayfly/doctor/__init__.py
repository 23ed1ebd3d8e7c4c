"""`mayfly doctor`: what would go wrong, or cost money, found before it does; each with what mends it. It only looks."""
