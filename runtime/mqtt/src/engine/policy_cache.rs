//! A connection's decisions, remembered until the policy's revision changes. Small: a device uses few topics.

use crate::{Identity, Policy, QoS};
use bytestring::ByteString;
use std::collections::HashMap;

/// Topics remembered; when full, all are forgotten.
const REMEMBERED: usize = 64;

/// Two bits of an answer for each pair of QoS and retain flag: asked, allowed.
#[derive(Clone, Copy, Default)]
struct Answers {
    asked: u8,
    allowed: u8,
}

#[derive(Default)]
pub(crate) struct Cache {
    publish: HashMap<ByteString, Answers>,
    /// The topic of the last message.
    last: Option<(ByteString, Answers)>,
    receive: HashMap<ByteString, bool>,
}

impl Cache {
    pub fn may_publish(
        &mut self,
        policy: &dyn Policy,
        who: &Identity,
        topic: &str,
        qos: QoS,
        retain: bool,
    ) -> bool {
        let bit = 1 << (qos as u8 * 2 + u8::from(retain));
        if let Some((last, answers)) = &self.last
            && answers.asked & bit != 0
            && *last == *topic
        {
            return answers.allowed & bit != 0;
        }
        let mut answers = self.publish.get(topic).copied().unwrap_or_default();
        if answers.asked & bit == 0 {
            answers.asked |= bit;
            if policy.publish(who, topic, qos, retain) {
                answers.allowed |= bit;
            }
        }
        let topic = match self.publish.get_key_value(topic) {
            Some((known, _)) => known.clone(),
            None => ByteString::from(topic),
        };
        if self.publish.len() >= REMEMBERED {
            self.publish.clear();
        }
        self.publish.insert(topic.clone(), answers);
        self.last = Some((topic, answers));
        answers.allowed & bit != 0
    }

    pub fn may_receive(&mut self, policy: &dyn Policy, who: &Identity, topic: &str) -> bool {
        if let Some(known) = self.receive.get(topic) {
            return *known;
        }
        let allowed = policy.receive(who, topic);
        if self.receive.len() >= REMEMBERED {
            self.receive.clear();
        }
        self.receive.insert(ByteString::from(topic), allowed);
        allowed
    }
}
