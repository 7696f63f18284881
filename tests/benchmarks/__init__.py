"""What the library costs, measured: `python -m tests.benchmarks`.

For people who change the hot path, and for the numbers in the documentation. Nothing here decides CI: how long
something takes depends on the machine and on who else is using it.
"""
