//! From the spool to the client: in order, several under way at once, forgotten in order once they have arrived.

use crate::{
    Standing,
    spool::{Entry, Spool},
};
use mqtt::{
    QoS,
    client::{Acknowledgement, Client, PubAck, PublishError, PublishOptions, Reason, WhenOffline},
};
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

/// How often a message is tried again that the broker has no room for now; Greengrass's `maxPublishRetry`.
const TRIES: u32 = 100;
const AGAIN: Duration = Duration::from_secs(1);
/// The spool's disk may come back.
const READ_AGAIN: Duration = Duration::from_secs(5);
/// Refusals of many messages are told this often.
const TELL_EVERY: Duration = Duration::from_secs(10);

struct UnderWay {
    entry: Entry,
    tries: u32,
    answer: Acknowledgement,
}

/// What is to be done with a message after its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    /// It has arrived, or never will.
    Done,
    /// The broker may take it later.
    Again,
    /// The client has ended; the next one sends it.
    Keep,
}

/// Runs until the client or the spool has ended.
pub async fn run(client: &Client, spool: &Spool, standing: &watch::Sender<Arc<Standing>>) {
    let mut page: VecDeque<Entry> = VecDeque::new();
    let mut under_way: VecDeque<UnderWay> = VecDeque::new();
    let mut last = 0;
    let mut refusals = Refusals::default();
    let (window, _) = limits(standing);
    loop {
        let full = under_way.len() >= window;
        tokio::select! {
            biased;
            answer = async { (&mut under_way[0].answer).await }, if !under_way.is_empty() => {
                let sent = under_way.pop_front().expect("its answer came");
                match verdict(&answer, sent.tries) {
                    Verdict::Keep => return,
                    Verdict::Again => {
                        sleep(AGAIN).await;
                        let Ok(answer) = client.send(sent.entry.message.clone(), options(&sent.entry, standing)).await else {
                            return;
                        };
                        under_way.push_front(UnderWay { tries: sent.tries + 1, answer, ..sent });
                    }
                    Verdict::Done => {
                        if let Err(error) = answer {
                            refusals.tell(&sent.entry, &error);
                        }
                        spool.done(sent.entry.id, sent.entry.size);
                    }
                }
            }
            read = next(spool, &mut page, last), if !full => {
                let entry = match read {
                    Ok(entry) => entry,
                    Err(error) => {
                        log::error!("the MQTT spool cannot be read: {error}");
                        sleep(READ_AGAIN).await;
                        continue;
                    }
                };
                last = entry.id;
                let sending = client.send(entry.message.clone(), options(&entry, standing));
                match sending.await {
                    Ok(answer) => under_way.push_back(UnderWay { entry, tries: 1, answer }),
                    Err(PublishError::Stopped) => return,
                    Err(error) => {
                        // Those before it first: the spool forgets in order.
                        while let Some(sent) = under_way.pop_front() {
                            match sent.answer.await {
                                Err(PublishError::Stopped) => return,
                                _ => spool.done(sent.entry.id, sent.entry.size),
                            }
                        }
                        refusals.tell(&entry, &error);
                        spool.done(entry.id, entry.size);
                    }
                }
            }
        }
    }
}

async fn next(
    spool: &Spool,
    page: &mut VecDeque<Entry>,
    last: u64,
) -> Result<Entry, crate::SpoolError> {
    loop {
        if let Some(entry) = page.pop_front() {
            return Ok(entry);
        }
        page.extend(spool.after(last).await?);
    }
}

fn limits(standing: &watch::Sender<Arc<Standing>>) -> (usize, bool) {
    match &**standing.borrow() {
        Standing::Ready(settings) => (
            settings.mqtt.in_flight.into(),
            settings.mqtt.spooler.keep_qos0,
        ),
        _ => (1, false),
    }
}

fn options(entry: &Entry, standing: &watch::Sender<Arc<Standing>>) -> PublishOptions {
    let (_, keep_qos0) = limits(standing);
    let kept = entry.message.qos != QoS::AtMostOnce || keep_qos0;
    PublishOptions {
        when_offline: if kept {
            WhenOffline::Wait
        } else {
            WhenOffline::Fail
        },
        tag: None,
    }
}

fn verdict(answer: &Result<PubAck, PublishError>, tries: u32) -> Verdict {
    match answer {
        Err(PublishError::Stopped) => Verdict::Keep,
        Err(PublishError::Refused { reason, .. }) if is_passing(*reason) && tries < TRIES => {
            Verdict::Again
        }
        _ => Verdict::Done,
    }
}

/// Unspecified, implementation specific, quota exceeded.
fn is_passing(reason: Reason) -> bool {
    matches!(reason.0, 0x80 | 0x83 | 0x97)
}

/// Tells of messages that are given up, some for all.
#[derive(Default)]
struct Refusals {
    told: Option<Instant>,
    untold: u32,
}

impl Refusals {
    fn tell(&mut self, entry: &Entry, error: &PublishError) {
        let topic = &*entry.message.topic;
        if self.told.is_some_and(|at| at.elapsed() < TELL_EVERY) {
            self.untold += 1;
            return log::debug!(topic = topic; "a message is given up: {error}");
        }
        log::warn!(topic = topic, before = self.untold; "a message is given up: {error}");
        self.told = Some(Instant::now());
        self.untold = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(reason: u8) -> Result<PubAck, PublishError> {
        Err(PublishError::Refused {
            reason: Reason(reason),
            text: None,
        })
    }

    #[test]
    fn a_message_is_tried_again_only_while_the_broker_may_still_take_it() {
        assert_eq!(verdict(&Ok(PubAck::default()), 1), Verdict::Done);
        assert_eq!(verdict(&refused(0x87), 1), Verdict::Done);
        assert_eq!(verdict(&refused(0x97), 1), Verdict::Again);
        assert_eq!(verdict(&refused(0x97), TRIES), Verdict::Done);
        assert_eq!(verdict(&Err(PublishError::Expired), 1), Verdict::Done);
        assert_eq!(verdict(&Err(PublishError::Stopped), 1), Verdict::Keep);
    }
}
