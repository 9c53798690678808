//! The live log of events, and the stream that keeps pages current.

use super::{Frame, Visit, shown};
use crate::{
    console::{Answer, events::Line},
    http::Body,
};
use askama::Template;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Response, header::CONTENT_TYPE};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame as Piece;
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio_util::sync::CancellationToken;

/// How often a silent stream says that it is there.
const BEAT: Duration = Duration::from_secs(15);

#[derive(Template)]
#[template(path = "console/events.html")]
struct Page {
    frame: Frame,
    lines: Vec<Arc<Line>>,
    last: u64,
}

/// The latest lines, the newest first.
pub fn show(visit: Visit<'_>) -> Answer {
    let mut lines = visit.console.events.after(0);
    lines.reverse();
    shown(&Page {
        frame: visit.frame("events"),
        last: lines.first().map_or(0, |line| line.number),
        lines,
    })
}

/// A stream as browsers' `EventSource` reads it: after `?after=`, or after the last that the browser had.
pub fn stream(visit: Visit<'_>) -> Response<Body> {
    let seen = visit.call.headers.get("last-event-id");
    let seen = seen.and_then(|seen| seen.to_str().ok());
    let number = seen.unwrap_or(visit.call.query.get("after")).parse().ok();
    let (missed, next) = visit.console.events.follow(number);
    let follower = Follower {
        missed: missed.into(),
        next,
        stop: visit.console.stop.clone(),
        token: visit.session.token.clone(),
    };
    let sessions = visit.console.sessions.clone();
    let pieces = stream::unfold(
        (follower, sessions),
        |(mut follower, sessions)| async move {
            let text = follower.text(|token| sessions.goes_on(token)).await?;
            let piece = Piece::data(Bytes::from(text));
            Some((
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(piece),
                (follower, sessions),
            ))
        },
    );
    let mut response = Response::new(StreamBody::new(pieces).boxed_unsync());
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream; charset=utf-8"),
    );
    response
}

struct Follower {
    missed: VecDeque<Arc<Line>>,
    next: Receiver<Arc<Line>>,
    stop: CancellationToken,
    token: String,
}

impl Follower {
    /// What to send next; `None` at the end of the program or of the session.
    async fn text(&mut self, goes_on: impl Fn(&str) -> bool) -> Option<String> {
        if let Some(line) = self.missed.pop_front() {
            return Some(event(&line));
        }
        let next = tokio::time::timeout(BEAT, self.next.recv());
        let next = self.stop.run_until_cancelled(next).await?;
        if !goes_on(&self.token) {
            return None;
        }
        match next {
            Ok(Ok(line)) => Some(event(&line)),
            Ok(Err(RecvError::Lagged(_))) => Some("event: lost\ndata: {}\n\n".into()),
            Ok(Err(RecvError::Closed)) => None,
            Err(_) => Some(":\n\n".into()),
        }
    }
}

/// JSON has no line breaks in it, so it is one line of data.
fn event(line: &Line) -> String {
    let data = serde_json::to_string(line).unwrap_or_default();
    format!("id: {}\ndata: {data}\n\n", line.number)
}
