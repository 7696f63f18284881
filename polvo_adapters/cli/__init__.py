"""The commands of `polvo`: `request` makes one call, `demo` compares three ways to make many, `probe` shows quotas.

`job` hands a call to an engine of EZThrottle. `login` puts a token into a token cache, and `tokens` lists, shows,
revokes and clears the tokens in one.

`arguments` parses the command line and imports only the standard library. Each command computes plain values first
(`demo_plan`, `demo_trial`, `probe_forecast`, `token_records`) and then prints them with `render`.
"""
