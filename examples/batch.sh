#!/bin/sh
# Runs a file of requests as a batch and writes the results to a file. tidegate
# must be in PATH.
#
#   TIDEGATE_SERVER=http://127.0.0.1:8080 examples/batch.sh requests.jsonl results.jsonl
set -eu
tidegate batch submit "$1" --wait --output "$2"
