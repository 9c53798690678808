//! The console: pages for people, served by this program at `/console` beside the API, from the binary alone.
//!
//! ```text
//! request -> mod (routes, headers) -> session (who) -> pages (a template each) -> calls (the same operations as the API's)
//!            events: what happens, kept for a while, and streamed
//! ```
//! Pages are HTML that works without a script; the script only shows what happens without a reload. Templates are askama's:
//! compiled in, checked by the compiler, escaping what they show; the files read as the HTML they make, which maud's macros do not.

mod assets;
mod calls;
mod events;
mod fleet;
mod form;
mod pages;
mod session;
mod throttle;
mod view;

use crate::{
    http::{Api, ApiError, Body, reply},
    state::State,
};
use bytes::Bytes;
use form::Form;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, LOCATION, ORIGIN,
        REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    },
};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use session::{Session, Sessions};
use std::{sync::Arc, time::Duration};
use throttle::Throttle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Nothing but what this program serves, no inline script or style, in no frame.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The largest form: a configuration of a component has a limit of its own.
const MAX_FORM: usize = 256 * 1024;

/// How long a form may take to arrive.
const FORM_TIME: Duration = Duration::from_secs(20);

/// Passwords that are checked at a time: each takes 32 MiB.
const CHECKS: usize = 2;

/// Whether a request came over TLS; the server puts it into the request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encrypted(pub bool);

/// The console.
pub struct Console {
    state: Arc<State>,
    api: Api,
    sessions: Sessions,
    throttle: Throttle,
    checks: Semaphore,
    events: events::Log,
    stop: CancellationToken,
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Console")
    }
}

/// A request whose body has been read.
struct Call {
    method: Method,
    /// Below `/console`, without a slash at the end.
    path: String,
    query: Form,
    form: Form,
    headers: HeaderMap,
    encrypted: bool,
    /// The peer's address, without its port.
    address: String,
}

/// What a page answers when it cannot show itself.
enum Failed {
    /// To another page.
    Elsewhere(String),
    /// An operation refused.
    Api(ApiError),
    /// A page about it.
    Page(StatusCode, String),
}

impl From<ApiError> for Failed {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl From<askama::Error> for Failed {
    fn from(error: askama::Error) -> Self {
        Self::Api(ApiError::internal(error))
    }
}

type Answer = Result<Response<Body>, Failed>;

impl Console {
    /// Begins to collect what happens. Ends with the token.
    pub fn start(state: &Arc<State>, stop: &CancellationToken) -> Arc<Self> {
        let console = Arc::new(Self {
            api: Api::with(Arc::clone(state), crate::services()),
            state: Arc::clone(state),
            sessions: Sessions::default(),
            throttle: Throttle::default(),
            checks: Semaphore::new(CHECKS),
            events: events::Log::default(),
            stop: stop.clone(),
        });
        events::collect(state, &console.events, stop);
        console
    }

    /// Whether a path is the console's.
    pub fn owns(path: &str) -> bool {
        path == "/console" || path.starts_with("/console/")
    }

    /// Answers one request; for the log, who asked.
    pub async fn handle(
        self: &Arc<Self>,
        request: Request<Incoming>,
        peer: &str,
    ) -> (Response<Body>, String) {
        let mut who = String::new();
        let answer = match read(request, peer).await {
            Ok(call) => {
                let session = self.session_of(&call).await;
                if let Some(session) = &session {
                    who.clone_from(&session.user);
                }
                match self.answer(&call, session.as_ref()).await {
                    Ok(response) => response,
                    Err(failed) => self.failed(failed, session.as_ref()),
                }
            }
            Err(failed) => self.failed(failed, None),
        };
        (guarded(answer), who)
    }

    async fn session_of(&self, call: &Call) -> Option<Session> {
        let cookie = form::cookie(&call.headers, session::cookie_name(call.encrypted))?;
        let session = self.sessions.find(&cookie)?;
        // A user that was removed, or whose password was changed, is signed out.
        let standing = crate::state::users::console_standing(&self.state.database, &session.user);
        let standing = standing.await.unwrap_or_default();
        if standing.as_ref() == Some(&session.standing) {
            return Some(session);
        }
        self.sessions.end(&cookie);
        None
    }

    async fn answer(self: &Arc<Self>, call: &Call, session: Option<&Session>) -> Answer {
        let parts: Vec<&str> = call.path.split('/').filter(|p| !p.is_empty()).collect();
        if let (&Method::GET, ["assets", name]) = (&call.method, &parts[..]) {
            return assets::answer(name, &call.headers)
                .ok_or_else(|| missing("There is no such file."));
        }
        if parts == ["sign-in"] {
            return match call.method {
                Method::GET => pages::sign_in::show(self, call, session),
                Method::POST => pages::sign_in::submit(self, call).await,
                _ => Err(not_allowed()),
            };
        }
        let Some(session) = session else {
            if parts == ["events", "stream"] {
                return Err(Failed::Page(
                    StatusCode::UNAUTHORIZED,
                    "Sign in again.".into(),
                ));
            }
            return Err(Failed::Elsewhere(pages::sign_in::link(call)));
        };
        let visit = pages::Visit {
            console: self,
            call,
            session,
        };
        match call.method {
            Method::GET => self.page(visit, &parts).await,
            Method::POST => {
                check_origin(call)?;
                if !session.has_token(call.form.get("csrf")) {
                    log::warn!(target: "audit", user = session.user.as_str(), path = call.path.as_str(); "a form without its token was refused");
                    return Err(Failed::Page(
                        StatusCode::FORBIDDEN,
                        "This form did not come from a page of this session, so nothing was done. Open the page again and repeat it.".into(),
                    ));
                }
                self.change(visit, &parts).await
            }
            _ => Err(not_allowed()),
        }
    }

    async fn page(&self, visit: pages::Visit<'_>, parts: &[&str]) -> Answer {
        match parts {
            [] => pages::fleet::show(visit).await,
            ["devices", name] => pages::device::show(visit, &form::decode(name)).await,
            ["deployments"] => pages::deployments::show(visit).await,
            ["deployments", "new"] => pages::deploy::show(visit).await,
            ["deployments", id] => pages::deployment::show(visit, &form::decode(id)).await,
            ["components"] => pages::components::show(visit).await,
            ["events"] => pages::events::show(visit),
            ["events", "stream"] => Ok(pages::events::stream(visit)),
            _ => Err(missing("There is no such page.")),
        }
    }

    async fn change(&self, visit: pages::Visit<'_>, parts: &[&str]) -> Answer {
        match parts {
            ["sign-out"] => Ok(pages::sign_in::sign_out(visit)),
            ["deployments", "new"] => pages::deploy::submit(visit).await,
            ["deployments", id, "cancel"] => {
                pages::deployment::cancel(visit, &form::decode(id)).await
            }
            _ => Err(missing("There is no such page.")),
        }
    }

    fn failed(&self, failed: Failed, session: Option<&Session>) -> Response<Body> {
        let (status, text) = match failed {
            Failed::Elsewhere(place) => return elsewhere(&place),
            Failed::Page(status, text) => (status, text),
            Failed::Api(error) => view::explain(&error),
        };
        pages::problem(self, session, status, &text).unwrap_or_else(|_| {
            reply::plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                "text/plain; charset=utf-8",
                text,
            )
        })
    }
}

fn missing(text: &str) -> Failed {
    Failed::Page(StatusCode::NOT_FOUND, text.into())
}

fn not_allowed() -> Failed {
    Failed::Page(
        StatusCode::METHOD_NOT_ALLOWED,
        "This page cannot be used that way.".into(),
    )
}

/// 303, so that a reload does not send a form again.
fn elsewhere(place: &str) -> Response<Body> {
    let mut response = Response::new(reply::full(Bytes::new()));
    *response.status_mut() = StatusCode::SEE_OTHER;
    if let Ok(place) = HeaderValue::from_str(place) {
        response.headers_mut().insert(LOCATION, place);
    }
    response
}

fn html(status: StatusCode, page: String) -> Response<Body> {
    reply::plain(status, "text/html; charset=utf-8", page)
}

/// Browsers say which site a form is on. One of another site is refused whatever else it brings.
fn check_origin(call: &Call) -> Result<(), Failed> {
    let refused = || {
        Err(Failed::Page(
            StatusCode::FORBIDDEN,
            "This form came from another site, so nothing was done.".into(),
        ))
    };
    let site = call.headers.get("sec-fetch-site");
    if site.is_some_and(|site| site != "same-origin" && site != "none") {
        return refused();
    }
    let Some(origin) = call.headers.get(ORIGIN) else {
        return Ok(());
    };
    let host = call
        .headers
        .get(HOST)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    let scheme: &[u8] = if call.encrypted {
        b"https://"
    } else {
        b"http://"
    };
    match origin.as_bytes().strip_prefix(scheme) {
        Some(own) if own == host => Ok(()),
        _ => refused(),
    }
}

async fn read(request: Request<Incoming>, peer: &str) -> Result<Call, Failed> {
    let (parts, body) = request.into_parts();
    let encrypted = parts.extensions.get::<Encrypted>() == Some(&Encrypted(true));
    let mut form = Form::default();
    if parts.method == Method::POST {
        let kind = parts.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        if !kind.is_some_and(|kind| kind.starts_with(b"application/x-www-form-urlencoded")) {
            return Err(Failed::Page(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "A form was expected.".into(),
            ));
        }
        let collected = Limited::new(body, MAX_FORM).collect();
        let body = match tokio::time::timeout(FORM_TIME, collected).await {
            Ok(Ok(body)) => body.to_bytes(),
            _ => {
                return Err(Failed::Page(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "The form is too large, or did not arrive.".into(),
                ));
            }
        };
        form = Form::parse(&body);
    }
    let address = peer.rsplit_once(':').map_or(peer, |(address, _)| address);
    Ok(Call {
        path: parts
            .uri
            .path()
            .trim_start_matches("/console")
            .trim_end_matches('/')
            .to_owned(),
        query: Form::parse(parts.uri.query().unwrap_or_default().as_bytes()),
        method: parts.method,
        form,
        headers: parts.headers,
        encrypted,
        address: address.to_owned(),
    })
}

/// The headers that every answer of the console has.
fn guarded(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "same-origin"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("permissions-policy"),
            "camera=(), geolocation=(), microphone=()",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}
