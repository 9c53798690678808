//! From an HTTP request to a service's operation: the scope of the signature says which service is meant, then the target
//! header, the form's action, or method and path say which operation.

use super::{
    ApiError, Caller, Context, Info, Members, Protocol, Service, Timestamp,
    reply::{self, Body, NO_SERVICE, REQUEST_ID},
    service::{Operation, Output},
    sigv4::{Claim, SignatureError, payload_hash},
};
use crate::{
    console::Console,
    s3,
    state::{State, keys},
};
use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{CONNECTION, CONTENT_TYPE},
    request::Parts,
};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body as _, Incoming};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// The largest body of an operation. S3's objects are not bound by it.
const MAX_BODY: usize = 4 * 1024 * 1024;

/// How long the body of an operation may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(30);

/// How long an operation may take.
const OPERATION_TIME: Duration = Duration::from_secs(60);

/// All services behind one door.
pub struct Api {
    state: Arc<State>,
    services: Vec<Service>,
    s3: Option<s3::Front>,
    console: Option<Arc<Console>>,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Api({:?})", self.services)
    }
}

/// What the log says of a request: never its query (a presigned URL's is a secret), its headers or its body.
struct Trace {
    began: Instant,
    id: String,
    method: Method,
    path: String,
    service: String,
    operation: String,
    caller: String,
    error: String,
    /// Whether the whole body has been taken off the connection.
    body_read: bool,
}

impl Trace {
    fn begin(request: &Request<Incoming>) -> Self {
        Self {
            began: Instant::now(),
            id: uuid::Uuid::new_v4().to_string(),
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            service: String::new(),
            operation: String::new(),
            caller: String::new(),
            error: String::new(),
            body_read: request.body().is_end_stream(),
        }
    }

    fn end(self, mut response: Response<Body>, peer: &str) -> Response<Body> {
        if let Ok(value) = HeaderValue::from_str(&self.id) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        if !self.body_read && !response.status().is_success() {
            // What is left of the body stands between this request and the next: the caller is told to begin anew.
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        log::info!(
            target: "access",
            method = self.method.as_str(), path = self.path, status = response.status().as_u16(), service = self.service,
            operation = self.operation, caller = self.caller, error = self.error, peer = peer, request = self.id,
            millis = millis;
            "request"
        );
        response
    }
}

/// A request whose service and operation are known.
struct Target<'a> {
    service: &'a Service,
    operation: &'a Operation,
    /// An error in them is worded as the service words errors.
    members: Result<Members, ApiError>,
}

impl Api {
    /// With the services of this program.
    pub fn new(state: Arc<State>) -> Self {
        let s3 = s3::Front::new(&state);
        Self {
            s3: Some(s3),
            ..Self::with(state, crate::services())
        }
    }

    /// With other services, and without S3: for [`Api::handle_proven`].
    pub fn with(state: Arc<State>, services: Vec<Service>) -> Self {
        let services = services.into_iter().map(Service::sorted).collect();
        Self {
            state,
            services,
            s3: None,
            console: None,
        }
    }

    /// The same, and the console beside it.
    #[must_use]
    pub fn with_console(mut self, console: Arc<Console>) -> Self {
        self.console = Some(console);
        self
    }

    /// Runs an operation for a caller within this program, for example a page of the console. Members of the input have
    /// their wire names, wherever they are on the wire.
    pub async fn call(
        &self,
        service: &str,
        operation: &str,
        input: &serde_json::Value,
        caller: Caller,
    ) -> Result<serde_json::Value, ApiError> {
        let found = self.services.iter().find(|s| s.name == service);
        let found = found.and_then(|s| Some((s, s.named(operation)?)));
        let (service, operation) = found.ok_or_else(|| {
            unknown_operation(format!(
                "greengrass-cloud does not serve the operation '{operation}' of '{service}'"
            ))
        })?;
        let context = Context::new(
            Arc::clone(&self.state),
            Info {
                id: uuid::Uuid::new_v4().to_string(),
                operation: operation.name(),
                prefix: service.prefix,
                caller,
                body: Bytes::new(),
                headers: http::HeaderMap::new(),
            },
        );
        let members = Members::json(input.to_string().as_bytes())?;
        match operation.run(context, members).await? {
            Output::Value(value) => Ok(value),
            Output::Payload(payload) => Ok(serde_json::from_slice(&payload.body)?),
        }
    }

    /// Answers one request, and logs it.
    pub async fn handle(&self, request: Request<Incoming>, peer: &str) -> Response<Body> {
        let mut trace = Trace::begin(&request);
        let id = trace.id.clone();
        if let Some(console) = &self.console
            && Console::owns(request.uri().path())
        {
            "console".clone_into(&mut trace.service);
            let (response, who) = console.handle(request, peer).await;
            trace.caller = who;
            return trace.end(response, peer);
        }
        let (parts, body) = request.into_parts();
        let response = self.answer(parts, body, &id, &mut trace).await;
        trace.end(response, peer)
    }

    /// The same for a caller that has been proven otherwise than by a signature: by TLS. All services must be REST.
    pub async fn handle_proven(
        &self,
        request: Request<Incoming>,
        caller: Caller,
        peer: &str,
    ) -> Response<Body> {
        let mut trace = Trace::begin(&request);
        let id = trace.id.clone();
        let (parts, body) = request.into_parts();
        caller.access_key_id().clone_into(&mut trace.caller);
        let response = match read_body(body).await {
            Ok(body) => {
                trace.body_read = true;
                match self.target(&parts, None, &body) {
                    Ok(target) => self.run(target, parts, body, caller, &id, &mut trace).await,
                    Err(error) => finish(&mut trace, Protocol::RestJson, &NO_SERVICE, error, &id),
                }
            }
            Err(error) => finish(&mut trace, Protocol::RestJson, &NO_SERVICE, error, &id),
        };
        trace.end(response, peer)
    }

    async fn answer(
        &self,
        parts: Parts,
        body: Incoming,
        id: &str,
        trace: &mut Trace,
    ) -> Response<Body> {
        let claim = match Claim::of(&parts) {
            Ok(Some(claim)) => claim,
            Ok(None) => match s3::Proof::link(&parts) {
                Some(link) => return self.s3(parts, body, &link, id, trace).await,
                None => return self.unsigned(&parts, id, trace),
            },
            Err(error) => return self.not_proven(&parts, None, &error, id, trace),
        };
        trace.service.clone_from(&claim.service);
        if claim.service == "s3" {
            return self
                .s3(parts, body, &s3::Proof::Claim(claim), id, trace)
                .await;
        }
        // Before anything is read: strangers do not get to send bodies.
        let key = match self.key_of(&claim).await {
            Ok(key) => key,
            Err(Refused::Signature(error)) => {
                return self.not_proven(&parts, Some(&claim), &error, id, trace);
            }
            Err(Refused::Api(error)) => {
                return finish(
                    trace,
                    self.protocol(&parts, Some(&claim)),
                    &NO_SERVICE,
                    error,
                    id,
                );
            }
        };
        let body = match read_body(body).await {
            Ok(body) => {
                trace.body_read = true;
                body
            }
            Err(error) => {
                return finish(
                    trace,
                    self.protocol(&parts, Some(&claim)),
                    &NO_SERVICE,
                    error,
                    id,
                );
            }
        };
        if let Err(error) = claim.verify(&parts, &payload_hash(&body), key.secret.reveal()) {
            return self.not_proven(&parts, Some(&claim), &error, id, trace);
        }
        key.caller.access_key_id().clone_into(&mut trace.caller);
        let target = match self.target(&parts, Some(&claim), &body) {
            Ok(target) => target,
            Err(error) => {
                return finish(
                    trace,
                    self.protocol(&parts, Some(&claim)),
                    &NO_SERVICE,
                    error,
                    id,
                );
            }
        };
        self.run(target, parts, body, key.caller, id, trace).await
    }

    async fn s3(
        &self,
        parts: Parts,
        body: Incoming,
        proof: &s3::Proof,
        id: &str,
        trace: &mut Trace,
    ) -> Response<Body> {
        "s3".clone_into(&mut trace.service);
        proof.names().0.clone_into(&mut trace.caller);
        let Some(s3) = &self.s3 else {
            let error = unknown_operation("S3 is not served here".into());
            return finish(trace, Protocol::RestJson, &NO_SERVICE, error, id);
        };
        let request = Request::from_parts(parts, body);
        let (response, error) = s3.handle(request, proof, id).await;
        trace.error = error;
        response
    }

    /// Runs an operation for a caller that has been proven, whichever way.
    async fn run(
        &self,
        target: Target<'_>,
        parts: Parts,
        body: Bytes,
        caller: Caller,
        id: &str,
        trace: &mut Trace,
    ) -> Response<Body> {
        let Target {
            service,
            operation,
            members,
        } = target;
        service.name.clone_into(&mut trace.service);
        operation.name().clone_into(&mut trace.operation);
        let context = Context::new(
            Arc::clone(&self.state),
            Info {
                id: id.to_owned(),
                operation: operation.name(),
                prefix: service.prefix,
                caller,
                body,
                headers: parts.headers,
            },
        );
        let allowed = if operation.own_access {
            Ok(())
        } else {
            context.allow("*")
        };
        let result = match allowed.and(members) {
            Ok(members) => {
                // On a task of its own: a panic is this request's, and a caller that goes away does not stop half way.
                let work = tokio::spawn(operation.run(context, members));
                match tokio::time::timeout(OPERATION_TIME, work).await {
                    Ok(Ok(result)) => result,
                    Ok(Err(panic)) => Err(ApiError::internal(panic)),
                    Err(_) => Err(ApiError::internal("the operation took too long")),
                }
            }
            Err(error) => Err(error),
        };
        match result {
            Ok(output) => reply::success(service, operation.name(), operation.status, output, id),
            Err(error) => finish(trace, service.protocol, &service.errors, error, id),
        }
    }

    async fn key_of(&self, claim: &Claim) -> Result<keys::Key, Refused> {
        let now = Timestamp::now();
        claim.timely(now)?;
        let global = matches!(claim.service.as_str(), "iam" | "sts") && claim.region == "us-east-1";
        if claim.region != self.state.account.region && !global {
            return Err(SignatureError::Scope(format!(
                "Credential should be scoped to a valid region, not '{}': this control plane is region '{}'.",
                claim.region, self.state.account.region
            ))
            .into());
        }
        let key = keys::find(&self.state.database, &claim.access_key_id).await;
        let key = key.map_err(|e| Refused::Api(e.into()))?;
        let key = key.ok_or(SignatureError::UnknownKey)?;
        match key.standing(claim.token.as_ref().map(super::Secret::reveal), now) {
            keys::Standing::Good => Ok(key),
            keys::Standing::WrongToken => Err(SignatureError::WrongToken.into()),
            keys::Standing::Expired => Err(SignatureError::ExpiredToken.into()),
        }
    }

    /// Which operation is meant. The signature's scope says of which service; without one it may be any.
    fn target(
        &self,
        parts: &Parts,
        claim: Option<&Claim>,
        body: &Bytes,
    ) -> Result<Target<'_>, ApiError> {
        let scope = claim.map(|c| c.service.as_str());
        let meant = |service: &&Service| scope.is_none_or(|scope| service.scopes.contains(&scope));
        let mut services = self.services.iter().filter(meant).peekable();
        let scope = scope.unwrap_or("this port");
        if services.peek().is_none() {
            let named: Vec<&str> = self.services.iter().map(|s| s.name).chain(["s3"]).collect();
            return Err(unknown_operation(format!(
                "greengrass-cloud does not serve '{scope}'; it serves {}",
                named.join(", ")
            )));
        }
        let mut wanted = format!("{} {}", parts.method, parts.uri.path());
        for service in services {
            let query = parts.uri.query().unwrap_or_default();
            let found = match service.protocol {
                Protocol::RestJson => {
                    let found = service.route(&parts.method, parts.uri.path());
                    found.map(|(operation, labels)| {
                        let body = if operation.raw_input {
                            &[]
                        } else {
                            body.as_ref()
                        };
                        let members = Members::json(body).map(|mut members| {
                            members.headers(&parts.headers);
                            members.query(query);
                            members.labels(labels);
                            members
                        });
                        (operation, members)
                    })
                }
                Protocol::Json { target } => {
                    let name = target_header(parts).unwrap_or_default();
                    name.clone_into(&mut wanted);
                    let name = name.strip_prefix(target).and_then(|n| n.strip_prefix('.'));
                    let operation = name.and_then(|n| service.named(n));
                    operation.map(|operation| (operation, Members::json(body)))
                }
                Protocol::Query { .. } => {
                    let name = action(query.as_bytes())
                        .or_else(|| action(body))
                        .unwrap_or_default();
                    wanted.clone_from(&name);
                    let mut members = Members::default();
                    members.form(query.as_bytes());
                    members.form(body);
                    service
                        .named(&name)
                        .map(|operation| (operation, Ok(members)))
                }
            };
            if let Some((operation, members)) = found {
                return Ok(Target {
                    service,
                    operation,
                    members,
                });
            }
        }
        let text = format!("greengrass-cloud does not serve the operation '{wanted}' of '{scope}'");
        Err(match self.protocol(parts, claim) {
            Protocol::Query { .. } => ApiError::new(StatusCode::BAD_REQUEST, "InvalidAction", text),
            _ => unknown_operation(text),
        })
    }

    /// How the caller expects its answer, when the operation is not known.
    fn protocol(&self, parts: &Parts, claim: Option<&Claim>) -> Protocol {
        let known = claim.and_then(|c| {
            let service = |s: &&Service| s.scopes.contains(&c.service.as_str());
            self.services.iter().find(service)
        });
        if let Some(service) = known {
            return service.protocol;
        }
        let form = parts
            .headers
            .get(CONTENT_TYPE)
            .is_some_and(|t| t.as_bytes().starts_with(b"application/x-www-form"));
        if target_header(parts).is_some() {
            Protocol::Json { target: "" }
        } else if form {
            Protocol::Query {
                namespace: "https://greengrass-cloud/",
            }
        } else {
            Protocol::RestJson
        }
    }

    fn not_proven(
        &self,
        parts: &Parts,
        claim: Option<&Claim>,
        error: &SignatureError,
        id: &str,
        trace: &mut Trace,
    ) -> Response<Body> {
        let protocol = self.protocol(parts, claim);
        finish(trace, protocol, &NO_SERVICE, error.answer(protocol), id)
    }

    /// What is served without a signature: the health of this program. All else is told that a signature is needed.
    fn unsigned(&self, parts: &Parts, id: &str, trace: &mut Trace) -> Response<Body> {
        match (&parts.method, parts.uri.path()) {
            (&Method::GET | &Method::HEAD, "/health") => reply::plain(
                StatusCode::OK,
                "application/json",
                r#"{"status":"ok","program":"greengrass-cloud"}"#,
            ),
            _ => self.not_proven(parts, None, &SignatureError::Missing, id, trace),
        }
    }
}

enum Refused {
    Signature(SignatureError),
    Api(ApiError),
}

impl From<SignatureError> for Refused {
    fn from(error: SignatureError) -> Self {
        Self::Signature(error)
    }
}

fn finish(
    trace: &mut Trace,
    protocol: Protocol,
    names: &super::ErrorNames,
    error: ApiError,
    id: &str,
) -> Response<Body> {
    let (response, code) = reply::failure(protocol, names, error, id);
    trace.error = code;
    response
}

fn target_header(parts: &Parts) -> Option<&str> {
    parts.headers.get("x-amz-target")?.to_str().ok()
}

fn action(form: &[u8]) -> Option<String> {
    form_urlencoded::parse(form)
        .find(|(name, _)| name == "Action")
        .map(|(_, value)| value.into_owned())
}

fn unknown_operation(text: String) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "UnknownOperationException", text)
}

async fn read_body(body: Incoming) -> Result<Bytes, ApiError> {
    let collected = Limited::new(body, MAX_BODY).collect();
    match tokio::time::timeout(BODY_TIME, collected).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestEntityTooLargeException",
            format!("the body of a request has at most {MAX_BODY} bytes"),
        )),
        Ok(Err(error)) => Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "IncompleteBodyException",
            format!("the body could not be read: {error}"),
        )),
        Err(_) => Err(ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "RequestTimeoutException",
            "the body did not arrive in time",
        )),
    }
}
