#!/bin/sh
# Install snapset, as it is in this checkout, into a new folder, and the Pulumi engine into the user cache. Only what is
# locked by a hash is installed. Prints the folders for PATH.
#
#   PATH="$(sh CHECKOUT/ci/install.sh FOLDER):$PATH"
set -eu
checkout=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
# No file of the current folder is taken for a module: see -I in `python3 --help`. Pip starts other processes, too.
unset PYTHONPATH
python3 -I -m venv "$1"
"$1/bin/python" -I -m pip install --quiet --require-hashes --requirement "$checkout/ci/requirements.lock" >&2
"$1/bin/python" -I -m pip install --quiet --no-deps --no-build-isolation "$checkout" >&2
engine=$("$1/bin/python" -I "$checkout/tools/engine/install.py")
echo "$1/bin:$engine"
