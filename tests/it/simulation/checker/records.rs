//! What is written to the store: nothing overwrites a decision that counts, and nothing ends the
//! claim of somebody who still asks.

use connector_bridge::domain::{outcome::Source, shared::Delivery};

/// Milliseconds without a beat after which a lease is over.
const LEASE_TIME: i64 = 1_800;

use super::{Moment, Told};
use crate::simulation::history::{Answer, Kept, NOT_A_DECISION, Phase, What};

pub(super) fn check(told: &Told<'_>, broken: &mut Vec<String>) {
    for (index, event) in told.run.history.events.iter().enumerate() {
        let What::Wrote { person, before, after } = &event.what else { continue };
        let at = (event.at, index);
        if matches!(after.phase, Phase::Decided { decision: NOT_A_DECISION, .. }) {
            broken.push(format!("at {} ms a fallback is recorded as a decision", at.0));
        }
        // Clocks may be wrong by 5 s each: that of who wrote it, and that of who replaces it.
        let margin = if told.clocks_agree { 0 } else { 10_000 };
        let Some(before) = before.as_ref().filter(|before| at.0 + margin < before.ends) else {
            continue;
        };
        if let Err(what) = may_replace(told, *person, at, before, after) {
            broken.push(format!("at {} ms {what}: [{after}] in place of [{before}]", at.0));
        }
    }
}

fn may_replace(
    told: &Told<'_>,
    person: usize,
    at: Moment,
    before: &Kept,
    after: &Kept,
) -> Result<(), &'static str> {
    let same_round = before.round == after.round;
    match (&before.phase, &after.phase) {
        (
            Phase::Decided { decision: old, delivery, replayed, .. },
            Phase::Decided { decision: new, delivery: now, replayed: now_replayed, .. },
        ) => {
            let is_kept = match delivery {
                Delivery::Presumed => true,
                Delivery::No => *now != Delivery::Presumed,
                Delivery::Yes => *now == Delivery::Yes,
            };
            let keeps = is_kept && now_replayed >= replayed;
            // A process whose clock is behind believes no end that lies too far ahead.
            let same = same_round && old == new && after.ends <= before.ends;
            if same && keeps { Ok(()) } else { Err("a decision is replaced by another") }
        }
        (Phase::Decided { .. }, Phase::FellBack) => Err("a fallback replaces a decision"),
        (
            Phase::Decided { decision, is_about_form, delivery, replayed },
            Phase::Claimed { process, .. },
        ) => {
            let is_used = *delivery != Delivery::No || *replayed;
            let is_over = is_used || knows(told, person, *decision, *process, at);
            if same_round || !is_about_form || !is_over {
                return Err("a decision that counts is decided anew");
            }
            Ok(())
        }
        // Its own ValidationError was delivered, and is not written yet.
        (Phase::Claimed { process, .. }, Phase::Claimed { process: now, .. })
            if process == now && !same_round =>
        {
            Ok(())
        }
        (Phase::Claimed { process, until }, Phase::Claimed { process: now, .. }) => {
            let ((since, index), _) = told.record_at(person, at).ok_or("no lease is replaced")?;
            let since = (since, index);
            let has_sent = told.messages.iter().any(|message| {
                told.person_of(message) == person
                    && told.posts[message.post].process == *process
                    && since < message.at
                    && message.at < at
            });
            // Its own one, before anybody was asked.
            let is_anew = process == now && !has_sent && after.unanswered == before.unanswered;
            if !same_round || after.unanswered <= before.unanswered && !is_anew {
                return Err("a claim is taken over as if nobody had been asked");
            }
            let is_silent = told.was_silent(*process, since, at, LEASE_TIME);
            let is_over = at.0 >= *until || process == now || is_silent;
            if told.clocks_agree && !is_over {
                Err("a claim that holds is taken over")
            } else {
                Ok(())
            }
        }
        (Phase::FellBack, Phase::Claimed { .. }) => {
            let goes_on = same_round && after.unanswered >= before.unanswered;
            if goes_on { Ok(()) } else { Err("after a fallback the round does not go on") }
        }
        (Phase::Claimed { .. }, Phase::FellBack) => {
            if !same_round {
                return Err("a fallback ends another round");
            }
            if is_asking(told, person, before, at) {
                return Err("a fallback ends the claim of somebody who asks");
            }
            Ok(())
        }
        (Phase::FellBack, Phase::FellBack) => Err("a fallback replaces a fallback"),
        (Phase::Claimed { .. }, Phase::Decided { .. }) => {
            if same_round {
                Ok(())
            } else {
                Err("a decision ends another round")
            }
        }
        (Phase::FellBack, Phase::Decided { .. }) => Ok(()),
    }
}

/// Whether the process itself knows that a ValidationError was delivered or replayed.
fn knows(told: &Told<'_>, person: usize, decision: u32, process: usize, at: Moment) -> bool {
    told.posts.iter().any(|post| {
        let mine = (post.person, post.process) == (person, process);
        let got = post.answered.as_ref().is_some_and(|(answered, answer)| {
            // While the store fails, a round may have two decisions.
            let is_it = answer.decision == Some(decision);
            *answered < at && answer.is_about_form() && (is_it || !told.store_is_healthy)
        });
        let is_replay = |(_, answer): &(Moment, Answer)| answer.source == Source::Replay;
        let is_replayed = post.answered.as_ref().is_some_and(is_replay);
        mine && got && (is_replayed || post.delivered.is_some_and(|delivered| delivered < at))
    })
}

/// Whether the request that claimed by this record still asks. Two claims of one process within a
/// millisecond end at the same time; the later one counts more messages.
fn is_asking(told: &Told<'_>, person: usize, claimed: &Kept, at: Moment) -> bool {
    let Phase::Claimed { process, .. } = claimed.phase else { return false };
    let start = told.posts.iter().filter(|post| (post.person, post.process) == (person, process));
    let claims = start.filter(|post| {
        told.between(post.at, at).any(|(_, what)| match what {
            What::Asked { process: who, person: whose, record } => {
                (*who, *whose) == (process, person)
                    && (&record.phase, record.unanswered) == (&claimed.phase, claimed.unanswered)
            }
            _ => false,
        })
    });
    // Of those that were there when it was claimed, the one that has claimed came last.
    let claimant = claims.max_by_key(|post| (post.messages.len().min(1), post.at));
    claimant.is_some_and(|post| {
        !post.messages.is_empty() && post.is_open_at(at) && told.ran(process, post.at.0, at.0)
    })
}
