//! Things, their types and groups, certificates, policies, role aliases and provisioning templates.
//!
//! Operations read and write the tables here. What connections need to know at once (may this certificate publish there?)
//! is kept in memory by [`principals`], which every write that can alter an answer tells about it.

pub mod aliases;
pub mod arrivals;
pub mod authorities;
pub mod authorization;
pub mod certificates;
pub mod endpoint;
pub mod groups;
pub mod memory;
pub mod names;
pub mod policies;
pub mod principals;
pub mod provision;
pub mod tags;
pub mod template;
pub mod templates;
pub mod things;
pub mod types;
pub mod x509;

pub use memory::{Event, Principal, Registry};

use crate::http::Operation;

use store::Schema;

/// Everything that the registry keeps.
pub const SCHEMA: Schema = Schema {
    name: "iot",
    migrations: &["
        CREATE TABLE iot_thing_type (
            name TEXT PRIMARY KEY NOT NULL,
            id TEXT NOT NULL,
            description TEXT,
            searchable TEXT NOT NULL,
            deprecated INTEGER,
            created INTEGER NOT NULL
        ) WITHOUT ROWID, STRICT;
        CREATE TABLE iot_thing (
            name TEXT PRIMARY KEY NOT NULL,
            id TEXT NOT NULL UNIQUE,
            type TEXT REFERENCES iot_thing_type (name),
            version INTEGER NOT NULL DEFAULT 1,
            created INTEGER NOT NULL
        ) WITHOUT ROWID, STRICT;
        CREATE INDEX iot_thing_of_type ON iot_thing (type, name) WHERE type IS NOT NULL;
        CREATE TABLE iot_thing_attribute (
            thing TEXT NOT NULL REFERENCES iot_thing (name) ON DELETE CASCADE,
            name TEXT NOT NULL,
            value TEXT NOT NULL,
            PRIMARY KEY (thing, name)
        ) WITHOUT ROWID, STRICT;
        CREATE INDEX iot_thing_attribute_value ON iot_thing_attribute (name, value, thing);
        CREATE TABLE iot_group (
            name TEXT PRIMARY KEY NOT NULL,
            id TEXT NOT NULL UNIQUE,
            parent TEXT REFERENCES iot_group (name),
            description TEXT,
            attributes TEXT NOT NULL,
            version INTEGER NOT NULL DEFAULT 1,
            created INTEGER NOT NULL
        ) WITHOUT ROWID, STRICT;
        CREATE INDEX iot_group_parent ON iot_group (parent, name);
        CREATE TABLE iot_group_member (
            grouped TEXT NOT NULL REFERENCES iot_group (name) ON DELETE CASCADE,
            thing TEXT NOT NULL REFERENCES iot_thing (name) ON DELETE CASCADE,
            PRIMARY KEY (grouped, thing)
        ) WITHOUT ROWID, STRICT;
        CREATE INDEX iot_group_member_thing ON iot_group_member (thing, grouped);
        CREATE TABLE iot_certificate (
            id TEXT PRIMARY KEY NOT NULL,
            pem TEXT NOT NULL,
            status TEXT NOT NULL,
            mode TEXT NOT NULL,
            authority TEXT,
            created INTEGER NOT NULL,
            modified INTEGER NOT NULL,
            customer_version INTEGER NOT NULL DEFAULT 1,
            not_before INTEGER NOT NULL,
            not_after INTEGER NOT NULL
        ) WITHOUT ROWID, STRICT;
        CREATE INDEX iot_certificate_created ON iot_certificate (created, id);
        CREATE TABLE iot_authority (
            id TEXT PRIMARY KEY NOT NULL,
            pem TEXT NOT NULL,
            status TEXT NOT NULL,
            mode TEXT NOT NULL,
            auto_registration TEXT NOT NULL,
            registration TEXT,
            created INTEGER NOT NULL,
            modified INTEGER NOT NULL,
            customer_version INTEGER NOT NULL DEFAULT 1,
            not_before INTEGER NOT NULL,
            not_after INTEGER NOT NULL
        ) WITHOUT ROWID, STRICT;
        CREATE TABLE iot_thing_principal (
            thing TEXT NOT NULL REFERENCES iot_thing (name),
            certificate TEXT NOT NULL REFERENCES iot_certificate (id),
            exclusive INTEGER NOT NULL DEFAULT 0,
            PRIMARY KEY (thing, certificate)
        ) WITHOUT ROWID, STRICT;
        CREATE INDEX iot_thing_principal_certificate ON iot_thing_principal (certificate, thing);
        CREATE TABLE iot_policy (
            name TEXT PRIMARY KEY NOT NULL,
            default_version INTEGER NOT NULL,
            last_version INTEGER NOT NULL,
            created INTEGER NOT NULL,
            modified INTEGER NOT NULL
        ) WITHOUT ROWID, STRICT;
        CREATE TABLE iot_policy_version (
            policy TEXT NOT NULL REFERENCES iot_policy (name) ON DELETE CASCADE,
            version INTEGER NOT NULL,
            document TEXT NOT NULL,
            created INTEGER NOT NULL,
            PRIMARY KEY (policy, version)
        ) WITHOUT ROWID, STRICT;
        CREATE TABLE iot_certificate_policy (
            certificate TEXT NOT NULL REFERENCES iot_certificate (id),
            policy TEXT NOT NULL REFERENCES iot_policy (name),
            PRIMARY KEY (certificate, policy)
        ) WITHOUT ROWID, STRICT;
        CREATE INDEX iot_certificate_policy_policy ON iot_certificate_policy (policy, certificate);
        CREATE TABLE iot_group_policy (
            grouped TEXT NOT NULL REFERENCES iot_group (name),
            policy TEXT NOT NULL REFERENCES iot_policy (name),
            PRIMARY KEY (grouped, policy)
        ) WITHOUT ROWID, STRICT;
        CREATE INDEX iot_group_policy_policy ON iot_group_policy (policy, grouped);
        CREATE TABLE iot_role_alias (
            name TEXT PRIMARY KEY NOT NULL,
            role_arn TEXT NOT NULL,
            duration INTEGER NOT NULL,
            created INTEGER NOT NULL,
            modified INTEGER NOT NULL
        ) WITHOUT ROWID, STRICT;
        CREATE TABLE iot_template (
            name TEXT PRIMARY KEY NOT NULL,
            description TEXT,
            enabled INTEGER NOT NULL,
            role_arn TEXT NOT NULL,
            hook TEXT,
            kind TEXT NOT NULL,
            default_version INTEGER NOT NULL,
            last_version INTEGER NOT NULL,
            created INTEGER NOT NULL,
            modified INTEGER NOT NULL
        ) WITHOUT ROWID, STRICT;
        CREATE TABLE iot_template_version (
            template TEXT NOT NULL REFERENCES iot_template (name) ON DELETE CASCADE,
            version INTEGER NOT NULL,
            body TEXT NOT NULL,
            created INTEGER NOT NULL,
            PRIMARY KEY (template, version)
        ) WITHOUT ROWID, STRICT;
        CREATE TABLE iot_claim (
            certificate TEXT PRIMARY KEY NOT NULL REFERENCES iot_certificate (id) ON DELETE CASCADE,
            template TEXT NOT NULL,
            expires INTEGER NOT NULL
        ) WITHOUT ROWID, STRICT;
        CREATE TABLE iot_tag (
            arn TEXT NOT NULL,
            name TEXT NOT NULL,
            value TEXT NOT NULL,
            PRIMARY KEY (arn, name)
        ) WITHOUT ROWID, STRICT;
        CREATE TABLE iot_setting (
            name TEXT PRIMARY KEY NOT NULL,
            value TEXT NOT NULL
        ) WITHOUT ROWID, STRICT;
    "],
};

/// Every operation of the registry.
pub fn operations() -> Vec<Operation> {
    [
        things::operations(),
        types::operations(),
        groups::operations(),
        certificates::operations(),
        authorities::operations(),
        principals::operations(),
        policies::operations(),
        authorization::operations(),
        aliases::operations(),
        templates::operations(),
        tags::operations(),
        endpoint::operations(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
