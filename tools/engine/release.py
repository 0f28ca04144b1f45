"""Install the official Pulumi release through the Automation API: `release.py FOLDER VERSION`.

This is a separate script so that `install.py` can end it when it takes too long, and needs only the standard library.
"""

import socket
import subprocess
import sys
from urllib.error import URLError

from pulumi.automation import PulumiCommand
from semver import VersionInfo

folder, version = sys.argv[1:]
socket.setdefaulttimeout(30)
try:
    PulumiCommand.install(root=folder, version=VersionInfo.parse(version))
except URLError as error:
    sys.exit(f"get.pulumi.com could not be reached: {error.reason}")
except TimeoutError:
    sys.exit("get.pulumi.com stopped answering")
except subprocess.CalledProcessError as error:
    sys.exit(error.output.decode(errors="replace"))
