"""One file per group of endpoints. Each is a coroutine from a :class:`~attestor.emulator.calls.Call` to an answer.

What comes before (state, method, authentication, role, headers) the gate has checked; what comes after stands in each
endpoint in the device's order: 404, then 400 for the body, then what the body asks for.
"""
