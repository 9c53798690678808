//! The tables of this service.

use store::Schema;

/// Components, deployments, and what devices have told of themselves.
pub const SCHEMA: Schema = Schema {
    name: "greengrassv2",
    migrations: &["
        CREATE TABLE gg_component (
            name TEXT NOT NULL,
            version TEXT NOT NULL,
            recipe TEXT NOT NULL,
            format TEXT NOT NULL,
            publisher TEXT,
            description TEXT,
            platforms TEXT NOT NULL,
            state TEXT NOT NULL,
            message TEXT NOT NULL,
            errors TEXT NOT NULL,
            created INTEGER NOT NULL,
            PRIMARY KEY (name, version)
        ) WITHOUT ROWID, STRICT;
        CREATE INDEX gg_component_requested ON gg_component (state) WHERE state = 'REQUESTED';
        CREATE TABLE gg_target (
            target TEXT PRIMARY KEY NOT NULL,
            revision INTEGER NOT NULL
        ) WITHOUT ROWID, STRICT;
        CREATE TABLE gg_deployment (
            id TEXT PRIMARY KEY NOT NULL,
            target TEXT NOT NULL,
            parent TEXT,
            revision INTEGER NOT NULL,
            name TEXT,
            job TEXT,
            components TEXT NOT NULL,
            policies TEXT NOT NULL,
            job_configuration TEXT,
            large TEXT,
            status TEXT NOT NULL,
            latest INTEGER NOT NULL,
            created INTEGER NOT NULL,
            UNIQUE (target, revision)
        ) WITHOUT ROWID, STRICT;
        CREATE INDEX gg_deployment_created ON gg_deployment (created, id);
        CREATE INDEX gg_deployment_parent ON gg_deployment (parent) WHERE parent IS NOT NULL;
        CREATE TABLE gg_result (
            thing TEXT NOT NULL,
            deployment TEXT NOT NULL,
            status TEXT NOT NULL,
            details TEXT NOT NULL,
            modified INTEGER NOT NULL,
            PRIMARY KEY (thing, deployment)
        ) WITHOUT ROWID, STRICT;
        CREATE TABLE gg_core (
            thing TEXT PRIMARY KEY NOT NULL,
            version TEXT,
            platform TEXT,
            architecture TEXT,
            runtime TEXT,
            status TEXT NOT NULL,
            reported INTEGER NOT NULL,
            sequence INTEGER NOT NULL,
            chunks TEXT NOT NULL,
            seen INTEGER NOT NULL
        ) WITHOUT ROWID, STRICT;
        CREATE TABLE gg_installed (
            thing TEXT NOT NULL REFERENCES gg_core (thing) ON DELETE CASCADE,
            name TEXT NOT NULL,
            version TEXT NOT NULL,
            state TEXT NOT NULL,
            details TEXT,
            codes TEXT NOT NULL,
            root INTEGER NOT NULL,
            source TEXT,
            changed INTEGER NOT NULL,
            reported INTEGER NOT NULL,
            sequence INTEGER NOT NULL,
            PRIMARY KEY (thing, name)
        ) WITHOUT ROWID, STRICT;
        CREATE TABLE gg_telemetry (
            thing TEXT PRIMARY KEY NOT NULL,
            document TEXT NOT NULL,
            received INTEGER NOT NULL
        ) WITHOUT ROWID, STRICT;
        CREATE TABLE gg_association (
            core TEXT NOT NULL,
            client TEXT NOT NULL,
            created INTEGER NOT NULL,
            PRIMARY KEY (core, client)
        ) WITHOUT ROWID, STRICT;
        CREATE INDEX gg_association_client ON gg_association (client, core);
        CREATE TABLE gg_connectivity (
            thing TEXT PRIMARY KEY NOT NULL,
            addresses TEXT NOT NULL,
            version TEXT NOT NULL
        ) WITHOUT ROWID, STRICT;
        CREATE TABLE gg_authority (
            thing TEXT PRIMARY KEY NOT NULL,
            certificates TEXT NOT NULL
        ) WITHOUT ROWID, STRICT;
        CREATE TABLE gg_service_role (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            arn TEXT NOT NULL,
            associated INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE gg_tag (
            arn TEXT NOT NULL,
            name TEXT NOT NULL,
            value TEXT NOT NULL,
            PRIMARY KEY (arn, name)
        ) WITHOUT ROWID, STRICT;
        CREATE TABLE gg_token (
            operation TEXT NOT NULL,
            token TEXT NOT NULL,
            request TEXT NOT NULL,
            answer TEXT NOT NULL,
            created INTEGER NOT NULL,
            PRIMARY KEY (operation, token)
        ) WITHOUT ROWID, STRICT;
        CREATE INDEX gg_token_created ON gg_token (created);
    "],
};
