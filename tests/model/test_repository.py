"""References to repositories."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentproxy.errors import Refusal
from agentproxy.model.repository import Transport, github_host, parse


@pytest.mark.parametrize(
    ("text", "url", "name", "branch"),
    [
        ("owner/name", "https://github.com/owner/name.git", "owner/name", None),
        ("owner/name.git#dev/x", "https://github.com/owner/name.git", "owner/name", "dev/x"),
        ("https://GHE.corp:8443/o/n.git", "https://ghe.corp:8443/o/n.git", "o/n", None),
        ("git@github.com:o/n.git#main", "git@github.com:o/n.git", "o/n", "main"),
        ("ssh://git@h:2222/o/n", "ssh://git@h:2222/o/n", "o/n", None),
        ("file:///srv/git/n.git", "/srv/git/n.git", "n", None),
        ("/srv/git/n", "/srv/git/n", "n", None),
    ],
)
def test_forms_that_are_read(text: str, url: str, name: str, branch: str | None) -> None:
    """Each form that the documentation names is understood."""
    found = parse(text)
    assert (found.url, found.full_name, found.branch) == (url, name, branch)


def test_a_github_of_ones_own() -> None:
    """``owner/name`` means the configured host."""
    assert parse("o/n", host="ghe.corp").url == "https://ghe.corp/o/n.git"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "a/b/c",
        "ext::sh -c id",
        "ext::id",
        "-uhttps://h/x",
        "--upload-pack=x/y",
        "https://user:pw@h/o/n",
        "https://token@h/o/n",
        "https://h/../x",
        "https://h/%2e%2e/x",
        "file:///srv/../etc",
        "file://host/x",
        "/srv/../etc",
        "../x",
        "o/..",
        "o/n\n",
        "o/n#",
        "o/n#-x",
        "o/n#a..b",
        "o/n#a.lock",
        "o/n#a#b",
        "ssh://-oProxyCommand=x/y",
        "ssh://git@-oProxyCommand=x/y",
        "git@-oProxyCommand:x/y",
        "git://h/x",
        "o/n\u202e",
        "//host/x",
    ],
)
def test_tricks_are_refused(text: str) -> None:
    """What is no plain reference is refused at its path."""
    with pytest.raises(Refusal, match=r"^Invalid request format: \$\.tags\.repository: "):
        parse(text)


@given(st.text(alphabet="ab-./:@#%~ \\\n\0ext", max_size=40))
def test_nothing_dangerous_comes_through(text: str) -> None:
    """Whatever is sent: what git gets is no option, has no credentials, no ``..`` and no transport helper."""
    try:
        found = parse(text)
    except Refusal:
        return
    assert not found.url.startswith("-")
    assert "::" not in found.url
    assert ".." not in found.url.split("/")
    assert found.branch is None or not found.branch.startswith("-")
    assert found.transport is not Transport.HTTPS or "@" not in found.url.split("/")[2]


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,20}", fullmatch=True)
BRANCHES = st.none() | st.from_regex(r"[A-Za-z0-9]{1,8}(/[a-z0-9]{1,8}){0,2}", fullmatch=True)


@given(NAMES, NAMES, BRANCHES, st.sampled_from(["", ".git"]))
def test_the_forms_of_one_repository_mean_the_same(owner: str, name: str, branch: str | None, end: str) -> None:
    """Short, https and ssh forms give the same name, host and branch; each can be read again from its URL."""
    mark = f"#{branch}" if branch else ""
    forms = [f"{owner}/{name}", f"https://github.com/{owner}/{name}{end}", f"git@github.com:{owner}/{name}{end}"]
    found = [parse(form + mark) for form in [*forms, f"ssh://git@github.com/{owner}/{name}{end}"]]
    assert {(one.host, one.full_name, one.branch) for one in found} == {("github.com", f"{owner}/{name}", branch)}
    for one in found:
        again = parse(one.url + mark)
        assert (again.transport, again.full_name, again.branch) == (one.transport, one.full_name, one.branch)


@pytest.mark.parametrize(
    ("api", "host"),
    [
        ("https://api.github.com", "github.com"),
        ("https://api.github.com/", "github.com"),
        ("https://GHE.corp/api/v3", "ghe.corp"),
        ("https://ghe.corp:8443/api/v3/", "ghe.corp:8443"),
    ],
)
def test_the_host_of_a_github_of_ones_own(api: str, host: str) -> None:
    """`owner/name` means the GitHub whose API is configured."""
    assert github_host(api) == host
