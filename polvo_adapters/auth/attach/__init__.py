"""How a credential gets onto a request, stays on its origin, and is replaced when it was refused."""
