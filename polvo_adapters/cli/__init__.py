"""The commands behind `polvo`: `request` makes one call, `demo` compares three ways to make many, `probe` shows quotas.

`arguments` reads the command line and imports nothing heavy. Each command separates what it does, which returns
plain values, from what it shows: `request` from `render`, and `demo` from `plan` and `trial`.
"""
