"""A stand-in for the `synapse` program: prints what it prints, and keeps what it was given.

``FAKE_SYNAPSE`` names a folder with ``answers.json``: per command a list of what its calls do.
"""

import json
import os
import sys
from pathlib import Path

home = Path(os.environ["FAKE_SYNAPSE"])
config = Path(sys.argv[sys.argv.index("--configPath") + 1])
calls = home / "calls.jsonl"
seen = {
    "argv": sys.argv[1:],
    "token": os.environ.get("SYNAPSE_AUTH_TOKEN"),
    "config": config.read_text(),
    "stdin": sys.stdin.read(),
}
with calls.open("a") as handle:
    handle.write(json.dumps(seen) + "\n")

command = next(word for word in sys.argv if word in ("show", "list", "get"))
answers = json.loads((home / "answers.json").read_text())
answer = answers[command].pop(0)
(home / "answers.json").write_text(json.dumps(answers))
for name, content in answer.get("files", {}).items():
    folder = Path(sys.argv[sys.argv.index("--downloadLocation") + 1])
    (folder / name).write_text(content)
sys.stdout.write(answer.get("out", ""))
sys.stderr.write(answer.get("err", "").replace("TOKEN", seen["token"]))
sys.exit(answer.get("code", 0))
