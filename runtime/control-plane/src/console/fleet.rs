//! What the fleet table asks: devices by name, group and health, a page at a time, and how many there are. Over the tables of
//! the registry and of Greengrass, which are only read here: no operation of the API answers this for 10,000 devices at once.

use crate::http::{ApiError, Timestamp};
use rusqlite::{Transaction, named_params};

/// Devices of a page.
pub const PAGE: i64 = 50;

/// Groups that are offered in lists.
pub const GROUPS: i64 = 2000;

/// Which devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Part of the name, or of an attribute's value; empty for all.
    pub search: String,
    /// Members of this group and of those below it; empty for all.
    pub group: String,
    /// `HEALTHY`, `UNHEALTHY`, `SILENT` for those that have not reported yet; empty for all.
    pub health: String,
}

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The thing's name.
    pub name: String,
    /// Empty when it has not reported.
    pub health: String,
    /// Of the core software.
    pub version: String,
    /// For example `linux`.
    pub platform: String,
    /// For example `aarch64`.
    pub architecture: String,
    /// When it reported last.
    pub seen: Option<Timestamp>,
    /// Groups that it is in itself.
    pub groups: Vec<String>,
}

/// How many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All.
    pub all: i64,
    /// Those whose components all work.
    pub healthy: i64,
    /// Those with a broken component.
    pub unhealthy: i64,
}

/// Connectivity information of a core is in the shadow of a thing of its own, which is no device.
const DEVICES: &str = "FROM iot_thing d LEFT JOIN gg_core c ON c.thing = d.name
     WHERE (:search = '' OR d.name LIKE :like ESCAPE '\\' OR EXISTS (
             SELECT 1 FROM iot_thing_attribute a WHERE a.thing = d.name AND a.value LIKE :like ESCAPE '\\'))
       AND (:group = '' OR d.name IN (
             WITH RECURSIVE below(name) AS (SELECT :group UNION SELECT g.name FROM iot_group g JOIN below ON g.parent = below.name)
             SELECT m.thing FROM iot_group_member m JOIN below ON m.grouped = below.name))
       AND (:health = '' OR coalesce(c.status, 'SILENT') = :health)
       AND NOT (d.name LIKE '%-gci' AND EXISTS (SELECT 1 FROM iot_thing o WHERE o.name || '-gci' = d.name))";

/// A page of devices by name, from 0, and how many the filter finds.
pub fn page(
    t: &Transaction<'_>,
    filter: &Filter,
    number: i64,
) -> Result<(Vec<Device>, i64), ApiError> {
    let mut like = filter.search.clone();
    for special in ['\\', '%', '_'] {
        like = like.replace(special, &format!("\\{special}"));
    }
    let like = format!("%{like}%");
    let found = t
        .prepare_cached(&format!("SELECT count(*) {DEVICES}"))?
        .query_row(
            named_params! { ":search": filter.search, ":like": like, ":group": filter.group, ":health": filter.health },
            |row| row.get(0),
        )?;
    let sql = format!(
        "SELECT d.name, c.status, c.version, c.platform, c.architecture, c.seen {DEVICES} ORDER BY d.name LIMIT :limit OFFSET :offset"
    );
    let mut statement = t.prepare_cached(&sql)?;
    let rows = statement.query_map(
        named_params! {
            ":search": filter.search, ":like": like, ":group": filter.group, ":health": filter.health,
            ":limit": PAGE, ":offset": number.saturating_mul(PAGE),
        },
        |row| {
            let text = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<String>>(column)?.unwrap_or_default());
            Ok(Device {
                name: row.get(0)?,
                health: text(1)?,
                version: text(2)?,
                platform: text(3)?,
                architecture: text(4)?,
                seen: row.get(5)?,
                groups: Vec::new(),
            })
        },
    )?;
    let mut devices = rows.collect::<Result<Vec<_>, _>>()?;
    let mut groups =
        t.prepare_cached("SELECT grouped FROM iot_group_member WHERE thing = ?1 ORDER BY grouped")?;
    for device in &mut devices {
        let rows = groups.query_map([&device.name], |row| row.get(0))?;
        device.groups = rows.collect::<Result<_, _>>()?;
    }
    Ok((devices, found))
}

/// How the whole fleet is.
pub fn counts(t: &Transaction<'_>) -> Result<Counts, ApiError> {
    let sql = "SELECT count(*), count(*) FILTER (WHERE c.status = 'HEALTHY'), count(*) FILTER (WHERE c.status = 'UNHEALTHY')
         FROM iot_thing d LEFT JOIN gg_core c ON c.thing = d.name
         WHERE NOT (d.name LIKE '%-gci' AND EXISTS (SELECT 1 FROM iot_thing o WHERE o.name || '-gci' = d.name))";
    let counts = t.prepare_cached(sql)?.query_row([], |row| {
        Ok(Counts {
            all: row.get(0)?,
            healthy: row.get(1)?,
            unhealthy: row.get(2)?,
        })
    })?;
    Ok(counts)
}

/// The names of all groups.
pub fn groups(t: &Transaction<'_>) -> Result<Vec<String>, ApiError> {
    let mut statement = t.prepare_cached("SELECT name FROM iot_group ORDER BY name LIMIT ?1")?;
    let rows = statement.query_map([GROUPS], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
