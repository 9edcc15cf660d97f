"""Processes, ports and directories of sessions on this machine, and the state machine that owns them."""
