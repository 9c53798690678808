//! Static thing groups, nested at will, and who is in them.

use super::{
    memory::{self, Event},
    names, tags,
    things::{self, Attributes, Thing},
};
use crate::http::{ApiError, Context, Empty, Operation, Page, Timestamp, validate};
use rusqlite::{OptionalExtension, Row, Transaction};
use serde::{Deserialize, Serialize};

/// How deep groups may nest.
const MAX_DEPTH: usize = 7;

/// Groups that a thing may be in.
const MAX_GROUPS_OF_THING: i64 = 10;

/// The operations of groups.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            "CreateThingGroup",
            "POST /thing-groups/{thingGroupName}",
            create,
        ),
        Operation::new(
            "DescribeThingGroup",
            "GET /thing-groups/{thingGroupName}",
            describe,
        ),
        Operation::new("ListThingGroups", "GET /thing-groups", list),
        Operation::new(
            "UpdateThingGroup",
            "PATCH /thing-groups/{thingGroupName}",
            update,
        ),
        Operation::new(
            "DeleteThingGroup",
            "DELETE /thing-groups/{thingGroupName}",
            delete,
        ),
        Operation::new(
            "AddThingToThingGroup",
            "PUT /thing-groups/addThingToThingGroup",
            add_thing,
        ),
        Operation::new(
            "RemoveThingFromThingGroup",
            "PUT /thing-groups/removeThingFromThingGroup",
            remove_thing,
        ),
        Operation::new(
            "UpdateThingGroupsForThing",
            "PUT /thing-groups/updateThingGroupsForThing",
            update_groups,
        ),
        Operation::new(
            "ListThingsInThingGroup",
            "GET /thing-groups/{thingGroupName}/things",
            list_things,
        ),
        Operation::new(
            "ListThingGroupsForThing",
            "GET /things/{thingName}/thing-groups",
            list_groups,
        ),
    ]
}

/// A group as others need it.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// A UUID that no other group, now or later, has.
    pub id: String,
    /// The group it is in.
    pub parent: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// Attributes by name.
    pub attributes: Attributes,
    /// Counts up with every change.
    pub version: i64,
    /// When it was created.
    pub created: Timestamp,
}

impl Group {
    /// The group of a name.
    pub fn find(t: &Transaction<'_>, name: &str) -> Result<Option<Self>, ApiError> {
        let sql = "SELECT * FROM iot_group WHERE name = ?1";
        Ok(t.prepare_cached(sql)?
            .query_row([name], Self::read)
            .optional()?)
    }

    /// The group of a name, or the error that AWS IoT has for its absence.
    pub fn get(t: &Transaction<'_>, name: &str) -> Result<Self, ApiError> {
        Self::find(t, name)?.ok_or_else(|| not_found(name))
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let attributes: String = row.get("attributes")?;
        Ok(Self {
            name: row.get("name")?,
            id: row.get("id")?,
            parent: row.get("parent")?,
            description: row.get("description")?,
            attributes: serde_json::from_str(&attributes).unwrap_or_default(),
            version: row.get("version")?,
            created: row.get("created")?,
        })
    }

    /// The groups above it, the root first.
    pub fn above(&self, t: &Transaction<'_>) -> Result<Vec<String>, ApiError> {
        let mut above = Vec::new();
        let mut parent = self.parent.clone();
        while let Some(name) = parent {
            parent = Self::get(t, &name)?.parent;
            above.push(name);
        }
        above.reverse();
        Ok(above)
    }
}

/// What `ResourceNotFoundException` says about a group.
pub fn not_found(name: &str) -> ApiError {
    ApiError::not_found(format!("Thing group {name} not found"))
}

/// The groups that a thing is in, and with `above` those that these are in.
pub fn of_thing(t: &Transaction<'_>, thing: &str, above: bool) -> Result<Vec<String>, ApiError> {
    let sql = if above {
        "WITH RECURSIVE above(name) AS (
             SELECT grouped FROM iot_group_member WHERE thing = ?1
             UNION SELECT g.parent FROM iot_group g JOIN above ON g.name = above.name WHERE g.parent IS NOT NULL)
         SELECT name FROM above ORDER BY name"
    } else {
        "SELECT grouped FROM iot_group_member WHERE thing = ?1 ORDER BY grouped"
    };
    memory::texts(t, sql, thing)
}

/// The things in a group, and with `below` those in the groups within it.
pub fn members(t: &Transaction<'_>, group: &str, below: bool) -> Result<Vec<String>, ApiError> {
    let sql = if below {
        "WITH RECURSIVE below(name) AS (
             SELECT ?1 UNION SELECT g.name FROM iot_group g JOIN below ON g.parent = below.name)
         SELECT DISTINCT m.thing FROM iot_group_member m JOIN below ON m.grouped = below.name ORDER BY m.thing"
    } else {
        "SELECT thing FROM iot_group_member WHERE grouped = ?1 ORDER BY thing"
    };
    memory::texts(t, sql, group)
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Properties {
    #[serde(skip_serializing_if = "Option::is_none")]
    thing_group_description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attribute_payload: Option<AttributePayload>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AttributePayload {
    attributes: Attributes,
    #[serde(skip_serializing)]
    merge: bool,
}

impl Properties {
    fn check(&self) -> Result<(), ApiError> {
        if let Some(description) = &self.thing_group_description {
            validate::length(
                "thingGroupProperties.thingGroupDescription",
                description,
                0..=2028,
            )?;
        }
        match &self.attribute_payload {
            Some(payload) => things::check_attributes(&payload.attributes),
            None => Ok(()),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CreateInput {
    thing_group_name: String,
    parent_group_name: Option<String>,
    #[serde(default)]
    thing_group_properties: Properties,
    tags: Option<Vec<tags::Tag>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CreateOutput {
    thing_group_name: String,
    thing_group_arn: String,
    thing_group_id: String,
}

fn arn(context: &Context, group: &str) -> String {
    context.arn("iot", &format!("thinggroup/{group}"))
}

async fn create(context: Context, input: CreateInput) -> Result<CreateOutput, ApiError> {
    let name = input.thing_group_name;
    names::resource("thingGroupName", &name)?;
    let properties = input.thing_group_properties;
    properties.check()?;
    let own = arn(&context, &name);
    let (key, arn) = (name.clone(), own.clone());
    let id = context
        .database()
        .write(move |t| {
            let mut attributes = properties.attribute_payload.unwrap_or_default().attributes;
            attributes.retain(|_, value| !value.is_empty());
            let description = properties.thing_group_description;
            if let Some(found) = Group::find(t, &key)? {
                let same = found.parent == input.parent_group_name
                    && found.description == description
                    && found.attributes == attributes;
                if same {
                    return Ok(found.id);
                }
                let message = format!("Thing group {key} already exists in account with different properties");
                return Err(names::already_exists(message, &arn, &found.id));
            }
            if let Some(parent) = &input.parent_group_name {
                let above = Group::get(t, parent)?.above(t)?;
                // The parent and the new one are not among those above the parent.
                if above.len() + 2 > MAX_DEPTH {
                    return Err(ApiError::invalid(format!("Thing groups may nest at most {MAX_DEPTH} levels deep")));
                }
            }
            let id = names::uuid();
            t.execute(
                "INSERT INTO iot_group (name, id, parent, description, attributes, created) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                (&key, &id, input.parent_group_name, description, serde_json::to_string(&attributes)?, Timestamp::now()),
            )?;
            tags::put(t, &arn, input.tags.unwrap_or_default())?;
            Ok::<_, ApiError>(id)
        })
        .await?;
    Ok(CreateOutput {
        thing_group_name: name,
        thing_group_arn: own,
        thing_group_id: id,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NameInput {
    thing_group_name: String,
}

/// A group's name and ARN.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NameAndArn {
    group_name: String,
    group_arn: String,
}

impl NameAndArn {
    fn new(context: &Context, group: String) -> Self {
        Self {
            group_arn: arn(context, &group),
            group_name: group,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_group_name: Option<String>,
    root_to_parent_thing_groups: Vec<NameAndArn>,
    creation_date: Timestamp,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DescribeOutput {
    thing_group_name: String,
    thing_group_id: String,
    thing_group_arn: String,
    version: i64,
    thing_group_properties: Properties,
    thing_group_metadata: Metadata,
}

async fn describe(context: Context, input: NameInput) -> Result<DescribeOutput, ApiError> {
    let name = input.thing_group_name;
    names::resource("thingGroupName", &name)?;
    let (group, above) = context
        .database()
        .read(move |t| {
            let group = Group::get(t, &name)?;
            let above = group.above(t)?;
            Ok::<_, ApiError>((group, above))
        })
        .await?;
    let above = above
        .into_iter()
        .map(|name| NameAndArn::new(&context, name))
        .collect();
    Ok(DescribeOutput {
        thing_group_arn: arn(&context, &group.name),
        thing_group_name: group.name,
        thing_group_id: group.id,
        version: group.version,
        thing_group_properties: Properties {
            thing_group_description: group.description,
            attribute_payload: Some(AttributePayload {
                attributes: group.attributes,
                merge: false,
            }),
        },
        thing_group_metadata: Metadata {
            parent_group_name: group.parent,
            root_to_parent_thing_groups: above,
            creation_date: group.created,
        },
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListInput {
    next_token: Option<String>,
    max_results: Option<i64>,
    parent_group: Option<String>,
    name_prefix_filter: Option<String>,
    recursive: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListOutput {
    thing_groups: Vec<NameAndArn>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

async fn list(context: Context, input: ListInput) -> Result<ListOutput, ApiError> {
    let filters = format!(
        "{:?}{:?}{:?}",
        input.parent_group, input.name_prefix_filter, input.recursive
    );
    let token = input.next_token.as_deref();
    let page = Page::of(&context, input.max_results, 1..=250, 25, token, filters)?;
    let (after, fetch) = (page.after().unwrap_or_default().to_owned(), page.fetch());
    let found = context
        .database()
        .read(move |t| {
            if let Some(parent) = &input.parent_group {
                Group::get(t, parent)?;
            }
            // Without a parent all groups are listed, or with `recursive` false those at the root.
            let sql = match (&input.parent_group, input.recursive.unwrap_or(true)) {
                (Some(_), true) => {
                    "WITH RECURSIVE below(name) AS (
                         SELECT name FROM iot_group WHERE parent = ?1
                         UNION SELECT g.name FROM iot_group g JOIN below ON g.parent = below.name)
                     SELECT name FROM below WHERE name > ?2 AND substr(name, 1, length(?3)) = ?3 ORDER BY name LIMIT ?4"
                }
                (Some(_), false) => {
                    "SELECT name FROM iot_group WHERE parent = ?1 AND name > ?2 AND substr(name, 1, length(?3)) = ?3 ORDER BY name LIMIT ?4"
                }
                (None, true) => {
                    "SELECT name FROM iot_group WHERE ?1 IS NULL AND name > ?2 AND substr(name, 1, length(?3)) = ?3 ORDER BY name LIMIT ?4"
                }
                (None, false) => {
                    "SELECT name FROM iot_group WHERE parent IS ?1 AND name > ?2 AND substr(name, 1, length(?3)) = ?3 ORDER BY name LIMIT ?4"
                }
            };
            let mut statement = t.prepare_cached(sql)?;
            let values = (input.parent_group, after, input.name_prefix_filter.unwrap_or_default(), fetch);
            let rows = statement.query_map(values, |row| row.get(0))?;
            Ok::<_, ApiError>(rows.collect::<Result<Vec<String>, _>>()?)
        })
        .await?;
    let (found, next_token) = page.finish(found, Clone::clone);
    Ok(ListOutput {
        thing_groups: found
            .into_iter()
            .map(|name| NameAndArn::new(&context, name))
            .collect(),
        next_token,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UpdateInput {
    thing_group_name: String,
    thing_group_properties: Properties,
    expected_version: Option<i64>,
}

#[derive(Serialize)]
struct UpdateOutput {
    version: i64,
}

fn version(group: &Group, expected: Option<i64>) -> Result<(), ApiError> {
    match expected {
        Some(expected) if expected != group.version => Err(names::version_conflict(format!(
            "The version for thing group {} does not match the expected version.",
            group.name
        ))),
        _ => Ok(()),
    }
}

async fn update(context: Context, input: UpdateInput) -> Result<UpdateOutput, ApiError> {
    let name = input.thing_group_name;
    names::resource("thingGroupName", &name)?;
    let properties = input.thing_group_properties;
    properties.check()?;
    context
        .database()
        .write(move |t| {
            let mut group = Group::get(t, &name)?;
            version(&group, input.expected_version)?;
            if let Some(payload) = properties.attribute_payload {
                if !payload.merge {
                    group.attributes.clear();
                }
                group.attributes.extend(payload.attributes);
                group.attributes.retain(|_, value| !value.is_empty());
            }
            let description = properties.thing_group_description.or(group.description);
            let version = group.version + 1;
            t.execute(
                "UPDATE iot_group SET description = ?2, attributes = ?3, version = ?4 WHERE name = ?1",
                (name, description, serde_json::to_string(&group.attributes)?, version),
            )?;
            Ok(UpdateOutput { version })
        })
        .await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeleteInput {
    thing_group_name: String,
    expected_version: Option<i64>,
}

/// A group that is not there is deleted already: AWS IoT answers the same.
async fn delete(context: Context, input: DeleteInput) -> Result<Empty, ApiError> {
    let name = input.thing_group_name;
    names::resource("thingGroupName", &name)?;
    let (key, arn) = (name.clone(), arn(&context, &name));
    let affected = context
        .database()
        .write(move |t| {
            let Some(group) = Group::find(t, &key)? else {
                return Ok(None);
            };
            version(&group, input.expected_version)?;
            let exists = |sql| t.query_row(sql, [&key], |row| row.get::<_, bool>(0));
            if exists("SELECT EXISTS (SELECT 1 FROM iot_group WHERE parent = ?1)")? {
                return Err(ApiError::invalid(format!(
                    "Cannot delete. Thing group {key} still has child thing groups attached to it"
                )));
            }
            if exists("SELECT EXISTS (SELECT 1 FROM iot_group_policy WHERE grouped = ?1)")? {
                return Err(ApiError::invalid(format!(
                    "Cannot delete. Thing group {key} still has policies attached to it"
                )));
            }
            let affected = memory::certificates_of_group(t, &key)?;
            t.execute("DELETE FROM iot_group WHERE name = ?1", [&key])?;
            tags::clear(t, &arn)?;
            Ok::<_, ApiError>(Some(affected))
        })
        .await?;
    if let Some(affected) = affected {
        context.state.registry.refresh(affected).await?;
        context
            .state
            .registry
            .tell(Event::GroupDeleted { group: name });
    }
    Ok(Empty {})
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MembershipInput {
    thing_group_name: Option<String>,
    thing_group_arn: Option<String>,
    thing_name: Option<String>,
    thing_arn: Option<String>,
}

impl MembershipInput {
    /// Group and thing, each named or by its ARN; an ARN must agree with a name.
    fn names(self) -> Result<(String, String), ApiError> {
        let group = one(
            self.thing_group_name,
            self.thing_group_arn.as_deref(),
            "thinggroup",
            "thingGroup",
        )?;
        let thing = one(self.thing_name, self.thing_arn.as_deref(), "thing", "thing")?;
        Ok((group, thing))
    }
}

fn one(
    name: Option<String>,
    arn: Option<&str>,
    kind: &str,
    member: &str,
) -> Result<String, ApiError> {
    let by_arn = match arn {
        None => None,
        Some(arn) => match names::of_arn(arn, kind) {
            Some(name) => Some(name.to_owned()),
            None => {
                return Err(ApiError::invalid(format!(
                    "{member}Arn {arn} is not the ARN of a {kind}"
                )));
            }
        },
    };
    match (name, by_arn) {
        (Some(name), Some(other)) if name != other => Err(ApiError::invalid(format!(
            "{member}Name {name} and {member}Arn do not name the same"
        ))),
        (Some(name), _) | (None, Some(name)) => Ok(name),
        (None, None) => Err(ApiError::invalid(format!(
            "{member}Name or {member}Arn must be given"
        ))),
    }
}

/// Puts a thing into a group; whether it was not in it before, and the certificates whose policies that alters.
pub fn put(t: &Transaction<'_>, group: &str, thing: &str) -> Result<Option<Vec<String>>, ApiError> {
    Group::get(t, group)?;
    Thing::get(t, thing)?;
    let sql = "INSERT OR IGNORE INTO iot_group_member (grouped, thing) VALUES (?1, ?2)";
    if t.prepare_cached(sql)?.execute((group, thing))? == 0 {
        return Ok(None);
    }
    let sql = "SELECT count(*) FROM iot_group_member WHERE thing = ?1";
    let count: i64 = t
        .prepare_cached(sql)?
        .query_row([thing], |row| row.get(0))?;
    if count > MAX_GROUPS_OF_THING {
        return Err(ApiError::invalid(format!(
            "A thing may be in at most {MAX_GROUPS_OF_THING} thing groups"
        )));
    }
    memory::certificates_of_thing(t, thing).map(Some)
}

pub(super) fn take(
    t: &Transaction<'_>,
    group: &str,
    thing: &str,
) -> Result<Option<Vec<String>>, ApiError> {
    Group::get(t, group)?;
    Thing::get(t, thing)?;
    let sql = "DELETE FROM iot_group_member WHERE grouped = ?1 AND thing = ?2";
    if t.execute(sql, (group, thing))? == 0 {
        return Ok(None);
    }
    memory::certificates_of_thing(t, thing).map(Some)
}

async fn add_thing(context: Context, input: MembershipInput) -> Result<Empty, ApiError> {
    let (group, thing) = input.names()?;
    change(&context, &[group], &[], &thing).await
}

async fn remove_thing(context: Context, input: MembershipInput) -> Result<Empty, ApiError> {
    let (group, thing) = input.names()?;
    change(&context, &[], &[group], &thing).await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UpdateGroupsInput {
    thing_name: Option<String>,
    #[serde(default)]
    thing_groups_to_add: Vec<String>,
    #[serde(default)]
    thing_groups_to_remove: Vec<String>,
}

async fn update_groups(context: Context, input: UpdateGroupsInput) -> Result<Empty, ApiError> {
    let Some(thing) = input.thing_name else {
        return Err(ApiError::invalid("thingName must be given"));
    };
    change(
        &context,
        &input.thing_groups_to_add,
        &input.thing_groups_to_remove,
        &thing,
    )
    .await
}

/// Alters a thing's memberships, all or none, and tells of those that are new or gone.
async fn change(
    context: &Context,
    add: &[String],
    remove: &[String],
    thing: &str,
) -> Result<Empty, ApiError> {
    let (adding, removing, key) = (add.to_vec(), remove.to_vec(), thing.to_owned());
    let (events, affected) = context
        .database()
        .write(move |t| {
            let mut events = Vec::new();
            let mut affected = Vec::new();
            for group in removing {
                if let Some(certificates) = take(t, &group, &key)? {
                    affected.extend(certificates);
                    events.push(Event::ThingRemoved {
                        thing: key.clone(),
                        group,
                    });
                }
            }
            for group in adding {
                if let Some(certificates) = put(t, &group, &key)? {
                    affected.extend(certificates);
                    events.push(Event::ThingAdded {
                        thing: key.clone(),
                        group,
                    });
                }
            }
            Ok::<_, ApiError>((events, affected))
        })
        .await?;
    context.state.registry.refresh(affected).await?;
    for event in events {
        context.state.registry.tell(event);
    }
    Ok(Empty {})
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListThingsInput {
    thing_group_name: String,
    #[serde(default)]
    recursive: bool,
    next_token: Option<String>,
    max_results: Option<i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListThingsOutput {
    things: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

async fn list_things(
    context: Context,
    input: ListThingsInput,
) -> Result<ListThingsOutput, ApiError> {
    let name = input.thing_group_name;
    let recursive = input.recursive;
    let token = input.next_token.as_deref();
    let page = Page::of(
        &context,
        input.max_results,
        1..=250,
        25,
        token,
        format!("{name}\0{recursive}"),
    )?;
    let (after, fetch) = (page.after().unwrap_or_default().to_owned(), page.fetch());
    let found = context
        .database()
        .read(move |t| {
            Group::get(t, &name)?;
            let sql = if recursive {
                "WITH RECURSIVE below(name) AS (
                     SELECT ?1 UNION SELECT g.name FROM iot_group g JOIN below ON g.parent = below.name)
                 SELECT DISTINCT m.thing FROM iot_group_member m JOIN below ON m.grouped = below.name
                 WHERE m.thing > ?2 ORDER BY m.thing LIMIT ?3"
            } else {
                "SELECT thing FROM iot_group_member WHERE grouped = ?1 AND thing > ?2 ORDER BY thing LIMIT ?3"
            };
            let mut statement = t.prepare_cached(sql)?;
            let rows = statement.query_map((name, after, fetch), |row| row.get(0))?;
            Ok::<_, ApiError>(rows.collect::<Result<Vec<String>, _>>()?)
        })
        .await?;
    let (things, next_token) = page.finish(found, Clone::clone);
    Ok(ListThingsOutput { things, next_token })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListGroupsInput {
    thing_name: String,
    next_token: Option<String>,
    max_results: Option<i64>,
}

async fn list_groups(context: Context, input: ListGroupsInput) -> Result<ListOutput, ApiError> {
    let name = input.thing_name;
    let token = input.next_token.as_deref();
    let page = Page::of(&context, input.max_results, 1..=250, 25, token, &name)?;
    let after = page.after().unwrap_or_default().to_owned();
    let found = context
        .database()
        .read(move |t| {
            Thing::get(t, &name)?;
            of_thing(t, &name, false)
        })
        .await?;
    let found = found.into_iter().filter(|group| *group > after).collect();
    let (found, next_token) = page.finish(found, Clone::clone);
    Ok(ListOutput {
        thing_groups: found
            .into_iter()
            .map(|name| NameAndArn::new(&context, name))
            .collect(),
        next_token,
    })
}
