//! What a service is: a table of operations, the tables it owns in the database, and how it speaks.
//!
//! To add an operation, write its input and output as serde types with the wire names, an async function, and a row:
//!
//! ```
//! use control_plane::http::{ApiError, Context, Operation};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Deserialize)]
//! #[serde(rename_all = "camelCase")]
//! struct DescribeThingInput {
//!     thing_name: String, // from the path; query parameters and members of the body come the same way
//! }
//!
//! #[derive(Serialize)]
//! #[serde(rename_all = "camelCase")]
//! struct DescribeThingOutput {
//!     thing_name: String,
//!     thing_arn: String,
//! }
//!
//! async fn describe_thing(context: Context, input: DescribeThingInput) -> Result<DescribeThingOutput, ApiError> {
//!     let name = input.thing_name;
//!     let wanted = name.clone();
//!     let there: bool = context
//!         .database()
//!         .read(move |t| Ok::<_, ApiError>(t.query_row("SELECT count(*) FROM iot_thing WHERE name = ?1", [wanted], |r| r.get(0))?))
//!         .await?;
//!     if !there {
//!         return Err(ApiError::not_found(format!("Thing {name} not found")));
//!     }
//!     Ok(DescribeThingOutput { thing_arn: context.arn("iot", &format!("thing/{name}")), thing_name: name })
//! }
//!
//! let operations = vec![Operation::new("DescribeThing", "GET /things/{thingName}", describe_thing)];
//! # assert_eq!(operations[0].name(), "DescribeThing");
//! ```
//!
//! A member that is a header (`x-amzn-…`) has the header's name: `#[serde(rename = "x-amzn-principal")]`. A body that is no
//! JSON object is in [`Context::body`] when the row says [`Operation::raw_input`]; an output that is no JSON is a [`Payload`],
//! with [`Operation::payload`] in place of `new`.

use super::{
    ApiError, Context, Members,
    route::{Labels, Template},
};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{fmt, future::Future, pin::Pin};

/// How a service writes requests, answers and errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Method and path choose the operation; bodies are JSON.
    RestJson,
    /// `X-Amz-Target: <prefix>.<Operation>`; bodies are JSON 1.1.
    Json {
        /// What stands before the dot.
        target: &'static str,
    },
    /// A form with `Action=<Operation>`; answers are XML.
    Query {
        /// The XML namespace of the answers.
        namespace: &'static str,
    },
}

/// The names a service has for errors that are not an operation's own.
#[derive(Clone, Copy, Debug)]
pub struct ErrorNames {
    /// For [`ApiError::Invalid`]; status 400.
    pub invalid: &'static str,
    /// For [`ApiError::BadToken`]; status 400.
    pub bad_token: &'static str,
    /// For [`ApiError::Internal`]; status 500.
    pub internal: &'static str,
    /// For [`ApiError::Denied`]; status 403.
    pub denied: &'static str,
}

/// One AWS service.
pub struct Service {
    /// As the CLI calls it: `greengrassv2`, `iot-data`.
    pub name: &'static str,
    /// The names in a signature's scope that mean this service.
    pub scopes: &'static [&'static str],
    /// What stands before the colon in policies: `iot` in `iot:Publish`.
    pub prefix: &'static str,
    /// How it speaks.
    pub protocol: Protocol,
    /// Its names for common errors.
    pub errors: ErrorNames,
    /// What it does.
    pub operations: Vec<Operation>,
}

/// A found operation and the labels of its path.
pub type Found<'a> = (&'a Operation, Labels);

impl Service {
    /// Puts the table in the order in which it is searched.
    #[must_use]
    pub(super) fn sorted(mut self) -> Self {
        let by = |a: &Operation, b: &Operation| a.template.specificity(&b.template);
        self.operations.sort_by(by);
        self
    }

    /// The operation for a method and a raw path, for REST services.
    pub fn route(&self, method: &Method, raw_path: &str) -> Option<Found<'_>> {
        let of_method = self.operations.iter().filter(|o| o.method == *method);
        of_method
            .filter_map(|o| Some((o, o.template.matches(raw_path)?)))
            .next()
    }

    /// The operation of a name, for the others.
    pub fn named(&self, name: &str) -> Option<&Operation> {
        self.operations.iter().find(|o| o.name == name)
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Service({}, {} operations)",
            self.name,
            self.operations.len()
        )
    }
}

/// An answer that is not the JSON of an output.
#[derive(Debug, Default)]
pub struct Payload {
    /// The body.
    pub body: Bytes,
    /// Its type; absent for none.
    pub content_type: Option<&'static str>,
    /// Further headers.
    pub headers: HeaderMap,
}

/// What a handler made.
#[derive(Debug)]
pub enum Output {
    /// An output type, as JSON.
    Value(Value),
    /// Bytes.
    Payload(Payload),
}

type Answer = Pin<Box<dyn Future<Output = Result<Output, ApiError>> + Send>>;
type Handler = Box<dyn Fn(Context, Members) -> Answer + Send + Sync>;

/// One row of a service's table.
pub struct Operation {
    name: &'static str,
    method: Method,
    template: Template,
    pub(super) status: StatusCode,
    pub(super) raw_input: bool,
    pub(super) own_access: bool,
    handler: Handler,
}

impl Operation {
    /// An operation. `route` is `METHOD /uri/{template}` as the AWS model has it; services that do not route by path have
    /// `POST /`.
    pub fn new<I, O, F, A>(name: &'static str, route: &'static str, handler: F) -> Self
    where
        I: DeserializeOwned + Send + 'static,
        O: Serialize + 'static,
        F: Fn(Context, I) -> A + Copy + Send + Sync + 'static,
        A: Future<Output = Result<O, ApiError>> + Send + 'static,
    {
        Self::boxed(
            name,
            route,
            Box::new(move |context, members| {
                Box::pin(async move {
                    let output = handler(context, members.read()?).await?;
                    Ok(Output::Value(serde_json::to_value(output)?))
                })
            }),
        )
    }

    /// An operation whose answer is not JSON.
    pub fn payload<I, F, A>(name: &'static str, route: &'static str, handler: F) -> Self
    where
        I: DeserializeOwned + Send + 'static,
        F: Fn(Context, I) -> A + Copy + Send + Sync + 'static,
        A: Future<Output = Result<Payload, ApiError>> + Send + 'static,
    {
        Self::boxed(
            name,
            route,
            Box::new(move |context, members| {
                Box::pin(async move {
                    let input = members.read()?;
                    Ok(Output::Payload(handler(context, input).await?))
                })
            }),
        )
    }

    /// A query or JSON operation: there is no path.
    pub fn named<I, O, F, A>(name: &'static str, handler: F) -> Self
    where
        I: DeserializeOwned + Send + 'static,
        O: Serialize + 'static,
        F: Fn(Context, I) -> A + Copy + Send + Sync + 'static,
        A: Future<Output = Result<O, ApiError>> + Send + 'static,
    {
        Self::new(name, "POST /", handler)
    }

    fn boxed(name: &'static str, route: &'static str, handler: Handler) -> Self {
        let (method, template) = route.split_once(' ').expect("a route is METHOD /template");
        Self {
            name,
            method: method.parse().expect("a method of HTTP"),
            template: Template::parse(template),
            status: StatusCode::OK,
            raw_input: false,
            own_access: false,
            handler,
        }
    }

    /// The status of success, where it is not 200.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = StatusCode::from_u16(status).expect("a status of HTTP");
        self
    }

    /// The body is no JSON object: it is in [`Context::body`], and the input has the other members.
    #[must_use]
    pub fn raw_input(mut self) -> Self {
        self.raw_input = true;
        self
    }

    /// The handler calls [`Context::allow`] for the resources it touches. Without this, callers with a role's credentials
    /// need a policy that allows the operation on every resource.
    #[must_use]
    pub fn checks_access(mut self) -> Self {
        self.own_access = true;
        self
    }

    /// The operation's name, as the model has it.
    pub fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn run(&self, context: Context, members: Members) -> Answer {
        (self.handler)(context, members)
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
