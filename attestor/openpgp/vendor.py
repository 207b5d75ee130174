"""The one import of pgpy: what it warns about on import (imghdr, old ciphers) is its own affair."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pgpy.constants import (
        ECPointFormat,
        EllipticCurveOID,
        HashAlgorithm,
        KeyFlags,
        NotationDataFlags,
        PubKeyAlgorithm,
        SignatureType,
    )
    from pgpy.packet import Packet
    from pgpy.packet.fields import ECPoint, SubPackets
    from pgpy.packet.packets import PubKeyV4
    from pgpy.packet.types import MPI, Header

__all__ = [
    "MPI",
    "ECPoint",
    "ECPointFormat",
    "EllipticCurveOID",
    "HashAlgorithm",
    "Header",
    "KeyFlags",
    "NotationDataFlags",
    "Packet",
    "PubKeyAlgorithm",
    "PubKeyV4",
    "SignatureType",
    "SubPackets",
]
