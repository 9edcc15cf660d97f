"""``agentproxy completion``: what a shell needs to complete our commands."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

WHERE = {
    "bash": 'Put this in ~/.bashrc: eval "$(agentproxy completion bash)"',
    "zsh": 'Put this in ~/.zshrc: eval "$(agentproxy completion zsh)"',
    "fish": "Put this in ~/.config/fish/completions/agentproxy.fish: agentproxy completion fish | source",
}


@click.command(epilog="\n\n".join(WHERE.values()))
@click.argument("shell", type=click.Choice(list(WHERE)))
def completion(shell: str) -> None:
    """Print the completion script of a SHELL."""
    kind = get_completion_class(shell)
    assert kind is not None
    root = click.get_current_context().find_root().command
    click.echo(kind(root, {}, "agentproxy", "_AGENTPROXY_COMPLETE").source())
