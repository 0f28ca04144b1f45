#!/bin/sh
# Install snapset, as it is in this checkout, into a new folder, and the Pulumi engine into the user cache. Only what is
# locked by a hash is installed. Prints the folders for PATH.
#
#   PATH="$(sh CHECKOUT/ci/install.sh FOLDER):$PATH"
set -eu
checkout=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
python3 -m venv "$1"
"$1/bin/python" -m pip install --quiet --require-hashes --requirement "$checkout/ci/requirements.lock" >&2
"$1/bin/python" -m pip install --quiet --no-deps --no-build-isolation "$checkout" >&2
engine=$("$1/bin/python" "$checkout/tools/engine/install.py")
echo "$1/bin:$engine"
