"""Discrete-event simulations, in virtual time, of the very flows that ship.

simulation    any number of calls with one store, against a scripted server
crowd         clients with a store each, that share the quota of one server
overload      what clients do to a server during an outage, and how long the server takes to recover
"""

from polvo_adapters.testing.simulation.simulation import Script, ScriptedFailure, ScriptedReply, Simulation, Timeline

__all__ = ["Script", "ScriptedFailure", "ScriptedReply", "Simulation", "Timeline"]
