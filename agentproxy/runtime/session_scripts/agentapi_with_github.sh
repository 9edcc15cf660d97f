#!/bin/bash
# Becomes the agent server, with git set up for GitHub. Arguments: the port, then the agent server's program and arguments.
# GITHUB_TOKEN stays in the environment: git asks for it when it needs it, so it is in no file and no argument.
set -eu
export AGENTAPI_GITHUB_INTEGRATION=true
if [ -n "${GITHUB_TOKEN:-}" ]; then
    web="https://github.com"
    case "${GITHUB_API:-}" in
    https://api.github.com | https://api.github.com/ | "") ;;
    https://*) host="${GITHUB_API#https://}"; web="https://${host%%/*}" ;;
    esac
    count="${GIT_CONFIG_COUNT:-0}"
    export "GIT_CONFIG_KEY_$count=credential.$web.helper"
    # shellcheck disable=SC2016
    export "GIT_CONFIG_VALUE_$count="'!f() { test "$1" = get && printf "username=x-access-token\npassword=%s\n" "$GITHUB_TOKEN"; }; f'
    export GIT_CONFIG_COUNT="$((count + 1))"
    export GH_TOKEN="${GH_TOKEN:-$GITHUB_TOKEN}"
fi
if [ "${DEBUG:-}" = "true" ] || [ "${DEBUG:-}" = "1" ]; then
    echo "port ${1:-none}, workspace ${WORKSPACE_NAME:-none}, directory $PWD, token ${GITHUB_TOKEN:+given}" >&2
fi
if [ "$#" -lt 2 ]; then
    echo "usage: $0 PORT PROGRAM [ARGUMENT...]" >&2
    exit 64
fi
exec "${@:2}"
