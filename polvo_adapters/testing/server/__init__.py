"""The failure server: a web server on loopback that fails on request; `python -m polvo_adapters.testing.server`.

failure_server       FailureServer: accepts connections, and answers on threads of its own
connection           one connection: requests in, responses out, bytes as they are told
http_messages        reading and writing HTTP/1.1
routes               which path is answered by what
message_endpoints    echo, status, redirect, quota and the like
oauth_endpoints      an authorization server in small, and the tokens that it issued
faults               resets, drips, truncated bodies and other things that go wrong
journal, state       what was asked, and what the server remembers
"""
