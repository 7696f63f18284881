"""What all shells share; `requests` and `httpx` are a shell each, which makes the attempts of one HTTP library."""
