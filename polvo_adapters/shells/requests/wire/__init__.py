"""What happens below `HTTPAdapter.send`: pools, connections and sockets that serve one attempt, and know it.

transmission  what an attempt takes along: its deadline, its trace, its sockets
route         the way of attempts through an adapter, and what it proves about one that failed
pools         views on adapters and pools that hand the transmission down to the connection
owners        connections that are kept for the one caller whom the server has authenticated on them
connections   connections that keep the trace and the deadline at each wait
responses     responses that do
addresses     name resolution and connecting, within the deadline
sockets       the sockets that another thread may shut
originals     whether a function is still the one of its library
"""
