//! What leases are for: calls of the dead are taken over soon, calls of the living are not, and an
//! owner whose lease is over sends nothing as if it still had it.

use super::{Post, Told};
use crate::simulation::history::{Phase, What};

/// How soon a call is taken over for a request that comes after its owner has died: when the owner
/// has been silent for 1.8 s, and was looked at once more.
const TAKEN_OVER_WITHIN: i64 = 1_800 + 250;

pub(super) fn check(told: &Told<'_>, broken: &mut Vec<String>) {
    if told.is_sound() {
        told.posts.iter().for_each(|post| taken_over(told, post, broken));
        fenced(told, broken);
    }
}

/// Who asks after a crash is not kept waiting for the dead.
fn taken_over(told: &Told<'_>, post: &Post, broken: &mut Vec<String>) {
    let by = post.at.0 + TAKEN_OVER_WITHIN;
    let Some((_, record)) = told.record_at(post.person, post.at) else { return };
    let Phase::Claimed { process, .. } = record.phase else { return };
    let is_dead = told.processes[process].died.is_some_and(|died| died < post.at);
    if !is_dead || !told.ran(post.process, post.at.0, by) {
        return;
    }
    let is_answered = post.answered.as_ref().is_some_and(|((at, _), _)| *at <= by);
    let goes_on = told
        .between(post.at, told.end_of(by))
        .any(|(_, what)| matches!(what, What::Wrote { person, .. } if *person == post.person));
    if !is_answered && !goes_on {
        broken.push(format!("post {} waits for process {process}, which is dead", post.number));
    }
}

/// A worker that was told of an earlier message is not told afterwards that there was none.
fn fenced(told: &Told<'_>, broken: &mut Vec<String>) {
    // A form that is posted again is a call of its own.
    if told.run.plan.workers.about_form > 0 {
        return;
    }
    for (number, message) in told.messages.iter().enumerate() {
        let post = &told.posts[message.post];
        let other = told.messages[..number].iter().position(|other| {
            told.person_of(other) == post.person
                && told.posts[other.post].process != post.process
                && other.attempt > 1
                && post.at < other.at
        });
        if let Some(other) = other.filter(|_| message.attempt == 1) {
            broken.push(format!("message {number} is a first one after message {other}"));
        }
    }
}
