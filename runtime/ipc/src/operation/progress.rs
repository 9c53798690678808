//! What the command line asks beyond the public model: the plan of a deployment, and its progress. For people only, not
//! for components.

use super::{
    Empty, Operation,
    deployments::{Create, Target, find},
    parse, required,
};
use crate::{
    Principal,
    fault::Fault,
    server::{Call, Session, StreamSender},
};
use model::deployment::{DeploymentId, DeploymentReport};
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

/// The shape of a report.
const EVENT: &str = "aws.greengrass.private#DeploymentReport";

#[derive(Serialize)]
pub(super) struct Plan {
    plan: Value,
}

pub(super) async fn plan(
    session: Arc<Session>,
    operation: Operation,
    request: Create,
) -> Result<Plan, Fault> {
    people_only(&session, operation)?;
    let request = request.into_request(operation)?;
    let plan = session.shared.ports.deployments.plan(request).await?;
    Ok(Plan { plan })
}

/// Each report of one deployment, the present one first; the stream ends after the last.
pub(super) async fn subscribe(call: Call, payload: &[u8]) {
    let id = parse::<Target>(call.operation, payload).and_then(|request| {
        people_only(&call.session, call.operation)?;
        required(call.operation, "deploymentId", request.deployment_id)
    });
    // Watched first, so that nothing happens between the present report and the next.
    let reports = call.session.shared.ports.deployments.watch();
    let present = match id {
        Ok(id) => find(&call.session, id).await,
        Err(fault) => Err(fault),
    };
    let present = match present {
        Ok(present) => present,
        Err(fault) => return call.reply(Err::<(), _>(fault)),
    };
    let session = call.session.clone();
    call.accept(EVENT, &Empty {}, |sender, answer| {
        answer();
        let ended = CancellationToken::new();
        let follow = follow(session, present, reports, sender);
        let until = ended.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = follow => {}
                () = until.cancelled() => {}
            }
        });
        ended.drop_guard()
    });
}

async fn follow(
    session: Arc<Session>,
    present: DeploymentReport,
    mut reports: broadcast::Receiver<DeploymentReport>,
    sender: StreamSender,
) {
    let id = present.id.clone();
    let mut next = Some(present);
    while let Some(report) = next {
        if sender.send_patiently(&report).await.is_err() {
            return;
        }
        if report.status.is_final() {
            break;
        }
        next = changed(&session, &id, &mut reports).await;
    }
    sender.end();
}

async fn changed(
    session: &Session,
    id: &DeploymentId,
    reports: &mut broadcast::Receiver<DeploymentReport>,
) -> Option<DeploymentReport> {
    loop {
        match reports.recv().await {
            Ok(report) if report.id == *id => return Some(report),
            Ok(_) => {}
            // Too many at once: the present one makes up for those that were missed.
            Err(RecvError::Lagged(_)) => return session.shared.ports.deployments.report(id).await,
            Err(RecvError::Closed) => return None,
        }
    }
}

fn people_only(session: &Session, operation: Operation) -> Result<(), Fault> {
    match &*session.principal {
        Principal::Cli(_) => Ok(()),
        Principal::Component(name) => Err(Fault::unauthorized(format!(
            "{name} is not authorized to perform {}: it is for the command line",
            operation.name()
        ))),
    }
}
