"""The command line's commands, one file a topic; ``cli.py`` has the list. They talk to a server through ``client/`` only."""
