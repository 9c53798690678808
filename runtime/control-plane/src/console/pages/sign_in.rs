//! Signing in and out.

use super::{Frame, Visit};
use crate::{
    console::{
        Answer, Call, Console, Failed, check_origin, elsewhere, form,
        form::encode,
        html,
        session::{self, Session, cookie_name, same, set_cookie},
    },
    http::{ApiError, Body, Secret},
    state::users,
};
use askama::Template;
use http::{
    HeaderValue, Response, StatusCode,
    header::{RETRY_AFTER, SET_COOKIE},
};
use std::time::{Duration, Instant};

/// The longest name and password that are looked at.
const LONGEST: usize = 1024;

#[derive(Template)]
#[template(path = "console/sign_in.html")]
struct Page<'a> {
    frame: Frame,
    /// Where to afterwards.
    next: &'a str,
    name: &'a str,
    token: &'a str,
    problem: &'a str,
    encrypted: bool,
}

/// The cookie that ties the form to the browser that it was given to.
fn form_cookie(encrypted: bool) -> &'static str {
    if encrypted {
        "__Host-greengrass-sign-in"
    } else {
        "greengrass-sign-in"
    }
}

/// The link to this page that comes back to where somebody wanted to go.
pub fn link(call: &Call) -> String {
    match call.path.as_str() {
        "" => "/console/sign-in".into(),
        path => format!("/console/sign-in?next={}", encode(path)),
    }
}

/// Only pages of the console: never to another site.
fn destination(next: &str) -> String {
    let good = next.starts_with('/')
        && next
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"/-_.:%".contains(&b));
    format!("/console{}", if good { next } else { "/" })
}

fn with_cookie(mut response: Response<Body>, name: &str, value: &str, encrypted: bool) -> Answer {
    let cookie = HeaderValue::from_str(&set_cookie(name, value, encrypted));
    let cookie = cookie.map_err(ApiError::internal)?;
    response.headers_mut().append(SET_COOKIE, cookie);
    Ok(response)
}

fn page(
    console: &Console,
    call: &Call,
    status: StatusCode,
    (next, name, problem): (&str, &str, &str),
) -> Answer {
    let token = session::random().map_err(ApiError::from)?;
    let page = Page {
        frame: Frame::new(console, None, ""),
        next,
        name,
        token: &token,
        problem,
        encrypted: call.encrypted,
    };
    with_cookie(
        html(status, page.render()?),
        form_cookie(call.encrypted),
        &token,
        call.encrypted,
    )
}

/// The form.
pub fn show(console: &Console, call: &Call, session: Option<&Session>) -> Answer {
    if session.is_some() {
        return Ok(elsewhere("/console/"));
    }
    page(
        console,
        call,
        StatusCode::OK,
        (call.query.get("next"), "", ""),
    )
}

/// A try.
pub async fn submit(console: &Console, call: &Call) -> Answer {
    check_origin(call)?;
    let (next, name) = (call.form.get("next"), call.form.get("name"));
    let password = call.form.raw("password");
    let again = |status, problem: &str| page(console, call, status, (next, name, problem));
    let cookie = form::cookie(&call.headers, form_cookie(call.encrypted)).unwrap_or_default();
    if cookie.is_empty() || !same(&cookie, call.form.get("csrf")) {
        return again(
            StatusCode::FORBIDDEN,
            "That form was too old, or cookies are off. Please try once more.",
        );
    }
    if name.is_empty() || name.len() > LONGEST || password.is_empty() || password.len() > LONGEST {
        return again(
            StatusCode::UNPROCESSABLE_ENTITY,
            "Enter a user name and a password.",
        );
    }
    let wait = console.throttle.wait(&call.address, name, Instant::now());
    if wait > Duration::ZERO {
        return too_many(again, wait);
    }
    // One place for each check, and nobody waits long for one: guessers must not use up memory or time.
    let place = tokio::time::timeout(Duration::from_secs(10), console.checks.acquire()).await;
    let Ok(Ok(_place)) = place else {
        return too_many(again, Duration::from_secs(10));
    };
    let database = &console.state.database;
    let standing = users::console_standing(database, name)
        .await
        .map_err(ApiError::from)?;
    let good = users::signs_in(database, name.to_owned(), Secret::new(password)).await;
    let good = good.map_err(ApiError::from)?;
    let Some(standing) = standing.filter(|_| good) else {
        console.throttle.failed(&call.address, name, Instant::now());
        log::warn!(target: "audit", user = name, address = call.address.as_str(); "a sign-in failed");
        return again(
            StatusCode::UNAUTHORIZED,
            "The user name or the password is not right.",
        );
    };
    console.throttle.succeeded(&call.address, name);
    log::info!(target: "audit", user = name, address = call.address.as_str(); "signed in");
    console
        .events
        .add("console", "quiet", format!("{name} signed in"), None, None);
    let cookie = console
        .sessions
        .begin(name, &standing)
        .map_err(ApiError::from)?;
    let response = with_cookie(
        elsewhere(&destination(next)),
        cookie_name(call.encrypted),
        &cookie,
        call.encrypted,
    )?;
    with_cookie(response, form_cookie(call.encrypted), "", call.encrypted)
}

fn too_many(again: impl FnOnce(StatusCode, &str) -> Answer, wait: Duration) -> Answer {
    let seconds = wait.as_secs() + 1;
    let text = format!("Too many tries. Wait {seconds} seconds before the next one.");
    let mut response = again(StatusCode::TOO_MANY_REQUESTS, &text)?;
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from(seconds));
    Ok(response)
}

/// Ends the session.
pub fn sign_out(visit: Visit<'_>) -> Response<Body> {
    let encrypted = visit.call.encrypted;
    if let Some(cookie) = form::cookie(&visit.call.headers, cookie_name(encrypted)) {
        visit.console.sessions.end(&cookie);
    }
    log::info!(target: "audit", user = visit.session.user.as_str(); "signed out");
    let response = elsewhere("/console/sign-in");
    match with_cookie(response, cookie_name(encrypted), "", encrypted) {
        Ok(response) => response,
        Err(Failed::Elsewhere(_) | Failed::Api(_) | Failed::Page(..)) => {
            elsewhere("/console/sign-in")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signing_in_never_leads_to_another_site() {
        assert_eq!(destination("/devices/a%2Fb"), "/console/devices/a%2Fb");
        for bad in [
            "",
            "https://example.com",
            "javascript:alert(1)",
            "/\r\nX: y",
            "/a?b=c#d",
        ] {
            assert_eq!(destination(bad), "/console/", "{bad:?}");
        }
        assert_eq!(
            destination("//example.com"),
            "/console//example.com",
            "a path of this host"
        );
    }
}
