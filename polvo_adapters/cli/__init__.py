"""The commands behind `polvo`: `request` makes one call, `demo` compares three ways to make many, `probe` shows quotas.

`login` puts a token into a token cache, and `tokens` shows and deletes what is in one.

`arguments` reads the command line and imports nothing heavy. Each command separates what it does, which returns
plain values, from what it shows: `request` from `render`, and `demo` from `plan` and `trial`.
"""
