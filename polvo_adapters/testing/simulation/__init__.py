"""Discrete-event simulations, in virtual time, of the very flows that ship.

simulation    any number of calls with one store, against a scripted server
crowd         clients with a store each, who share the quota of one server
overload      what clients make of an outage, and how long the server takes to recover
"""
