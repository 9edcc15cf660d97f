BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE counters (
	name VARCHAR(32) NOT NULL, 
	value BIGINT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "counters" VALUES('event',7);
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
CREATE INDEX sessions_listed ON sessions (created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX sessions_of_owner ON sessions (owner, created_at, id);
CREATE INDEX sessions_of_agent ON sessions (agent, created_at, id);
CREATE INDEX sessions_of_team ON sessions (team_id, created_at, id);
CREATE INDEX sessions_living ON sessions (created_at, id) WHERE phase <> 'ended';
CREATE INDEX session_tags_by_value ON session_tags (name, value, session_id);
CREATE INDEX incarnations_open ON incarnations (created_at) WHERE ended_at IS NULL;
CREATE INDEX events_of_session ON events (session_id, number);
COMMIT;
