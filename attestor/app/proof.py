"""Check a detached signature as its users do: with gpg where it is present, else with our own verification, saying so."""

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from attestor.app.release_key import device_of, read_certificates
from attestor.config import Config
from attestor.core.errors import Rejected
from attestor.openpgp.certificate import Certificate
from attestor.openpgp.signature import verify_signature


@dataclass(frozen=True, slots=True)
class Proof:
    """The release keys' certificates, in memory and in files."""

    certificates: tuple[Certificate, ...]
    files: tuple[Path, ...]

    def verify(self, file: Path) -> str:
        """Check FILE.sig and say who signed. Raises ``Rejected`` ``signature-refused``."""
        signature = file.with_name(f"{file.name}.sig")
        return self._with_gpg(file, signature) if shutil.which("gpg") else self._by_ourselves(file, signature)

    def _with_gpg(self, file: Path, signature: Path) -> str:
        with tempfile.TemporaryDirectory(prefix="gpg-") as home:
            gpg = ["gpg", "--homedir", home, "--batch", "--quiet", "--no-autostart", "--trust-model", "always"]
            subprocess.run([*gpg, "--import", *map(str, self.files)], check=True, capture_output=True)
            checked = subprocess.run(
                [*gpg, "--status-fd", "1", "--verify", str(signature), str(file)],
                check=False,
                capture_output=True,
                # The data-digest notation is 64 raw bytes, and gpg prints them.
                encoding="utf-8",
                errors="replace",
            )
        good = [line for line in checked.stdout.splitlines() if line.startswith("[GNUPG:] GOODSIG ")]
        if checked.returncode or len(good) != 1:
            raise Rejected("signature-refused", f"gpg refuses {signature}: {checked.stderr.strip()}")
        return f"gpg: good signature on {file.name} from {good[0].split(' ', 3)[3]}"

    def _by_ourselves(self, file: Path, signature: Path) -> str:
        hasher = hashlib.sha512(file.read_bytes())
        for certificate in self.certificates:
            try:
                verify_signature(certificate, signature.read_bytes(), hasher)
            except Rejected:
                continue
            return f"good signature on {file.name} from {certificate.user_id} (our own check: there is no gpg here)"
        raise Rejected("signature-refused", f"No release key made {signature}.")


async def proof_of(config: Config, folder: Path) -> Proof:
    """Read the certificates from the HSM and write them to a folder, NAME.pgp each."""
    passphrases = config.for_role("signer").passphrases
    return _written(await read_certificates(config, device_of(config), passphrases), folder)


def _written(certificates: Mapping[str, Certificate], folder: Path) -> Proof:
    folder.mkdir(exist_ok=True)
    files = {folder / f"{name}.pgp": certificate for name, certificate in certificates.items()}
    for file, certificate in files.items():
        file.write_bytes(certificate.raw)
    return Proof(tuple(files.values()), tuple(files))
