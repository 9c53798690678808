//! Things and their attributes.

use super::{memory::Event, names, tags, types};
use crate::http::{ApiError, Context, Empty, Operation, Page, Timestamp, validate};
use rusqlite::{OptionalExtension, Row, Transaction};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Attributes of a thing without a type.
const MAX_ATTRIBUTES: usize = 3;

/// Attributes of a thing with a type.
const MAX_ATTRIBUTES_WITH_TYPE: usize = 50;

/// Attributes by name.
pub type Attributes = BTreeMap<String, String>;

/// The operations of things.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::new("CreateThing", "POST /things/{thingName}", create),
        Operation::new("DescribeThing", "GET /things/{thingName}", describe),
        Operation::new("ListThings", "GET /things", list),
        Operation::new("UpdateThing", "PATCH /things/{thingName}", update),
        Operation::new("DeleteThing", "DELETE /things/{thingName}", delete),
    ]
}

/// A thing as others need it.
#[derive(Clone, Debug)]
pub struct Thing {
    /// Its name.
    pub name: String,
    /// A UUID that no other thing, now or later, has.
    pub id: String,
    /// Its type.
    pub kind: Option<String>,
    /// Counts up with every change.
    pub version: i64,
    /// Attributes by name.
    pub attributes: Attributes,
}

impl Thing {
    /// The thing of a name.
    pub fn find(t: &Transaction<'_>, name: &str) -> Result<Option<Self>, ApiError> {
        let sql = "SELECT name, id, type, version FROM iot_thing WHERE name = ?1";
        let Some(mut found) = t
            .prepare_cached(sql)?
            .query_row([name], Self::read)
            .optional()?
        else {
            return Ok(None);
        };
        found.attributes = attributes(t, name)?;
        Ok(Some(found))
    }

    /// The thing of a name, or the error that AWS IoT has for its absence.
    pub fn get(t: &Transaction<'_>, name: &str) -> Result<Self, ApiError> {
        Self::find(t, name)?.ok_or_else(|| not_found(name))
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            name: row.get("name")?,
            id: row.get("id")?,
            kind: row.get("type")?,
            version: row.get("version")?,
            attributes: Attributes::new(),
        })
    }
}

/// What `ResourceNotFoundException` says about a thing.
pub fn not_found(name: &str) -> ApiError {
    ApiError::not_found(format!("Thing {name} not found"))
}

fn attributes(t: &Transaction<'_>, thing: &str) -> Result<Attributes, ApiError> {
    let sql = "SELECT name, value FROM iot_thing_attribute WHERE thing = ?1";
    let mut statement = t.prepare_cached(sql)?;
    let rows = statement.query_map([thing], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Checks an attribute's name.
pub(super) fn attribute_name(name: &str) -> Result<(), ApiError> {
    let allowed = |c: char| {
        c.is_ascii_alphanumeric()
            || matches!(
                c,
                '_' | '.' | ',' | '@' | '/' | ':' | '#' | '=' | '[' | ']' | '-'
            )
    };
    validate::name(
        "attributePayload.attributes",
        name,
        1..=128,
        allowed,
        "[a-zA-Z0-9_.,@/:#=\\[\\]-]+",
    )
}

/// Checks attributes' names and values.
pub(super) fn check_attributes(attributes: &Attributes) -> Result<(), ApiError> {
    for (name, value) in attributes {
        attribute_name(name)?;
        let allowed = |c: char| {
            c.is_ascii_alphanumeric()
                || matches!(
                    c,
                    '_' | '.' | ',' | '@' | '/' | ':' | '#' | '=' | '[' | ']' | '-'
                )
        };
        validate::name(
            "attributePayload.attributes",
            value,
            0..=800,
            allowed,
            "[a-zA-Z0-9_.,@/:#=\\[\\]-]*",
        )?;
    }
    Ok(())
}

fn count_attributes(attributes: &Attributes, kind: Option<&str>) -> Result<(), ApiError> {
    let limit = if kind.is_some() {
        MAX_ATTRIBUTES_WITH_TYPE
    } else {
        MAX_ATTRIBUTES
    };
    if attributes.len() <= limit {
        return Ok(());
    }
    Err(ApiError::invalid(format!(
        "A thing {} a thing type may have at most {limit} attributes",
        if kind.is_some() { "with" } else { "without" }
    )))
}

/// How attributes are to change.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AttributePayload {
    attributes: Attributes,
    merge: bool,
}

impl AttributePayload {
    /// Attributes to set, or with `merge` to add.
    pub fn new(attributes: Attributes, merge: bool) -> Self {
        Self { attributes, merge }
    }
}

/// A new thing, by request or by a provisioning template.
#[derive(Clone, Debug, Default)]
pub struct NewThing {
    /// Its name.
    pub name: String,
    /// Its type, which must exist.
    pub kind: Option<String>,
    /// Its attributes.
    pub attributes: Attributes,
}

/// Adds a thing, or finds the one that is there already and is the same.
pub fn add(t: &Transaction<'_>, new: &NewThing, arn: &str) -> Result<Thing, ApiError> {
    names::resource("thingName", &new.name)?;
    check_attributes(&new.attributes)?;
    count_attributes(&new.attributes, new.kind.as_deref())?;
    // An attribute without a value is none.
    let mut attributes = new.attributes.clone();
    attributes.retain(|_, value| !value.is_empty());
    if let Some(found) = Thing::find(t, &new.name)? {
        if found.kind == new.kind && found.attributes == attributes {
            return Ok(found);
        }
        let message = format!(
            "Thing {} already exists in account with different tags, attributes or thing type",
            new.name
        );
        return Err(names::already_exists(message, arn, &found.id));
    }
    if let Some(kind) = &new.kind {
        types::usable(t, kind)?;
    }
    let thing = Thing {
        name: new.name.clone(),
        id: names::uuid(),
        kind: new.kind.clone(),
        version: 1,
        attributes,
    };
    t.prepare_cached("INSERT INTO iot_thing (name, id, type, created) VALUES (?1, ?2, ?3, ?4)")?
        .execute((&thing.name, &thing.id, &thing.kind, Timestamp::now()))?;
    write_attributes(t, &thing.name, &thing.attributes)?;
    Ok(thing)
}

fn write_attributes(
    t: &Transaction<'_>,
    thing: &str,
    attributes: &Attributes,
) -> Result<(), ApiError> {
    t.prepare_cached("DELETE FROM iot_thing_attribute WHERE thing = ?1")?
        .execute([thing])?;
    let mut insert = t.prepare_cached(
        "INSERT INTO iot_thing_attribute (thing, name, value) VALUES (?1, ?2, ?3)",
    )?;
    for (name, value) in attributes {
        insert.execute((thing, name, value))?;
    }
    Ok(())
}

/// Changes type and attributes. `expected` is the version that the caller has seen.
pub fn change(
    t: &Transaction<'_>,
    name: &str,
    kind: Option<Option<String>>,
    payload: Option<AttributePayload>,
    expected: Option<i64>,
) -> Result<(), ApiError> {
    let mut thing = Thing::get(t, name)?;
    version(&thing, expected)?;
    if let Some(kind) = kind {
        if let Some(kind) = &kind {
            types::usable(t, kind)?;
        }
        thing.kind = kind;
    }
    if let Some(payload) = payload {
        check_attributes(&payload.attributes)?;
        if !payload.merge {
            thing.attributes.clear();
        }
        thing.attributes.extend(payload.attributes);
        thing.attributes.retain(|_, value| !value.is_empty());
    }
    count_attributes(&thing.attributes, thing.kind.as_deref())?;
    t.execute(
        "UPDATE iot_thing SET type = ?2, version = version + 1 WHERE name = ?1",
        (name, &thing.kind),
    )?;
    write_attributes(t, name, &thing.attributes)
}

fn version(thing: &Thing, expected: Option<i64>) -> Result<(), ApiError> {
    match expected {
        Some(expected) if expected != thing.version => Err(names::version_conflict(format!(
            "The version for thing {} does not match the expected version.",
            thing.name
        ))),
        _ => Ok(()),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CreateInput {
    thing_name: String,
    thing_type_name: Option<String>,
    #[serde(default)]
    attribute_payload: AttributePayload,
    billing_group_name: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CreateOutput {
    thing_name: String,
    thing_arn: String,
    thing_id: String,
}

async fn create(context: Context, input: CreateInput) -> Result<CreateOutput, ApiError> {
    if let Some(group) = input.billing_group_name {
        return Err(ApiError::not_found(format!(
            "Billing group {group} not found"
        )));
    }
    let arn = context.arn("iot", &format!("thing/{}", input.thing_name));
    let new = NewThing {
        name: input.thing_name,
        kind: input.thing_type_name,
        attributes: input.attribute_payload.attributes,
    };
    let own = arn.clone();
    let thing = context
        .database()
        .write(move |t| add(t, &new, &own))
        .await?;
    context.state.registry.tell(Event::ThingCreated {
        thing: thing.name.clone(),
    });
    Ok(CreateOutput {
        thing_name: thing.name,
        thing_arn: arn,
        thing_id: thing.id,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NameInput {
    thing_name: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DescribeOutput {
    default_client_id: String,
    thing_name: String,
    thing_id: String,
    thing_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    thing_type_name: Option<String>,
    attributes: Attributes,
    version: i64,
}

async fn describe(context: Context, input: NameInput) -> Result<DescribeOutput, ApiError> {
    let name = input.thing_name;
    names::resource("thingName", &name)?;
    let thing = context
        .database()
        .read(move |t| Thing::get(t, &name))
        .await?;
    Ok(DescribeOutput {
        default_client_id: thing.name.clone(),
        thing_arn: context.arn("iot", &format!("thing/{}", thing.name)),
        thing_name: thing.name,
        thing_id: thing.id,
        thing_type_name: thing.kind,
        attributes: thing.attributes,
        version: thing.version,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListInput {
    next_token: Option<String>,
    max_results: Option<i64>,
    attribute_name: Option<String>,
    attribute_value: Option<String>,
    thing_type_name: Option<String>,
    #[serde(default)]
    use_prefix_attribute_value: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListItem {
    thing_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    thing_type_name: Option<String>,
    thing_arn: String,
    attributes: Attributes,
    version: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListOutput {
    things: Vec<ListItem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

async fn list(context: Context, input: ListInput) -> Result<ListOutput, ApiError> {
    if input.attribute_value.is_some() && input.attribute_name.is_none() {
        return Err(ApiError::invalid(
            "attributeName is required when attributeValue is specified",
        ));
    }
    let filters = format!(
        "{:?}{:?}{:?}{}",
        input.attribute_name,
        input.attribute_value,
        input.thing_type_name,
        input.use_prefix_attribute_value
    );
    let token = input.next_token.as_deref();
    let page = Page::of(&context, input.max_results, 1..=250, 25, token, filters)?;
    let (after, fetch) = (page.after().unwrap_or_default().to_owned(), page.fetch());
    let things = context
        .database()
        .read(move |t| {
            // Each filter has its index; without any it is the primary key's order.
            let sql = match (&input.attribute_name, &input.thing_type_name) {
                (Some(_), _) => {
                    "SELECT t.name, t.id, t.type, t.version FROM iot_thing_attribute a JOIN iot_thing t ON t.name = a.thing
                     WHERE a.name = ?3 AND (?4 IS NULL OR a.value = ?4 OR (?5 AND substr(a.value, 1, length(?4)) = ?4))
                       AND t.name > ?1 AND (?6 IS NULL OR t.type = ?6) ORDER BY t.name LIMIT ?2"
                }
                (None, Some(_)) => {
                    "SELECT name, id, type, version FROM iot_thing
                     WHERE type = ?6 AND name > ?1 AND ?3 IS NULL AND ?4 IS NULL AND ?5 IN (0, 1) ORDER BY name LIMIT ?2"
                }
                (None, None) => {
                    "SELECT name, id, type, version FROM iot_thing
                     WHERE name > ?1 AND ?3 IS NULL AND ?4 IS NULL AND ?5 IN (0, 1) AND ?6 IS NULL ORDER BY name LIMIT ?2"
                }
            };
            let mut statement = t.prepare_cached(sql)?;
            let values = (
                after,
                fetch,
                input.attribute_name,
                input.attribute_value,
                input.use_prefix_attribute_value,
                input.thing_type_name,
            );
            let rows = statement.query_map(values, Thing::read)?;
            let mut things = rows.collect::<Result<Vec<_>, _>>()?;
            for thing in &mut things {
                thing.attributes = attributes(t, &thing.name)?;
            }
            Ok::<_, ApiError>(things)
        })
        .await?;
    let (things, next_token) = page.finish(things, |thing| thing.name.clone());
    let item = |thing: Thing| ListItem {
        thing_arn: context.arn("iot", &format!("thing/{}", thing.name)),
        thing_name: thing.name,
        thing_type_name: thing.kind,
        attributes: thing.attributes,
        version: thing.version,
    };
    Ok(ListOutput {
        things: things.into_iter().map(item).collect(),
        next_token,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UpdateInput {
    thing_name: String,
    thing_type_name: Option<String>,
    attribute_payload: Option<AttributePayload>,
    expected_version: Option<i64>,
    #[serde(default)]
    remove_thing_type: bool,
}

async fn update(context: Context, input: UpdateInput) -> Result<Empty, ApiError> {
    let name = input.thing_name;
    names::resource("thingName", &name)?;
    if input.remove_thing_type && input.thing_type_name.is_some() {
        return Err(ApiError::invalid(
            "removeThingType and thingTypeName can not be used together",
        ));
    }
    let kind = match input.thing_type_name {
        Some(kind) => Some(Some(kind)),
        None if input.remove_thing_type => Some(None),
        None => None,
    };
    let (payload, expected) = (input.attribute_payload, input.expected_version);
    let affected = context
        .database()
        .write(move |t| {
            change(t, &name, kind, payload, expected)?;
            super::memory::certificates_of_thing(t, &name)
        })
        .await?;
    context.state.registry.refresh(affected).await?;
    Ok(Empty {})
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeleteInput {
    thing_name: String,
    expected_version: Option<i64>,
}

/// A thing that is not there is deleted already: AWS IoT answers the same.
async fn delete(context: Context, input: DeleteInput) -> Result<Empty, ApiError> {
    let name = input.thing_name;
    names::resource("thingName", &name)?;
    let (key, expected) = (name.clone(), input.expected_version);
    let arn = context.arn("iot", &format!("thing/{name}"));
    let deleted = context
        .database()
        .write(move |t| {
            let Some(thing) = Thing::find(t, &key)? else {
                return Ok(false);
            };
            version(&thing, expected)?;
            let sql = "SELECT EXISTS (SELECT 1 FROM iot_thing_principal WHERE thing = ?1)";
            if t.query_row(sql, [&key], |row| row.get(0))? {
                return Err(ApiError::invalid(format!(
                    "Cannot delete. Thing {key} is still attached to one or more principals"
                )));
            }
            t.execute("DELETE FROM iot_thing WHERE name = ?1", [&key])?;
            tags::clear(t, &arn)?;
            Ok::<_, ApiError>(true)
        })
        .await?;
    if deleted {
        context
            .state
            .registry
            .tell(Event::ThingDeleted { thing: name });
    }
    Ok(Empty {})
}
