//! The service role. AWS uses it to look after client devices; here it is kept, so that tools which set it find it.

use crate::http::{ApiError, Context, Empty, IsoTime, Operation, Timestamp};
use http::StatusCode;
use rusqlite::OptionalExtension;
use serde::{Deserialize, Serialize};

/// The operations.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            "AssociateServiceRoleToAccount",
            "PUT /greengrass/servicerole",
            associate,
        ),
        Operation::new(
            "DisassociateServiceRoleFromAccount",
            "DELETE /greengrass/servicerole",
            disassociate,
        ),
        Operation::new(
            "GetServiceRoleForAccount",
            "GET /greengrass/servicerole",
            get,
        ),
    ]
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    role_arn: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Associated {
    associated_at: IsoTime,
}

async fn associate(context: Context, input: Input) -> Result<Associated, ApiError> {
    let named = input
        .role_arn
        .strip_prefix("arn:aws:iam::")
        .and_then(|rest| rest.split_once(":role/"));
    if !named.is_some_and(|(account, role)| account == context.account() && !role.is_empty()) {
        return Err(ApiError::invalid(format!(
            "{} is not the ARN of a role of this account",
            input.role_arn
        )));
    }
    let now = Timestamp::now();
    context
        .database()
        .write(move |t| {
            let sql =
                "INSERT OR REPLACE INTO gg_service_role (one, arn, associated) VALUES (1, ?1, ?2)";
            t.execute(sql, (input.role_arn, now))?;
            Ok::<_, ApiError>(())
        })
        .await?;
    Ok(Associated {
        associated_at: IsoTime(now),
    })
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Disassociated {
    disassociated_at: IsoTime,
}

async fn disassociate(context: Context, _: Empty) -> Result<Disassociated, ApiError> {
    context
        .database()
        .write(|t| Ok::<_, ApiError>(t.execute("DELETE FROM gg_service_role", [])?))
        .await?;
    Ok(Disassociated {
        disassociated_at: IsoTime(Timestamp::now()),
    })
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Found {
    role_arn: String,
    associated_at: IsoTime,
}

async fn get(context: Context, _: Empty) -> Result<Found, ApiError> {
    let found = context
        .database()
        .read(|t| {
            let sql = "SELECT arn, associated FROM gg_service_role";
            let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
            Ok::<_, ApiError>(t.query_row(sql, [], read).optional()?)
        })
        .await?;
    match found {
        Some((role_arn, associated)) => Ok(Found {
            role_arn,
            associated_at: IsoTime(associated),
        }),
        // The model has no error for this; AWS answers 404 with this text.
        None => Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "ResourceNotFoundException",
            "You need to attach an IAM role to this deployment account.",
        )),
    }
}
