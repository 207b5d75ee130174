"""The keys of approvers as the policy lists them, of either form; ``verify`` is a :data:`attestor.core.approvals.Verify`."""

from datetime import datetime
from functools import lru_cache

from attestor.core.approvaldocuments import NAMESPACE
from attestor.core.errors import Rejected
from attestor.core.policy import ApproverKey
from attestor.core.sshsig import SshKey, read_ssh_key, verify_ssh
from attestor.openpgp.approving import OpenPgpApprover


class Approvers:
    """Verifies by the form that the policy gives a key; waits for nothing."""

    def read(self, key: ApproverKey) -> None:
        """Return when the key is sound and is the one that its fingerprint says; for whoever loads a policy.

        Raises ``Rejected`` ``approver-key-invalid``.
        """
        _read(key)

    def verify(self, key: ApproverKey, signature: bytes, signed: bytes, at: datetime) -> None:
        """Return when *signature* is this key's of exactly *signed*, and its certificate held at *at* (aware).

        Whether the policy lets the key count then (:meth:`ApproverKey.refusal_at`) is not asked here. Raises ``Rejected``
        ``approver-key-invalid``, ``approval-signature``; ``Malformed`` ``approval-malformed``; ``TooLarge`` ``approval-too-large``.
        """
        approver = _read(key)
        if isinstance(approver, SshKey):
            verify_ssh(approver, signature, signed, NAMESPACE)
        else:
            approver.verify(signature, signed, at)


@lru_cache(maxsize=64)
def _read(key: ApproverKey) -> OpenPgpApprover | SshKey:
    if key.form == "openpgp":
        return OpenPgpApprover.read(key.text, key.fingerprint)
    ssh = read_ssh_key(key.text)
    if ssh.fingerprint != key.fingerprint:
        raise Rejected("approver-key-invalid", f"The SSH key is {ssh.fingerprint}, not {key.fingerprint}.")
    return ssh
