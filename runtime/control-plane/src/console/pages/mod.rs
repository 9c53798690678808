//! A module for each page: what it asks for, its template, and what its forms do.

pub mod components;
pub mod deploy;
pub mod deployment;
pub mod deployments;
pub mod device;
pub mod events;
pub mod fleet;
pub mod sign_in;

use super::{Answer, Call, Console, assets, html, session::Session};
use crate::http::Body;
use askama::Template;
use http::{Response, StatusCode};

/// A request for a page by somebody who is signed in.
#[derive(Clone, Copy)]
pub struct Visit<'a> {
    /// The console.
    pub console: &'a Console,
    pub(super) call: &'a Call,
    /// Who.
    pub session: &'a Session,
}

/// What is around every page.
pub struct Frame {
    /// The user; empty when nobody is signed in.
    pub user: String,
    /// For forms.
    pub token: String,
    /// The part of the console that the page belongs to.
    pub here: &'static str,
    /// The account's number.
    pub account: String,
    /// The region.
    pub region: String,
    /// Of the files that pages refer to.
    pub revision: &'static str,
}

impl Frame {
    fn new(console: &Console, session: Option<&Session>, here: &'static str) -> Self {
        Self {
            user: session.map(|s| s.user.clone()).unwrap_or_default(),
            token: session.map(|s| s.token.clone()).unwrap_or_default(),
            here,
            account: console.state.account.id.clone(),
            region: console.state.account.region.clone(),
            revision: &assets::REVISION,
        }
    }
}

impl Visit<'_> {
    fn frame(&self, here: &'static str) -> Frame {
        Frame::new(self.console, Some(self.session), here)
    }
}

/// A link below a table to another part of it.
pub struct Step {
    /// Its text.
    pub text: &'static str,
    /// Where to.
    pub link: String,
}

fn shown(page: &impl Template) -> Answer {
    Ok(html(StatusCode::OK, page.render()?))
}

#[derive(Template)]
#[template(path = "console/problem.html")]
struct Problem<'a> {
    frame: Frame,
    status: u16,
    title: &'static str,
    text: &'a str,
}

/// A page that says why another one cannot be shown.
pub fn problem(
    console: &Console,
    session: Option<&Session>,
    status: StatusCode,
    text: &str,
) -> Result<Response<Body>, askama::Error> {
    let title = match status {
        StatusCode::NOT_FOUND => "Not found",
        StatusCode::FORBIDDEN => "Refused",
        status if status.is_server_error() => "Something went wrong",
        _ => "That did not work",
    };
    let page = Problem {
        frame: Frame::new(console, session, ""),
        status: status.as_u16(),
        title,
        text,
    };
    Ok(html(status, page.render()?))
}
