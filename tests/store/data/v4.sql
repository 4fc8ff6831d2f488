BEGIN TRANSACTION;
CREATE TABLE conversation (
            id TEXT PRIMARY KEY,
            title TEXT NOT NULL,
            created REAL NOT NULL,
            updated REAL NOT NULL,
            date TEXT NOT NULL,
            leaf_id TEXT,
            instructions TEXT NOT NULL,
            effort TEXT NOT NULL,
            model TEXT NOT NULL,
            draft TEXT NOT NULL,
            deleted REAL NOT NULL
        ) STRICT;
INSERT INTO "conversation" VALUES('c1','Greeting',1.5,2.5,'2026-11-22','m2','Be brief.','low','','half a',0.0);
CREATE TABLE message (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            conversation_id TEXT NOT NULL REFERENCES conversation (id),
            parent_id TEXT REFERENCES message (id),
            role TEXT NOT NULL,
            parts TEXT NOT NULL,
            tokens BLOB,
            vocabulary TEXT NOT NULL,
            state TEXT NOT NULL,
            created REAL NOT NULL,
            effort TEXT,
            model TEXT NOT NULL,
            stats TEXT,
            error TEXT NOT NULL,
            content TEXT NOT NULL,
            reasoning TEXT NOT NULL,
            owner TEXT NOT NULL
        , pinned INTEGER NOT NULL DEFAULT 0) STRICT;
INSERT INTO "message" VALUES(1,'m1','c1',NULL,'user','[{"kind":"text","text":"Hello \"you\""}]',NULL,'','complete',1.5,NULL,'',NULL,'','Hello "you"','','',1);
INSERT INTO "message" VALUES(2,'m2','c1','m1','assistant','[{"kind":"reasoning","text":"Greet.","seconds":0.5},{"kind":"text","text":"Hi!"}]',X'0700000008000000','v','complete',2.0,'low','demo','{"prompt_tokens":9,"cached_tokens":0,"output_tokens":2,"ttft_s":0.1,"prefill_s":0.1,"decode_s":0.2}','','Hi!','Greet.','',0);
CREATE TABLE token_count (
            message_id TEXT NOT NULL REFERENCES message (id) ON DELETE CASCADE,
            vocabulary TEXT NOT NULL,
            digest BLOB NOT NULL,
            tokens INTEGER NOT NULL,
            PRIMARY KEY (message_id, vocabulary)
        ) STRICT, WITHOUT ROWID;
INSERT INTO "token_count" VALUES('m1','v',X'00112233445566778899AABBCCDDEEFF',7);
CREATE INDEX conversation_updated ON conversation (updated);
CREATE INDEX message_conversation ON message (conversation_id, number);
CREATE INDEX message_parent ON message (parent_id);
CREATE INDEX message_streaming ON message (owner) WHERE state = 'streaming';
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('message',2);
COMMIT;
PRAGMA user_version = 4;
