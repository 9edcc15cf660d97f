"""GitHub tokens: whom they stand for, how that is remembered, and what happens while GitHub is down."""

from __future__ import annotations

from typing import Any

import pytest
from treq.testing import StubTreq
from twisted.internet.task import Clock

from agentproxy.auth.authenticator import Later
from agentproxy.auth.github import GitHub, GitHubUser
from agentproxy.auth.github_roles import matches
from agentproxy.auth.github_tokens import GitHubTokens
from agentproxy.auth.showing import Credential
from agentproxy.config.auth_options import GitHubOptions, TeamRole, UserMapping
from agentproxy.errors import Refusal
from agentproxy.model.credentials import digest
from agentproxy.model.principal import Principal
from tests.auth.fake_github import TOKEN, FakeGitHub

MAPPING = UserMapping(
    default_role="guest",
    default_permissions=("session:list",),
    team_role_mapping={
        "acme/dev": TeamRole(role="developer", permissions=("session:create",), env_file="dev.env"),
        "acme/ops": TeamRole(role="admin", permissions=("*",)),
        "acme/odd": TeamRole(role="wizard", permissions=("session:delete",)),
    },
)


class Setting:
    """Tokens over a fake GitHub, with a clock."""

    def __init__(self, mapping: UserMapping = MAPPING, **options: Any) -> None:
        self.github = FakeGitHub()
        self.clock = Clock()
        self.changes: list[int] = []
        wanted = GitHubOptions(enabled=True, base_url="http://github.test/api/v3", user_mapping=mapping, **options)
        self.treq = StubTreq(self.github.resource())
        api = GitHub(wanted.base_url, self.treq)
        self.tokens = GitHubTokens(wanted, api, self.clock, changed=lambda: self.changes.append(1))

    def show(
        self, token: str = TOKEN, place: str = "bearer", header: bytes = b"authorization"
    ) -> Principal | Refusal | None:
        """Return what a token is answered with, after asking when that is needed."""
        answer = self.tokens.look(Credential(place, header, token, digest(token)))
        if not isinstance(answer, Later):
            return answer
        found: list[Any] = []
        answer.decided().addCallback(found.append)
        assert found, "GitHub was not asked at once"
        return found[0]  # type: ignore[no-any-return]

    def later(self, token: str) -> list[Any]:
        """Return a list that gets the answer of a token when it comes."""
        answer = self.tokens.look(Credential("bearer", b"authorization", token, digest(token)))
        assert isinstance(answer, Later)
        found: list[Any] = []
        answer.decided().addCallback(found.append)
        return found

    def person(self, token: str = TOKEN) -> Principal:
        """Return who a token stands for."""
        found = self.show(token)
        assert isinstance(found, Principal)
        return found

    def refused(self, token: str = TOKEN) -> Refusal:
        """Return why a token is refused."""
        found = self.show(token)
        assert isinstance(found, Refusal)
        return found


def test_a_token_stands_for_its_owner_with_the_role_of_the_teams() -> None:
    """Permissions of all teams are united, the highest role wins, an unknown role never does; pending is no member."""
    setting = Setting()
    setting.github.teams, setting.github.pending = ["acme/dev", "acme/odd"], ["acme/ops"]
    ann = setting.person()
    assert (ann.user_id, ann.role, ann.source, ann.env_file) == ("ann", "developer", "github", "dev.env")
    assert ann.teams == {"acme/dev", "acme/odd"}
    assert "session.start" in str(sorted(ann.permissions))
    assert TOKEN not in repr(ann)


def test_without_a_team_it_is_the_default() -> None:
    """Every GitHub user has at least the default role, and no more."""
    ann = Setting().person()
    assert (ann.role, ann.teams, ann.env_file) == ("guest", frozenset(), None)


def test_wildcards_read_all_pages_of_teams() -> None:
    """A team on the third page counts."""
    mapping = UserMapping(team_role_mapping={"*/leads-*": TeamRole(role="admin")})
    setting = Setting(mapping)
    setting.github.teams = [f"acme/t{number}" for number in range(250)] + ["acme/leads-eu"]
    assert setting.person().role == "admin"
    assert len([path for path in setting.github.asked if "/user/teams" in path]) == 3


def test_an_organisation_can_be_mapped() -> None:
    """A key without a slash is an organisation."""
    setting = Setting(UserMapping(team_role_mapping={"acme": TeamRole(role="member")}))
    setting.github.organizations = ["ACME"]
    assert setting.person().role == "member"


@pytest.mark.parametrize(
    ("key", "team", "expected"),
    [
        ("acme/dev", "acme/dev", True),
        ("acme/dev", "acme/developers", False),
        ("acme/*", "acme/x", True),
        ("*/dev", "other/dev", True),
        ("a*e/d?v", "acme/dev", False),
        ("*", "acme/dev", False),
        ("acme/[d]ev", "acme/dev", False),
    ],
)
def test_keys_of_the_mapping(key: str, team: str, expected: bool) -> None:
    """Only `*` is special, it does not cross the slash, and nothing matches by prefix."""
    assert matches(key, GitHubUser("ann", 1, teams=frozenset({team}))) is expected


def test_what_github_said_is_believed_for_a_short_time() -> None:
    """Many requests ask once; after the time is over a removed member loses the role, and that is told."""
    setting = Setting(cache_seconds=30.0)
    setting.github.teams = ["acme/ops"]
    assert setting.person().role == "admin"
    asked = len(setting.github.asked)
    setting.clock.advance(29)
    assert setting.person().role == "admin"
    assert len(setting.github.asked) == asked
    setting.github.teams = []
    setting.clock.advance(2)
    assert setting.person().role == "guest"
    assert setting.changes == [1]


def test_a_revoked_token_is_refused_and_not_asked_about_again_and_again() -> None:
    """401 like any other; the next tries within half a minute do not reach GitHub."""
    setting = Setting()
    setting.github.users.clear()
    assert setting.refused().kind.status == 401
    asked = len(setting.github.asked)
    assert setting.refused().kind.status == 401
    assert len(setting.github.asked) == asked


@pytest.mark.parametrize("status", [500, 503, 429])
def test_while_github_is_down_known_ones_go_on_and_new_ones_get_503(status: int) -> None:
    """Nobody is told that a good token is bad; the grace time ends."""
    setting = Setting(cache_seconds=30.0, grace_seconds=600.0)
    assert setting.person().user_id == "ann"
    setting.github.failing = status
    setting.clock.advance(60)
    assert setting.person().user_id == "ann"
    new = "ghp_" + "b" * 36
    assert setting.refused(new).kind.status == 503
    setting.clock.advance(600)
    assert setting.refused().kind.status == 503


def test_a_rate_limit_is_not_a_bad_token() -> None:
    """GitHub's 403 with nothing left is its trouble, not the caller's; it says when to come back."""
    setting = Setting()
    setting.github.failing, setting.github.headers = 403, {"x-ratelimit-remaining": "0", "retry-after": "17"}
    refusal = setting.refused()
    assert (refusal.kind.status, refusal.retry_after) == (503, 17.0)


@pytest.mark.parametrize("text", ["ap_" + "a" * 40, "your-api-key", "", "ghp_short", "ghp_" + "a" * 300, TOKEN + "\n"])
def test_what_is_no_github_token_never_leaves_this_server(text: str) -> None:
    """A mistyped key of ours is not sent to GitHub."""
    setting = Setting()
    assert setting.show(text) is None
    assert setting.github.asked == []


def test_only_the_configured_header_counts() -> None:
    """With a header of its own, a token elsewhere is not looked at."""
    setting = Setting(token_header="X-GitHub-Token")
    assert setting.show() is None
    assert isinstance(setting.show(place="other", header=b"x-github-token"), Principal)


def test_one_token_is_not_asked_about_without_end() -> None:
    """A token whose answers are never kept is slowed down: 429 and a time."""
    setting = Setting(cache_seconds=0.0, grace_seconds=0.0)
    answers = [setting.show() for _ in range(40)]
    last = answers[-1]
    assert isinstance(last, Refusal)
    assert last.kind.status == 429
    assert len([path for path in setting.github.asked if path.endswith("/user")]) <= 31


@pytest.mark.parametrize(
    ("mapping", "path"),
    [
        ({"acme": TeamRole(role="member")}, "/api/v3/user/orgs"),
        ({"*/dev": TeamRole(role="member")}, "/api/v3/user/teams"),
    ],
)
def test_a_token_that_may_not_read_teams_is_one_without_teams(mapping: dict[str, TeamRole], path: str) -> None:
    """Its owner has the default role; a missing scope is no reason to turn somebody away."""
    setting = Setting(UserMapping(default_role="guest", team_role_mapping=mapping))
    setting.github.organizations, setting.github.teams = ["acme"], ["acme/dev"]
    setting.github.unreadable = [path]
    assert setting.person().role == "guest"


@pytest.mark.parametrize("status", [301, 418])
def test_an_answer_that_says_nothing_of_the_token_is_no_refusal(status: int) -> None:
    """A moved address or a strange answer is GitHub's trouble: 503, never 401."""
    setting = Setting()
    setting.github.failing = status
    assert setting.refused().kind.status == 503


def test_a_slow_github_does_not_hold_up_whom_it_knows() -> None:
    """Two seconds, then the person goes on; a new one waits; what GitHub says in the end counts."""
    setting = Setting(cache_seconds=30.0)
    setting.github.teams = ["acme/ops"]
    assert setting.person().role == "admin"
    setting.clock.advance(60)
    setting.github.slow, setting.github.teams = True, []
    known, new = setting.later(TOKEN), setting.later("ghp_" + "b" * 36)
    setting.clock.advance(1.9)
    assert (known, new) == ([], [])
    setting.clock.advance(0.2)
    assert [one.role for one in known] == ["admin"]
    assert new == []
    setting.github.release()
    setting.treq.flush()
    assert [one.kind.status for one in new] == [401]
    assert setting.person().role == "guest"
    assert setting.clock.getDelayedCalls() == []


def test_a_github_that_is_down_is_left_alone_for_a_while() -> None:
    """After one failure nobody waits for the next: known ones go on at once, others get 503 at once; then it is asked again."""
    setting = Setting(cache_seconds=30.0)
    assert setting.person().user_id == "ann"
    setting.clock.advance(60)
    setting.github.failing = 500
    setting.person()
    asked = len(setting.github.asked)
    assert setting.person().user_id == "ann"
    assert setting.refused("ghp_" + "b" * 36).retry_after == 5.0
    assert len(setting.github.asked) == asked
    setting.github.failing = None
    setting.clock.advance(5.1)
    setting.person()
    assert len(setting.github.asked) > asked


def test_the_limit_of_one_token_is_not_the_limit_of_others() -> None:
    """Whoever has used up GitHub's patience does not use up everybody's."""
    setting = Setting()
    other = "ghp_" + "b" * 36
    setting.github.users[other] = {"login": "bob", "id": 8}
    setting.github.failing, setting.github.headers = 403, {"x-ratelimit-remaining": "0", "retry-after": "17"}
    assert setting.refused().retry_after == 17.0
    setting.github.failing = None
    assert setting.person(other).user_id == "bob"
    assert setting.refused().kind.status == 503
    setting.clock.advance(17.1)
    assert setting.person().user_id == "ann"


def test_a_name_of_github_is_not_the_account_of_that_name() -> None:
    """Who is called like an account of ours on GitHub is refused; a prefix keeps the names apart from the start."""
    setting = Setting()
    setting.tokens.known_here = lambda user: None if user.user_id == "ann" else user
    assert setting.refused().kind.status == 401
    apart = Setting(user_prefix="github:")
    apart.tokens.known_here = setting.tokens.known_here
    assert apart.person().user_id == "github:ann"


def test_what_github_says_of_somebody_can_be_shown() -> None:
    """As agentapi-proxy shows it."""
    setting = Setting()
    setting.github.teams = ["acme/dev"]
    user = setting.tokens.user_behind(setting.person())
    assert user is not None
    assert user.facts() == {
        "login": "ann", "id": 7, "email": None, "name": "Ann", "organizations": [], "teams": ["acme/dev"],
    }  # fmt: skip
