//! Which certificates belong to which things.

use super::{certificates, memory, names, things::Thing};
use crate::http::{ApiError, Context, Empty, Operation, Page, validate};
use rusqlite::{OptionalExtension, Transaction};
use serde::{Deserialize, Serialize};

/// The operations of attachments.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            "AttachThingPrincipal",
            "PUT /things/{thingName}/principals",
            attach,
        ),
        Operation::new(
            "DetachThingPrincipal",
            "DELETE /things/{thingName}/principals",
            detach,
        ),
        Operation::new(
            "ListThingPrincipals",
            "GET /things/{thingName}/principals",
            list_principals,
        ),
        Operation::new("ListPrincipalThings", "GET /principals/things", list_things),
    ]
}

/// Attaches a certificate to a thing. An exclusive certificate has no other thing.
pub fn put(
    t: &Transaction<'_>,
    thing: &str,
    certificate: &str,
    exclusive: bool,
) -> Result<(), ApiError> {
    Thing::get(t, thing)?;
    certificates::Record::get(t, certificate)?;
    let sql =
        "SELECT max(exclusive) FROM iot_thing_principal WHERE certificate = ?1 AND thing <> ?2";
    let others: Option<bool> = t
        .query_row(sql, (certificate, thing), |row| row.get(0))
        .optional()?
        .flatten();
    if others == Some(true) || (exclusive && others.is_some()) {
        return Err(ApiError::invalid(format!(
            "The principal {certificate} is attached exclusively to another thing, or is to be and has another"
        )));
    }
    t.execute(
        "INSERT INTO iot_thing_principal (thing, certificate, exclusive) VALUES (?1, ?2, ?3)
         ON CONFLICT (thing, certificate) DO UPDATE SET exclusive = ?3",
        (thing, certificate, exclusive),
    )?;
    Ok(())
}

fn certificate_of(principal: &str) -> Result<String, ApiError> {
    let id = names::of_arn(principal, "cert")
        .ok_or_else(|| ApiError::invalid(format!("{principal} is not the ARN of a certificate")))?;
    Ok(id.to_owned())
}

#[derive(Deserialize)]
struct AttachInput {
    #[serde(rename = "thingName")]
    thing_name: String,
    #[serde(rename = "x-amzn-principal")]
    principal: String,
    #[serde(rename = "thingPrincipalType")]
    kind: Option<String>,
}

async fn attach(context: Context, input: AttachInput) -> Result<Empty, ApiError> {
    let certificate = certificate_of(&input.principal)?;
    let kind = input.kind.unwrap_or_else(|| "NON_EXCLUSIVE_THING".into());
    validate::one_of(
        "thingPrincipalType",
        &kind,
        &["EXCLUSIVE_THING", "NON_EXCLUSIVE_THING"],
    )?;
    let id = certificate.clone();
    context
        .database()
        .write(move |t| put(t, &input.thing_name, &id, kind == "EXCLUSIVE_THING"))
        .await?;
    context.state.registry.refresh(vec![certificate]).await?;
    Ok(Empty {})
}

async fn detach(context: Context, input: AttachInput) -> Result<Empty, ApiError> {
    let certificate = certificate_of(&input.principal)?;
    let id = certificate.clone();
    context
        .database()
        .write(move |t| {
            Thing::get(t, &input.thing_name)?;
            certificates::Record::get(t, &id)?;
            t.execute(
                "DELETE FROM iot_thing_principal WHERE thing = ?1 AND certificate = ?2",
                (input.thing_name, id),
            )?;
            Ok::<_, ApiError>(())
        })
        .await?;
    context.state.registry.refresh(vec![certificate]).await?;
    Ok(Empty {})
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListPrincipalsInput {
    thing_name: String,
    next_token: Option<String>,
    max_results: Option<i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListPrincipalsOutput {
    principals: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

async fn list_principals(
    context: Context,
    input: ListPrincipalsInput,
) -> Result<ListPrincipalsOutput, ApiError> {
    let name = input.thing_name;
    let page = Page::of(
        &context,
        input.max_results,
        1..=250,
        250,
        input.next_token.as_deref(),
        &name,
    )?;
    let after = page.after().unwrap_or_default().to_owned();
    let mut found = context
        .database()
        .read(move |t| {
            Thing::get(t, &name)?;
            memory::certificates_of_thing(t, &name)
        })
        .await?;
    found.sort();
    found.retain(|id| *id > after);
    let (found, next_token) = page.finish(found, Clone::clone);
    Ok(ListPrincipalsOutput {
        principals: found
            .into_iter()
            .map(|id| context.arn("iot", &format!("cert/{id}")))
            .collect(),
        next_token,
    })
}

#[derive(Deserialize)]
struct ListThingsInput {
    #[serde(rename = "x-amzn-principal")]
    principal: String,
    #[serde(rename = "nextToken")]
    next_token: Option<String>,
    #[serde(rename = "maxResults")]
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
    let id = certificate_of(&input.principal)?;
    let page = Page::of(
        &context,
        input.max_results,
        1..=250,
        250,
        input.next_token.as_deref(),
        &id,
    )?;
    let after = page.after().unwrap_or_default().to_owned();
    let found = context
        .database()
        .read(move |t| {
            certificates::Record::get(t, &id)?;
            memory::texts(
                t,
                "SELECT thing FROM iot_thing_principal WHERE certificate = ?1 ORDER BY thing",
                &id,
            )
        })
        .await?;
    let found = found.into_iter().filter(|thing| *thing > after).collect();
    let (things, next_token) = page.finish(found, Clone::clone);
    Ok(ListThingsOutput { things, next_token })
}
