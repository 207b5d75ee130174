"""THE USE CASES, one public coroutine each: gather, ask core, act. Every await and every order of effects is visible here.

Imports ``core`` only. Outside parts are the narrow Protocols of :mod:`attestor.service.ports`, whose promises are written
there and tested by one contract suite on the fake and on the real part.
"""
