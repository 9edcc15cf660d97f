BEGIN TRANSACTION;
CREATE TABLE accounts (
	name VARCHAR(255) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	created_at BIGINT NOT NULL, 
	disabled_at BIGINT, 
	record TEXT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "accounts" VALUES('ci','service',1772600767891011,NULL,'{"role":"viewer","permissions":["session.read:all"],"teams":["o/t"],"created_by":"root"}');
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0003');
CREATE TABLE approval_rules (
	id VARCHAR(36) NOT NULL, 
	owner TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	expires_at BIGINT, 
	record TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "approval_rules" VALUES('r1','ann',0,NULL,'{"command":"pytest *","answer":"allow","agent":"","repository":""}');
CREATE TABLE approvals (
	id VARCHAR(36) NOT NULL, 
	session_id VARCHAR(64) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	created_at BIGINT NOT NULL, 
	record TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "approvals" VALUES('a1','ready','waiting',1772600767891011,'{"incarnation":1,"answer":"","by":"","reason":"","expires_at":null,"answered_at":null,"prompt":{"text":"Run it?","fingerprint":"f","subject":"pytest -q","choices":[{"name":"yes","label":"Yes","keys":["1"]}]}}');
CREATE TABLE audit (
	number BIGINT NOT NULL, 
	time BIGINT NOT NULL, 
	actor TEXT NOT NULL, 
	verb VARCHAR(64) NOT NULL, 
	session_id VARCHAR(64), 
	allowed BOOLEAN NOT NULL, 
	record TEXT NOT NULL, 
	hash VARCHAR(64) NOT NULL, 
	PRIMARY KEY (number)
);
INSERT INTO "audit" VALUES(1,1772600767891011,'ann','session.stop','ended',1,'{"actor":"ann","address":"","allowed":true,"credential":"","facts":{},"reason":"own","session_id":"ended","source":"","time":"2026-03-04T05:06:07.891011+00:00","verb":"session.stop"}','10c1cd78b4ab2b150076760db3df5251d5602dc1c86727c1aed51dd9930f4273');
CREATE TABLE counters (
	name VARCHAR(32) NOT NULL, 
	value BIGINT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "counters" VALUES('event',7);
INSERT INTO "counters" VALUES('identity',5);
CREATE TABLE deliveries (
	id VARCHAR(36) NOT NULL, 
	session_id VARCHAR(64) NOT NULL, 
	position BIGINT NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	created_at BIGINT NOT NULL, 
	updated_at BIGINT NOT NULL, 
	record TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "deliveries" VALUES('d1','ready',1,'accepted',1772600767891011,1772600767891011,'{"sender":"ann","reason":"","incarnation":null,"base":-1,"message_id":null,"interrupted":false,"first":false,"last":false,"expires_at":null,"typed_at":null,"delivered_at":null,"answered_at":null,"text":"good morning","answer":null,"at":"turn-end"}');
CREATE TABLE events (
	number BIGINT NOT NULL, 
	session_id VARCHAR(64) NOT NULL, 
	kind VARCHAR(64) NOT NULL, 
	time BIGINT NOT NULL, 
	data TEXT NOT NULL, 
	PRIMARY KEY (number)
);
INSERT INTO "events" VALUES(1,'ready','session.queued',1772600767891011,'{"agent":"demo"}');
INSERT INTO "events" VALUES(2,'ready','session.starting',1772600767891011,'{"incarnation":1}');
INSERT INTO "events" VALUES(3,'ready','session.ready',1772600767891011,'{"port":9000}');
INSERT INTO "events" VALUES(4,'ready','agent.status',1772600767891011,'{"status":"stable"}');
INSERT INTO "events" VALUES(5,'ended','session.queued',1772600767891011,'{"agent":"demo"}');
INSERT INTO "events" VALUES(6,'ended','session.ended',1772600767891011,'{"reason":"exited","sentence":"the agent ended by itself","exit_status":3}');
INSERT INTO "events" VALUES(7,'deleted','session.deleted',1772600767891011,'{"by":"ann"}');
CREATE TABLE grants (
	session_id VARCHAR(64) NOT NULL, 
	grantee VARCHAR(255) NOT NULL, 
	access VARCHAR(16) NOT NULL, 
	created_at BIGINT NOT NULL, 
	created_by TEXT NOT NULL, 
	PRIMARY KEY (session_id, grantee)
);
INSERT INTO "grants" VALUES('ready','user:bob','read',1772600767891011,'ann');
CREATE TABLE incarnations (
	session_id VARCHAR(64) NOT NULL, 
	number INTEGER NOT NULL, 
	created_at BIGINT NOT NULL, 
	ended_at BIGINT, 
	door TEXT, 
	record TEXT NOT NULL, 
	PRIMARY KEY (session_id, number)
);
INSERT INTO "incarnations" VALUES('ready',1,1772600767891011,NULL,'0323d16d:gjb793nwQw23YLp4lxHCNl0D88Y/JVdi6Az0qwsxo/Vucm3EMqQ9','{"agent_server":"embedded","directory":"/nowhere","port":9000,"marker":"mark","boot_id":"boot","unix_path":null,"cgroup":null,"pid":4711,"start_ticks":12345,"argv":["demo","--x"],"ending":null}');
INSERT INTO "incarnations" VALUES('ended',1,1772600767891011,1772600767891011,NULL,'{"agent_server":"embedded","directory":"/nowhere","port":9000,"marker":"mark","boot_id":"boot","unix_path":null,"cgroup":null,"pid":null,"start_ticks":null,"argv":["demo","--x"],"ending":{"reason":"exited","sentence":"the agent ended by itself","step":null,"exit":{"code":3,"signal":null},"output":["last words"]}}');
CREATE TABLE logins (
	id VARCHAR(32) NOT NULL, 
	owner TEXT NOT NULL, 
	hash VARCHAR(64) NOT NULL, 
	created_at BIGINT NOT NULL, 
	expires_at BIGINT NOT NULL, 
	revoked_at BIGINT, 
	sealed TEXT, 
	record TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "logins" VALUES('l1','ann','acac86c0e609ca906f632b0e2dacccb2b77d22b0621f20ebece1a4835b93f6f0',1772600767891011,2636514367891011,NULL,'0323d16d:Okd8CbWrh7RcfyrzccXesbUM/QPjMlZ4T+d1SF1XgQ==','{"provider":"github","role":"user","permissions":[],"teams":[],"facts":{"a":[1]}}');
CREATE TABLE messages (
	session_id VARCHAR(64) NOT NULL, 
	id BIGINT NOT NULL, 
	role VARCHAR(16) NOT NULL, 
	content TEXT NOT NULL, 
	time BIGINT NOT NULL, 
	final BOOLEAN, 
	PRIMARY KEY (session_id, id)
);
INSERT INTO "messages" VALUES('ready',0,'agent','Welcome',1772600767891011,1);
INSERT INTO "messages" VALUES('ready',1,'user','hello',1772600768891011,1);
INSERT INTO "messages" VALUES('ready',2,'agent','You said: hello',1772600769891011,NULL);
CREATE TABLE repeats (
	scope VARCHAR(255) NOT NULL, 
	"key" VARCHAR(255) NOT NULL, 
	body VARCHAR(64) NOT NULL, 
	result VARCHAR(64) NOT NULL, 
	created_at BIGINT NOT NULL, 
	PRIMARY KEY (scope, "key")
);
INSERT INTO "repeats" VALUES('messages/ready/x','key','body','d1',1772600767891011);
CREATE TABLE session_tags (
	session_id VARCHAR(64) NOT NULL, 
	name TEXT NOT NULL, 
	value TEXT NOT NULL, 
	PRIMARY KEY (session_id, name)
);
INSERT INTO "session_tags" VALUES('ready','colour','red');
CREATE TABLE sessions (
	id VARCHAR(64) NOT NULL, 
	owner TEXT NOT NULL, 
	agent TEXT NOT NULL, 
	phase VARCHAR(16) NOT NULL, 
	scope VARCHAR(16) NOT NULL, 
	team_id TEXT, 
	created_at BIGINT NOT NULL, 
	updated_at BIGINT NOT NULL, 
	deleted_at BIGINT, 
	environment TEXT, 
	record TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "sessions" VALUES('ready','ann','demo','ready','user',NULL,1772600767891011,1772600767891011,NULL,'0323d16d:LIMT2Qy9u7TpDPiOazmoQ/KfBnqIlKM/Td9lP08EjFF5oSndSCUSAMOS39ZtApyTzyoJKO8mgg==','{"description":"\u00dcber","tags":{"colour":"red"},"annotations":{"pr_url":"https://example.org/1"},"options":{"command":["demo"]},"incarnation":1,"port":9000,"ending":null,"ready_at":1772600767891011,"ended_at":null}');
INSERT INTO "sessions" VALUES('ended','bob','demo','ended','team','o/t',1772600757891011,1772600757891011,NULL,NULL,'{"description":null,"tags":{},"annotations":{},"options":{},"incarnation":1,"port":null,"ending":{"reason":"exited","sentence":"the agent ended by itself","step":null,"exit":{"code":3,"signal":null},"output":["last words"]},"ready_at":null,"ended_at":1772600767891011}');
INSERT INTO "sessions" VALUES('deleted','ann','demo','ended','user',NULL,1772600747891011,1772600747891011,1772600767891011,NULL,'{"description":null,"tags":{},"annotations":{},"options":{},"incarnation":1,"port":null,"ending":{"reason":"stopped","sentence":"deleted by ann","step":null,"output":[]},"ready_at":null,"ended_at":null}');
CREATE TABLE shares (
	session_id VARCHAR(64) NOT NULL, 
	hash VARCHAR(64) NOT NULL, 
	sealed TEXT NOT NULL, 
	access VARCHAR(16) NOT NULL, 
	created_at BIGINT NOT NULL, 
	created_by TEXT NOT NULL, 
	expires_at BIGINT, 
	PRIMARY KEY (session_id)
);
INSERT INTO "shares" VALUES('ready','3eb1bd439947eb762998e566ccc2e099c791118b2f40579cc4f7da2b5061b7f9','0323d16d:Imw/UswI4zIwj24o4hWAJBDQIX9R6BmCSca8yi8/m0jIA6Mqeg4KpDaYTvDIy9tF6WMeMXy2IFCVdWrO','read',1772600767891011,'ann',NULL);
CREATE TABLE spending (
	subject VARCHAR(255) NOT NULL, 
	measure VARCHAR(16) NOT NULL, 
	period VARCHAR(16) NOT NULL, 
	amount BIGINT NOT NULL, 
	lifted BIGINT NOT NULL, 
	PRIMARY KEY (subject, measure, period)
);
INSERT INTO "spending" VALUES('session','turns','all',3,0);
CREATE TABLE tokens (
	id VARCHAR(32) NOT NULL, 
	owner TEXT NOT NULL, 
	hash VARCHAR(64) NOT NULL, 
	created_at BIGINT NOT NULL, 
	expires_at BIGINT, 
	revoked_at BIGINT, 
	record TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "tokens" VALUES('t1','ci','e918d7e0d457087cf15779c4d0c5a60493603a98a59b65db5cf0f69af7421750',1772600767891011,1772600767891011,NULL,'{"name":"laptop","role":"viewer","permissions":[],"teams":["o/t"],"scopes":["session.read:own"],"created_by":"root"}');
CREATE INDEX sessions_listed ON sessions (created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX sessions_of_owner ON sessions (owner, created_at, id);
CREATE INDEX sessions_of_agent ON sessions (agent, created_at, id);
CREATE INDEX sessions_of_team ON sessions (team_id, created_at, id);
CREATE INDEX sessions_living ON sessions (created_at, id) WHERE phase <> 'ended';
CREATE INDEX session_tags_by_value ON session_tags (name, value, session_id);
CREATE INDEX incarnations_open ON incarnations (created_at) WHERE ended_at IS NULL;
CREATE INDEX events_of_session ON events (session_id, number);
CREATE UNIQUE INDEX tokens_by_hash ON tokens (hash);
CREATE INDEX tokens_of_owner ON tokens (owner, created_at);
CREATE UNIQUE INDEX logins_by_hash ON logins (hash);
CREATE INDEX logins_by_expiry ON logins (expires_at);
CREATE INDEX grants_by_grantee ON grants (grantee, session_id);
CREATE UNIQUE INDEX shares_by_hash ON shares (hash);
CREATE INDEX audit_of_session ON audit (session_id, number);
CREATE INDEX audit_of_actor ON audit (actor, number);
CREATE INDEX deliveries_of_session ON deliveries (session_id, position, id);
CREATE INDEX deliveries_by_state ON deliveries (state, session_id);
CREATE INDEX repeats_by_age ON repeats (created_at);
CREATE INDEX approvals_by_state ON approvals (state, created_at, id);
CREATE INDEX approvals_of_session ON approvals (session_id, created_at);
CREATE INDEX approval_rules_of_owner ON approval_rules (owner, created_at);
COMMIT;
