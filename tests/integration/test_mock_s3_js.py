"""akidb mock-s3 against the AWS SDK for JavaScript: the tests are in mock_s3.cjs."""
import os
import shutil
import subprocess
import sys

from support import ROOT, MockS3

PACKAGES = os.environ.get("AKIDB_NPM", str(ROOT / "build" / "npm"))

if __name__ == "__main__":
    if not shutil.which("node") or not os.path.isdir(f"{PACKAGES}/node_modules/@aws-sdk/client-s3"):
        print(f"node or the packages of tests/npm in {PACKAGES} are missing: tools/test.sh integration installs them")
        sys.exit(77)
    with MockS3() as server:
        script = str(ROOT / "tests" / "integration" / "mock_s3.cjs")
        sys.exit(subprocess.run(["node", "--no-warnings", script, server.url, server.KEY, server.SECRET],
                                env={**os.environ, "AKIDB_NPM": PACKAGES}, timeout=300).returncode)
