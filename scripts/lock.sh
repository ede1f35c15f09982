#!/bin/sh
# Writes requirements.lock and requirements-{dev,bench,extras}.lock: every version, for each platform and Python that we support.
# PyTorch brings its own CUDA packages, with exact versions, where its wheel needs them: they are left out here, so that
# the CPU wheel, which needs none, installs from the same lock. Hence also no hashes: torch's differ from index to index.
set -eu
cd "$(dirname "$0")/.."
compile() {
    output=$1
    shift
    uv pip compile pyproject.toml --universal --python-version 3.11 --no-emit-package torch \
        --quiet --no-header --no-annotate "$@" --output-file "$output.tmp"
    { echo "torch==2.13.0"; grep -Ev '^(nvidia-|cuda-|triton==)' "$output.tmp"; } > "$output"
    rm -f "$output.tmp"
}
compile requirements.lock
compile requirements-dev.lock --extra dev --constraint requirements.lock
compile requirements-bench.lock --extra bench --constraint requirements-dev.lock
compile requirements-extras.lock --extra gcs --extra azure --extra huggingface --constraint requirements-dev.lock
