"""Packaging of agentproxy: the daemon, its twistd plugin, its agent server and its tools."""

from __future__ import annotations

import sys
from pathlib import Path

from setuptools import find_packages, setup

from distutils.command.install_headers import install_headers  # isort: skip - setuptools' own, so after it

HERE = Path(__file__).parent

RUNTIME = [
    "alembic>=1.16,<2",
    "attrs>=24",
    "autobahn>=24.4.2",
    "automat>=25.4",
    "cryptography>=44",
    "click>=8.1,<9",
    "httptools>=0.6.4,<1",
    "http-ece>=1.2.1,<2",
    "joserfc>=1,<2",
    "klein>=24.8,<26",
    "msgspec>=0.19,<1",
    "prometheus-client>=0.21,<1",
    "psutil>=6,<8",
    "pyavt>=0.1.2,<0.2",
    "pyte>=0.8.2,<0.9",
    "pyyaml>=6,<7",
    "service-identity>=24.1",
    "sqlalchemy>=2.0.36,<3",
    "swagger-ui-py>=25.7,<26",
    "treq>=24.9,<27",
    "twisted[tls]>=24.11,<27",
    "txaio>=23.1",
]

POSTGRESQL = ["psycopg[binary]>=3.2,<4"]

TEST = [
    *POSTGRESQL,
    "hypothesis>=6.100,<7",
    "jsonschema>=4.23,<5",
    "setuptools>=77",
    "pytest>=8,<10",
    "pytest-twisted>=1.14.3,<2",
    "pytest-timeout>=2.3,<3",
    "schemathesis>=4.3,<5",
    "pytest-xdist>=3.6,<4",
]

CHECK = [
    "mkdocs>=1.6,<2",
    "towncrier>=24.8,<26",
    "mypy>=1.15,<3",
    "mypy-zope>=1.0.9,<2",
    "ruff>=0.11,<1",
    "types-PyYAML",
    "types-psutil",
]

PLUGIN = HERE / "twisted_plugins" / "agentproxy_plugin.py"


class InstallHeaders(install_headers):
    """Copies the plugin beside Twisted's own, where twistd looks for it.

    An editable install leaves packages in the checkout and installs headers only; so there the plugin goes as one.
    """

    def run(self) -> None:
        """Copy the file."""
        target = Path(self.get_finalized_command("install").install_lib, "twisted", "plugins")
        self.mkpath(str(target))
        self.copy_file(str(PLUGIN), str(target))


EDITABLE = "editable_wheel" in sys.argv

setup(
    name="agentproxy",
    version="0.1.0",
    description="A multi-user server for coding agents that live in a terminal",
    long_description=(HERE / "README.md").read_text(encoding="utf-8") if (HERE / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    packages=[*find_packages(include=["agentproxy", "agentproxy.*"]), "twisted.plugins"],
    package_dir={"twisted.plugins": "twisted_plugins"},
    cmdclass={"install_headers": InstallHeaders} if EDITABLE else {},
    headers=[PLUGIN.name] if EDITABLE else [],
    package_data={
        "agentproxy": ["py.typed", "**/*.yaml", "**/*.sh", "**/*.html", "**/*.css", "**/*.js", "**/*.mako"],
    },
    install_requires=RUNTIME,
    extras_require={"test": TEST, "check": CHECK, "dev": [*TEST, *CHECK], "postgresql": POSTGRESQL},
    entry_points={
        "console_scripts": [
            "agentproxy=agentproxy.cli:main",
            "agentproxy-embedded=agentproxy.embedded.__main__:main",
        ]
    },
    zip_safe=False,
    classifiers=[
        "Framework :: Twisted",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Typing :: Typed",
    ],
)
