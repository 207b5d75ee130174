"""attestor: a threshold gate for release signatures.

n of m independent operators rebuild an artifact and attest its digest; only then does a NetHSM sign it.

The rooms, top to bottom; imports point down and edges do not know each other (import-linter holds it in CI)::

    cli -> app -> config
        -> api | client | store | hsm | openpgp | content | embedded | publish | anchor -> service -> core

* ``core``      the rules: pure, values in and values out; no await, no clock, no I/O, no logging
* ``service``   the use cases: gather, ask core, act; every await and every order of effects is visible there
* ``store``     PostgreSQL, and nothing else knows SQL
* ``hsm``       the NetHSM through its SDK: threads, deadlines, failover
* ``openpgp``   the only room that knows pgpy
* ``content``   where bytes come from, and what they are (libarchive)
* ``api``       HTTP, served; ``client`` the same HTTP, asked
* ``publish``   the log as others see it: the static tree, a log read over HTTP, witnesses
* ``anchor``    what a signer keeps on its own disk: how far it has seen the log, and what it folded from it
* ``embedded``  parts for a first look: PostgreSQL from a wheel, a CA, the emulator's process
* ``app``       wires one role per process; ``cli`` parses, calls, prints

``emulator`` imports nothing of ours and is started as a process. ``rebuilders`` (beside this package) imports
``attestor.core`` only, and nothing here imports it: independence is the product.
"""

__version__ = "0.1.0"
