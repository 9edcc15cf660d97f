"""Which files of the server are hidden from agents, wherever they are."""

from __future__ import annotations

from pathlib import Path

from agentproxy.config.loading import load
from agentproxy.config.secret_files import secret_directories, secret_files


def test_what_is_the_servers_is_known(tmp_path: Path) -> None:
    """The data with all in it, HOMEs and sockets elsewhere; the configuration, keys, a database and private keys elsewhere."""
    file = tmp_path / "conf" / "agentproxy.yaml"
    file.parent.mkdir()
    file.write_text(
        f"""
data_dir: {tmp_path}/data
runtime_dir: {tmp_path}/data/run
sessions: {{homes_dir: {tmp_path}/homes, env_files_dir: {tmp_path}/data/env}}
store: {{url: "sqlite:///{tmp_path}/db/store.db"}}
listeners:
  - {{endpoint: "ssl:8443:interface=127.0.0.1:privateKey={tmp_path}/tls/key.pem:certKey={tmp_path}/tls/cert.pem"}}
auth: {{enabled: true, static: {{enabled: true, keys_file: {tmp_path}/keys.json}}}}
"""
    )
    config = load(file, {}, {}, cwd=tmp_path, home=tmp_path).config
    assert set(secret_directories(config)) == {tmp_path / "data", tmp_path / "homes"}
    database = {tmp_path / "db" / f"store.db{ending}" for ending in ("", "-wal", "-shm")}
    assert set(secret_files(config, file)) == {file, tmp_path / "keys.json", tmp_path / "tls" / "key.pem", *database}
