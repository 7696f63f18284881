"""The way of a credential: onto a request, away from other origins, and replaced when the server refuses it."""
