"""``init-github-repository`` and ``setup-gh`` of ``agentproxy helpers``: GitHub for the HOME and the directory of a session.

The token is ``--github-token`` or ``GITHUB_TOKEN``; else one of a GitHub App (id and private key), valid for an hour; else a
personal access token. It is in no argument of a program and in no URL.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from agentproxy.commands import output
from agentproxy.errors import Refusal
from agentproxy.model import repository
from agentproxy.model.repository import Transport, github_host
from agentproxy.runtime.clone import ASKPASS, SETTINGS

API = "https://api.github.com"
F = TypeVar("F", bound=Callable[..., Any])


def _github(command: F) -> Any:
    """Give a command the options that say which GitHub and which token."""

    @click.option("--repo-fullname", envvar="GITHUB_REPO_FULLNAME", help="owner/name, or a URL.")
    @click.option("--github-app-id", envvar="GITHUB_APP_ID", help="Of a GitHub App.")
    @click.option("--github-installation-id", envvar="GITHUB_INSTALLATION_ID", help="Looked up when missing.")
    @click.option("--github-app-pem-path", envvar="GITHUB_APP_PEM_PATH", help="File with the App's private key.")
    @click.option("--github-app-pem", envvar="GITHUB_APP_PEM", help="The private key itself; better in GITHUB_APP_PEM.")
    @click.option("--github-api", envvar="GITHUB_API", default=API, show_default=True, help="Address of the API.")
    @click.option("--github-token", envvar="GITHUB_TOKEN", help="Better in GITHUB_TOKEN.")
    @click.option(
        "--github-personal-access-token",
        envvar="GITHUB_PERSONAL_ACCESS_TOKEN",
        help="Better in GITHUB_PERSONAL_ACCESS_TOKEN.",
    )
    @output.json_option
    @wraps(command)
    def run(
        github_app_id: str | None,
        github_installation_id: str | None,
        github_app_pem_path: str | None,
        github_app_pem: str | None,
        github_api: str,
        github_token: str | None,
        github_personal_access_token: str | None,
        **arguments: Any,
    ) -> None:
        pem = github_app_pem or (_read(github_app_pem_path) if github_app_pem_path else None)
        token = github_token
        if not token and github_app_id and pem:
            name = arguments["repo_fullname"]
            token = _app_token(github_api.rstrip("/"), github_app_id, pem, github_installation_id, name)
        command(host=github_host(github_api), token=token or github_personal_access_token, **arguments)

    return run


@click.command("init-github-repository")
@click.option("--clone-dir", envvar="GITHUB_CLONE_DIR", type=click.Path(path_type=Path), help="Where it goes.")
@click.option("--ignore-missing-config", is_flag=True, help="Do nothing when no repository is named.")
@_github
def init_github_repository(
    host: str, token: str | None, repo_fullname: str | None, clone_dir: Path | None, ignore_missing_config: bool
) -> None:
    """Clone a repository.

    A clone that is there already is brought up to date.
    """
    named = repo_fullname or os.environ.get("GITHUB_REPO_URL")
    if not named:
        if not ignore_missing_config:
            raise click.UsageError("name a repository: --repo-fullname, GITHUB_REPO_FULLNAME or GITHUB_REPO_URL")
        output.show({"status": "nothing to do"}, ["no repository is named; nothing to do"])
        return
    try:
        found = repository.parse(named, "--repo-fullname", host)
    except Refusal as refusal:
        raise click.UsageError(str(refusal)) from refusal
    target = clone_dir or Path(found.full_name.rpartition("/")[2])
    given = token if found.transport is Transport.HTTPS and found.host == host else None
    there = (target / ".git").exists()
    branch = ["--branch", found.branch] if found.branch else []
    how = ["-C", str(target), "pull", "--ff-only"] if there else ["clone", *branch, "--", found.url, str(target)]
    with output.progress(f"{'updating' if there else 'cloning'} {found.full_name}"):
        _git(how, found.host, given)
    facts = {"repository": found.full_name, "directory": str(target), "status": "updated" if there else "cloned"}
    output.show(facts, [f"{facts['status']} {found.full_name} in {target}"])


@click.command("setup-gh")
@_github
def setup_gh(host: str, token: str | None, repo_fullname: str | None) -> None:  # noqa: ARG001 - names the App's installation
    """Let git of this HOME use a token for GitHub.

    And gh, where it is installed.
    """
    if not token:
        raise click.UsageError("no token: set GITHUB_TOKEN, a GitHub App, or GITHUB_PERSONAL_ACCESS_TOKEN")
    gh = shutil.which("gh")
    if gh is not None:
        environment = {name: value for name, value in os.environ.items() if name not in ("GITHUB_TOKEN", "GH_TOKEN")}
        _run([gh, "auth", "login", "--hostname", host, "--with-token"], token, environment)
        _run([gh, "auth", "setup-git", "--hostname", host], "", environment)
    else:
        _store(host, token)
    used = "gh" if gh else "git"
    output.show({"host": host, "by": used}, [f"{used} of {Path.home()} uses the token for {host}"])


def _store(host: str, token: str) -> None:
    """Leave the token to git's own credential store, in a file that only this user reads."""
    file = Path.home() / ".config" / "agentproxy" / "git-credentials"
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = f"credential.https://{host}.helper"
    _run(["git", "config", "--global", "--replace-all", key, f"store --file={file}"], "", dict(os.environ))
    said = f"protocol=https\nhost={host}\nusername=x-access-token\npassword={token}\n\n"
    _run(["git", "credential", "approve"], said, dict(os.environ))


def _git(arguments: Sequence[str], host: str, token: str | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        askpass = Path(folder) / "askpass"
        askpass.write_text(ASKPASS, encoding="utf-8")
        askpass.chmod(0o700)
        environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
        if token:
            environment |= {"GIT_ASKPASS": str(askpass), "AGENTPROXY_GIT_TOKEN": token, "AGENTPROXY_GIT_HOST": host}
        settings = [part for setting in SETTINGS for part in ("-c", setting)] if token else []
        _run(["git", *settings, *arguments], "", environment)


def _run(argv: Sequence[str], said: str, environment: dict[str, str]) -> None:
    """Run a program to its end.

    :raises click.ClickException: it is not there, or failed; with what it said.
    """
    try:
        done = subprocess.run(argv, input=said, env=environment, capture_output=True, text=True)
    except OSError as error:
        raise click.ClickException(f"{argv[0]} cannot be started: {error.strerror}") from error
    if done.returncode:
        raise click.ClickException(f"{argv[0]} failed: {(done.stderr or done.stdout).strip()[-500:]}")


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"the private key {path} cannot be read: {error}") from error


def _app_token(api: str, app_id: str, pem: str, installation: str | None, name: str | None) -> str:
    """Return a token of a GitHub App's installation."""
    from joserfc import jwt
    from joserfc.errors import JoseError
    from joserfc.jwk import RSAKey

    now = int(time.time())
    try:
        claims = {"iat": now - 60, "exp": now + 540, "iss": app_id}
        proof = jwt.encode({"alg": "RS256"}, claims, RSAKey.import_key(pem))
    except (JoseError, ValueError) as error:
        raise click.ClickException(f"the App's private key cannot be used: {error}") from error
    if installation is None:
        if not name:
            raise click.UsageError("--github-installation-id, or --repo-fullname to look it up, is needed for an App")
        installation = str(_asked(f"{api}/repos/{name}/installation", proof)["id"])
    return str(_asked(f"{api}/app/installations/{installation}/access_tokens", proof, "POST")["token"])


def _asked(url: str, proof: str, method: str = "GET") -> dict[str, Any]:
    if not url.startswith(("https://", "http://")):
        raise click.UsageError(f"--github-api: expected a URL, got {url!r}")
    headers = {"Authorization": f"Bearer {proof}", "Accept": "application/vnd.github+json", "User-Agent": "agentproxy"}
    request = urllib.request.Request(url, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            found = json.loads(answer.read())
    except (OSError, urllib.error.URLError, ValueError) as error:
        raise click.ClickException(f"GitHub does not give a token: {url}: {error}") from error
    if not isinstance(found, dict):
        raise click.ClickException(f"GitHub does not give a token: {url} answers no object")
    return found
