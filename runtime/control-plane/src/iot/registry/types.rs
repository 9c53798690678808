//! Thing types.

use super::names;
use crate::http::{ApiError, Context, Empty, Operation, Page, Timestamp, validate};
use rusqlite::{OptionalExtension, Row, Transaction};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long after its deprecation a type may be deleted.
const REST: Duration = Duration::from_secs(5 * 60);

/// Searchable attributes a type may have.
const MAX_SEARCHABLE: usize = 3;

/// The operations of thing types.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            "CreateThingType",
            "POST /thing-types/{thingTypeName}",
            create,
        ),
        Operation::new(
            "DescribeThingType",
            "GET /thing-types/{thingTypeName}",
            describe,
        ),
        Operation::new("ListThingTypes", "GET /thing-types", list),
        Operation::new(
            "DeprecateThingType",
            "POST /thing-types/{thingTypeName}/deprecate",
            deprecate,
        ),
        Operation::new(
            "DeleteThingType",
            "DELETE /thing-types/{thingTypeName}",
            delete,
        ),
    ]
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Properties {
    #[serde(skip_serializing_if = "Option::is_none")]
    thing_type_description: Option<String>,
    searchable_attributes: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    deprecated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    deprecation_date: Option<Timestamp>,
    creation_date: Timestamp,
}

#[derive(Debug)]
struct ThingType {
    name: String,
    id: String,
    properties: Properties,
    metadata: Metadata,
}

impl ThingType {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let searchable: String = row.get("searchable")?;
        let deprecated: Option<Timestamp> = row.get("deprecated")?;
        Ok(Self {
            name: row.get("name")?,
            id: row.get("id")?,
            properties: Properties {
                thing_type_description: row.get("description")?,
                searchable_attributes: serde_json::from_str(&searchable).unwrap_or_default(),
            },
            metadata: Metadata {
                deprecated: deprecated.is_some(),
                deprecation_date: deprecated,
                creation_date: row.get("created")?,
            },
        })
    }

    fn find(t: &Transaction<'_>, name: &str) -> Result<Option<Self>, ApiError> {
        let sql = "SELECT * FROM iot_thing_type WHERE name = ?1";
        Ok(t.query_row(sql, [name], Self::read).optional()?)
    }
}

/// A type for a thing to have: it must exist, and not be deprecated.
pub(super) fn usable(t: &Transaction<'_>, name: &str) -> Result<(), ApiError> {
    match ThingType::find(t, name)? {
        None => Err(not_found(name)),
        Some(found) if found.metadata.deprecated => Err(ApiError::invalid(format!(
            "Can not associate with a deprecated thing type: {name}"
        ))),
        Some(_) => Ok(()),
    }
}

fn not_found(name: &str) -> ApiError {
    ApiError::not_found(format!("Thing type {name} not found"))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CreateInput {
    thing_type_name: String,
    #[serde(default)]
    thing_type_properties: Properties,
    tags: Option<Vec<super::tags::Tag>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CreateOutput {
    thing_type_name: String,
    thing_type_arn: String,
    thing_type_id: String,
}

async fn create(context: Context, input: CreateInput) -> Result<CreateOutput, ApiError> {
    let name = input.thing_type_name;
    names::resource("thingTypeName", &name)?;
    let properties = input.thing_type_properties;
    if let Some(description) = &properties.thing_type_description {
        validate::length(
            "thingTypeProperties.thingTypeDescription",
            description,
            0..=2028,
        )?;
    }
    if properties.searchable_attributes.len() > MAX_SEARCHABLE {
        return Err(ApiError::invalid(format!(
            "A thing type may have at most {MAX_SEARCHABLE} searchable attributes"
        )));
    }
    for attribute in &properties.searchable_attributes {
        super::things::attribute_name(attribute)?;
    }
    let arn = context.arn("iot", &format!("thingtype/{name}"));
    let (key, own) = (name.clone(), arn.clone());
    let id = context
        .database()
        .write(move |t| {
            let description = properties.thing_type_description.clone();
            let searchable = serde_json::to_string(&properties.searchable_attributes)?;
            if let Some(found) = ThingType::find(t, &key)? {
                // The same request again is no error.
                let same = found.properties.thing_type_description == description
                    && found.properties.searchable_attributes == properties.searchable_attributes;
                if same {
                    return Ok(found.id);
                }
                let message = format!("Thing type {key} already exists with different properties");
                return Err(names::already_exists(message, &own, &found.id));
            }
            let id = names::uuid();
            t.execute(
                "INSERT INTO iot_thing_type (name, id, description, searchable, created) VALUES (?1, ?2, ?3, ?4, ?5)",
                (&key, &id, description, searchable, Timestamp::now()),
            )?;
            super::tags::put(t, &own, input.tags.unwrap_or_default())?;
            Ok::<_, ApiError>(id)
        })
        .await?;
    Ok(CreateOutput {
        thing_type_name: name,
        thing_type_arn: arn,
        thing_type_id: id,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NameInput {
    thing_type_name: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DescribeOutput {
    thing_type_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    thing_type_id: Option<String>,
    thing_type_arn: String,
    thing_type_properties: Properties,
    thing_type_metadata: Metadata,
}

impl DescribeOutput {
    fn of(context: &Context, found: ThingType, with_id: bool) -> Self {
        Self {
            thing_type_arn: context.arn("iot", &format!("thingtype/{}", found.name)),
            thing_type_name: found.name,
            thing_type_id: with_id.then_some(found.id),
            thing_type_properties: found.properties,
            thing_type_metadata: found.metadata,
        }
    }
}

async fn describe(context: Context, input: NameInput) -> Result<DescribeOutput, ApiError> {
    let name = input.thing_type_name;
    names::resource("thingTypeName", &name)?;
    let found = context
        .database()
        .read(move |t| ThingType::find(t, &name)?.ok_or_else(|| not_found(&name)))
        .await?;
    Ok(DescribeOutput::of(&context, found, true))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListInput {
    next_token: Option<String>,
    max_results: Option<i64>,
    thing_type_name: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListOutput {
    thing_types: Vec<DescribeOutput>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

async fn list(context: Context, input: ListInput) -> Result<ListOutput, ApiError> {
    let filter = input.thing_type_name.unwrap_or_default();
    let token = input.next_token.as_deref();
    let page = Page::of(&context, input.max_results, 1..=250, 25, token, &filter)?;
    let (after, fetch) = (page.after().unwrap_or_default().to_owned(), page.fetch());
    let found = context
        .database()
        .read(move |t| {
            let sql = "SELECT * FROM iot_thing_type WHERE name > ?1 AND (?2 = '' OR name = ?2) ORDER BY name LIMIT ?3";
            let mut statement = t.prepare_cached(sql)?;
            let rows = statement.query_map((after, filter, fetch), ThingType::read)?;
            Ok::<_, ApiError>(rows.collect::<Result<Vec<_>, _>>()?)
        })
        .await?;
    let (found, next_token) = page.finish(found, |found| found.name.clone());
    let thing_types = found
        .into_iter()
        .map(|found| DescribeOutput::of(&context, found, false))
        .collect();
    Ok(ListOutput {
        thing_types,
        next_token,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeprecateInput {
    thing_type_name: String,
    #[serde(default)]
    undo_deprecate: bool,
}

async fn deprecate(context: Context, input: DeprecateInput) -> Result<Empty, ApiError> {
    let name = input.thing_type_name;
    names::resource("thingTypeName", &name)?;
    let deprecated = (!input.undo_deprecate).then(Timestamp::now);
    context
        .database()
        .write(move |t| {
            let sql = "UPDATE iot_thing_type SET deprecated = CASE WHEN ?2 IS NULL THEN NULL ELSE coalesce(deprecated, ?2) END WHERE name = ?1";
            if t.execute(sql, (&name, deprecated))? == 0 {
                return Err(not_found(&name));
            }
            Ok(Empty {})
        })
        .await
}

async fn delete(context: Context, input: NameInput) -> Result<Empty, ApiError> {
    let name = input.thing_type_name;
    names::resource("thingTypeName", &name)?;
    let arn = context.arn("iot", &format!("thingtype/{name}"));
    context
        .database()
        .write(move |t| {
            let found = ThingType::find(t, &name)?.ok_or_else(|| not_found(&name))?;
            match found.metadata.deprecation_date {
                Some(since) if since.plus(REST) <= Timestamp::now() => {}
                Some(_) => {
                    return Err(ApiError::invalid(format!(
                        "Please wait for 5 minutes after deprecation and then retry: {name}"
                    )));
                }
                None => {
                    return Err(ApiError::invalid(format!(
                        "Thing type is not deprecated: {name}"
                    )));
                }
            }
            let used: bool = t.query_row(
                "SELECT EXISTS (SELECT 1 FROM iot_thing WHERE type = ?1)",
                [&name],
                |r| r.get(0),
            )?;
            if used {
                return Err(ApiError::invalid(format!(
                    "Thing type {name} is still associated with things"
                )));
            }
            t.execute("DELETE FROM iot_thing_type WHERE name = ?1", [&name])?;
            super::tags::clear(t, &arn)?;
            Ok(Empty {})
        })
        .await
}
