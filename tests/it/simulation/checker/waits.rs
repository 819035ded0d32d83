//! The store costs a call 250 ms at most, before its message is sent and before it is answered.

use connector_bridge::domain::outcome::Reason;

use super::{Post, Told};
use crate::simulation::history::Said;

/// What the store may cost, and what the timers add.
const STORE_TIME_MAX: i64 = 250 + 3;

/// The longest pause between two looks at another replica's lease, and how long it may take then to
/// look whether that one lives.
const LOOK_PAUSE_MAX: i64 = 320 + 100;

pub(super) fn check(told: &Told<'_>, broken: &mut Vec<String>) {
    for post in &told.posts {
        let first = post.messages.first().map_or(post.at.0, |message| told.messages[*message].at.0);
        let end = post.answered.as_ref().map_or(first, |(at, _)| at.0);
        if !told.ran(post.process, post.at.0, end) {
            continue;
        }
        if told.was_connected(post.process, post.at.0, end) {
            before_it_is_sent(told, post, broken);
        }
        before_it_is_answered(told, post, broken);
    }
}

fn before_it_is_sent(told: &Told<'_>, post: &Post, broken: &mut Vec<String>) {
    let number = post.number;
    let Some(first) = post.messages.first().map(|message| &told.messages[*message]) else {
        if let Some((at, answer)) = &post.answered
            && answer.reason == Some(Reason::Timeout)
            && told.foreign_claims(post, *at).next().is_none()
            && !joins_here(told, post)
        {
            broken.push(format!("post {number} waits for nobody"));
        }
        return;
    };
    let (from, most) = match told.foreign_claims(post, first.at).next_back() {
        None => (post.at.0, STORE_TIME_MAX),
        Some((looked, _)) => (looked, STORE_TIME_MAX + LOOK_PAUSE_MAX),
    };
    if first.at.0 - from > most {
        broken.push(format!("post {number} waits {} ms for the store", first.at.0 - from));
    }
}

fn before_it_is_answered(told: &Told<'_>, post: &Post, broken: &mut Vec<String>) {
    let Some((answered, _)) = &post.answered else { return };
    for message in post.messages.iter().map(|message| &told.messages[*message]) {
        let decided = message.came.iter().find(|(_, said)| matches!(said, Said::Decision(_)));
        let Some((came, _)) = decided.filter(|(came, _)| came < answered) else { continue };
        if answered.0 - came.0 > STORE_TIME_MAX {
            let waits = answered.0 - came.0;
            broken.push(format!("post {} has its decision and waits {waits} ms", post.number));
        }
    }
}

/// Whether another request for the call was in flight at the same process.
fn joins_here(told: &Told<'_>, post: &Post) -> bool {
    told.posts.iter().any(|other| {
        (other.person, other.process) == (post.person, post.process) && other.is_open_at(post.at)
    })
}
