//! What workers get: never too late, never twice for nothing, and numbered as promised.

use super::{Moment, Post, Process, Told};
use crate::simulation::history::{Kept, Phase, Said, What};

pub(super) fn check(told: &Told<'_>, broken: &mut Vec<String>) {
    for (number, message) in told.messages.iter().enumerate() {
        let post = &told.posts[message.post];
        let deadline = i64::try_from(told.times.deadline).unwrap();
        let decided_by = post.at.0 + deadline - (deadline / 10).clamp(10, 100);
        if !told.ran(post.process, post.at.0, message.at.0) {
            // It comes when the process goes on, and its time begins then.
        } else if message.left <= 0 || message.at.0 + message.left != decided_by {
            broken.push(format!("message {number} is sent too late or says so wrongly"));
        }
        if post.at > message.at || !post.is_open_at(message.at) {
            broken.push(format!("message {number} is sent for nobody"));
        }
        if told.is_sound()
            && told.ran(post.process, post.at.0, message.at.0)
            && let Some(other) = asks_already(told, post, message.at)
        {
            broken.push(format!("message {number} is sent while post {other} asks already"));
        }
        if let Some(least) = attempt_least(told, post, message.at)
            && message.attempt < least
        {
            broken.push(format!(
                "message {number} is attempt {}, which its sender knows to be {least} at least",
                message.attempt
            ));
        }
        let all_run = told.processes.iter().all(Process::always_ran);
        if told.is_sound() && all_run && message.attempt > 1 {
            let earlier = told.messages[..number].iter().any(|earlier| {
                told.person_of(earlier) == post.person && earlier.attempt == message.attempt - 1
            });
            if !earlier {
                broken.push(format!("message {number} leaves out an attempt"));
            }
        }
    }
}

/// Another request for the same call that has asked the workers and waits.
fn asks_already(told: &Told<'_>, post: &Post, at: Moment) -> Option<usize> {
    let others = told.posts.iter().filter(|other| {
        other.number != post.number
            && other.person == post.person
            && other.is_open_at(at)
            && told.ran(other.process, other.at.0, at.0)
            && other.messages.iter().any(|message| {
                let message = &told.messages[*message];
                let nobody = |(_, said): &(Moment, Said)| *said == Said::NobodyListens;
                message.at < at && message.reaches && !message.came.iter().any(nobody)
            })
    });
    others.map(|other| other.number).next()
}

/// The least attempt that fits to what the sender has read last.
fn attempt_least(told: &Told<'_>, post: &Post, at: Moment) -> Option<u32> {
    if !told.clocks_agree
        || post.messages.first().is_none_or(|first| told.messages[*first].at != at)
    {
        return None;
    }
    // What is written behind an earlier answer reads too, and sends nothing.
    let a_while_before = told.end_of(post.at.0 - 1_000);
    let settles = told.between(a_while_before, at).any(|(_, what)| {
        matches!(what, What::Asked { process, person, record }
            if (*process, *person) == (post.process, post.person)
                && !matches!(record.phase, Phase::Claimed { .. }))
    });
    if settles {
        return None;
    }
    let mut asked: Option<&Kept> = None;
    let mut own_round = None;
    let mut least = None;
    for (at, what) in told.between(post.at, at) {
        match what {
            What::Asked { process, person, record }
                if (*process, *person) == (post.process, post.person)
                    && matches!(record.phase, Phase::Claimed { .. }) =>
            {
                asked = Some(record);
            }
            What::Read { process, person, record: Ok(record) }
                if (*process, *person) == (post.process, post.person) =>
            {
                let live = record.as_ref().filter(|record| at.0 < record.ends);
                let own = live.filter(|record| {
                    matches!(record.phase, Phase::Claimed { process, .. } if process == post.process)
                });
                own_round = own.map(|record| record.round);
                least = match live.map(|record| (record, &record.phase)) {
                    None | Some((_, Phase::Decided { .. })) => None,
                    Some((record, Phase::Claimed { .. })) if Some(record) == asked => {
                        Some(record.unanswered + 1)
                    }
                    Some((record, Phase::Claimed { .. })) => Some(record.unanswered + 2),
                    Some((record, Phase::FellBack)) => Some(record.unanswered + 1),
                };
            }
            _ => {}
        }
    }
    // Its own ValidationError was delivered, and is not written yet: it decides anew.
    let is_anew = own_round.is_some_and(|own| asked.is_some_and(|asked| asked.round != own));
    least.filter(|_| !is_anew)
}
