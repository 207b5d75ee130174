"""Parts for a first look: PostgreSQL from a wheel, a certificate authority, the emulator's process.

The rule of the room: what it starts ends with the process that started it, however that one ends, and it touches no
folder but the one that it was given and fresh ones of its own. Production uses none of this.
"""
