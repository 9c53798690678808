//! `greengrass-cloud`: a control plane that the AWS CLI, boto3, the device SDKs and Greengrass devices take for AWS.
//!
//! ```text
//! options, serve   the command line, and starting and stopping everything
//! state            SQLite, users and keys; pki: the authority
//! http             server, signatures, from a request to an operation and back; http::service says how to add one
//! access           IAM policies
//! sts iam s3 ...   one service each: its tables, its operations
//! console          pages for people
//! export           moving to AWS
//! admin            `greengrass-cloud user`, `backup`... reaching the running program
//! ```

pub mod access;
pub mod admin;
pub mod commands;
pub mod console;
pub mod device;
pub mod export;
pub mod greengrassv2;
pub mod http;
pub mod iam;
pub mod iot;
pub mod options;
pub mod pki;
pub mod s3;
pub mod secretsmanager;
pub mod serve;
pub mod state;
pub mod sts;

/// Every service that is dispatched by its table. A new one adds its line here, and its tables to [`state::SCHEMAS`].
pub fn services() -> Vec<http::Service> {
    vec![
        sts::service(),
        iam::service(),
        secretsmanager::service(),
        iot::service(),
        iot::data::service(),
        iot::jobs::data::service(),
        greengrassv2::service(),
    ]
}
