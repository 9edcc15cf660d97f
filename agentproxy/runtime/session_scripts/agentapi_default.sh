#!/bin/bash
# Becomes the agent server. Arguments: the port, then the agent server's program and arguments.
set -eu
if [ "${DEBUG:-}" = "true" ] || [ "${DEBUG:-}" = "1" ]; then
    echo "port ${1:-none}, workspace ${WORKSPACE_NAME:-none}, directory $PWD" >&2
fi
if [ "$#" -lt 2 ]; then
    echo "usage: $0 PORT PROGRAM [ARGUMENT...]" >&2
    exit 64
fi
exec "${@:2}"
