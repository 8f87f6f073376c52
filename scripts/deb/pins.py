"""Print, from a report of pip's, the wheels it chose: one a line with its hash, as pip takes them."""

import json
import sys
from pathlib import Path

for item in json.loads(Path(sys.argv[1]).read_text())["install"]:
    name, version = item["metadata"]["name"], item["metadata"]["version"]
    if name != "deskwatch":
        print(f"{name}=={version} --hash=sha256:{item['download_info']['archive_info']['hashes']['sha256']}")
