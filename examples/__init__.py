"""Examples for the application's developer."""
