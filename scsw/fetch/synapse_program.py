"""Running the `synapse` program of synapseclient, which has an environment of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from scsw.errors import ScswError
from scsw.fetch.remote import Interrupted

TOKEN = "SYNAPSE_AUTH_TOKEN"
RIGHTS = (
    "open its page on synapse.org and accept its conditions for use; for controlled data such as "
    "ROSMAP, also get a Data Use Certificate of the AD Knowledge Portal approved"
)
_SERVICES = {
    "repoEndpoint": "/repo/v1",
    "authEndpoint": "/auth/v1",
    "fileHandleEndpoint": "/file/v1",
    "portalEndpoint": "",
}


def run(arguments: list[str], meanwhile: Callable[[], None] | None = None) -> str:
    """Run the program and return what it printed on standard output.

    Parameters
    ----------
    arguments
        Command of the program and what belongs to it; the second is the Synapse id.
    meanwhile
        Is called about once a second while the program runs.

    Raises
    ------
    ScswError
        For what no repetition mends: no program, no token, refused, no such entity, damaged file.
    Interrupted
        For every other failure.
    """
    program, token = _program(), _token()
    with tempfile.TemporaryDirectory(prefix="scsw-synapse-") as folder:
        config = _config(Path(folder))
        command = [program, "--skip-checks", "--configPath", str(config), *arguments]
        code, printed, complaint = _wait(command, meanwhile)
    printed, complaint = (text.replace(token, "<token>") for text in (printed, complaint))
    if code:
        raise _failure(arguments[1], f"{printed}\n{complaint}")
    return printed


def _wait(command: list[str], meanwhile: Callable[[], None] | None) -> tuple[int, str, str]:
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,  # without a valid account the program would ask for one
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        raise ScswError(
            f"{command[0]} cannot be started: {error.strerror}",
            fix="make its environment anew from envs/fetch.txt",
        ) from error
    try:
        while True:
            try:
                printed, complaint = process.communicate(timeout=1)
                return process.returncode, printed, complaint
            except subprocess.TimeoutExpired:
                if meanwhile:
                    meanwhile()
    finally:
        process.kill()
        process.wait()


def _failure(entity: str, text: str) -> Exception:
    """Sort a failure of the program by what it printed."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last = " ".join(lines[-2:])[-300:] or "it printed nothing"
    if re.search(r"SynapseAuthenticationError|SynapseNoCredentialsError|401 Client Error", text):
        return ScswError(
            f"Synapse does not accept the token in {TOKEN}",
            expected="a personal access token with the scopes view and download",
            fix="make a new one in the settings of your account on synapse.org and export it",
        )
    if re.search(r"403 Client Error|SynapseAuthorizationError|SynapseUnmetAccess", text):
        return ScswError(f"Synapse refuses {entity} to your account ({last})", fix=RIGHTS)
    if re.search(r"404 Client Error|SynapseFileNotFoundError", text):
        return ScswError(f"Synapse knows no {entity} ({last})", fix="check the id")
    if "SynapseMd5MismatchError" in text:
        return ScswError(
            f"{entity} arrived damaged ({last})",
            fix="give the same command again; if it happens again, tell the data's owner",
        )
    if "No space left on device" in text:
        return ScswError("the disk is full", fix="make room and give the same command again")
    return Interrupted(f"the synapse program failed for {entity} ({last})")


def _program() -> str:
    program = shutil.which("synapse")
    if program is None:
        raise ScswError(
            "the program `synapse` is not on the PATH",
            expected="the one of synapseclient, in an environment of its own",
            fix="python3 -m venv .venv-fetch && .venv-fetch/bin/pip install -r envs/fetch.txt && "
            'export PATH="$PATH:$PWD/.venv-fetch/bin"',
        )
    return program


def _token() -> str:
    token = os.environ.get(TOKEN, "")
    if not token:
        raise ScswError(
            f"{TOKEN} is not set",
            expected="your personal access token of synapse.org, with the scopes view and download",
            fix=f"read it without showing it: read -rs {TOKEN} && export {TOKEN}",
        )
    if not re.fullmatch(r"\S+", token):
        raise ScswError(f"{TOKEN} holds white space", expected="the token alone")
    return token


def _config(folder: Path) -> Path:
    """Write the program's config: its own cache, and no account, so that the token counts.

    A ``~/.synapseConfig`` would go before the environment.
    """
    lines = ["[cache]", f"location = {folder / 'cache'}"]
    if server := os.environ.get("SYNAPSE_SERVER_URL", "").rstrip("/"):
        lines += ["[endpoints]", *(f"{key} = {server}{path}" for key, path in _SERVICES.items())]
    path = folder / "config"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
