//! What becomes of decisions: each counts for its window, everywhere, and a ValidationError is
//! replayed once and never after it was delivered.

use std::collections::{BTreeMap, BTreeSet};

use connector_bridge::domain::outcome::{Reason, Source};

use super::{Moment, Post, Process, SOON, Told};
use crate::simulation::{
    history::{Decision, Phase, Said, What},
    plan::Class,
};

/// The longest pause before what could not be written is tried again.
const TRIED_AGAIN_AFTER: i64 = 5_000;

pub(super) fn check(told: &Told<'_>, broken: &mut Vec<String>) {
    one_decision_a_round(told, broken);
    windows(told, broken);
    forms(told, broken);
    recorded(told, broken);
    if told.is_sound() {
        told.posts.iter().for_each(|post| replayed(told, post, broken));
        told.posts.iter().for_each(|post| joined(told, post, broken));
        told.posts.iter().for_each(|post| joined_elsewhere(told, post, broken));
    }
}

/// Of one round only one decision is ever answered: where the store is healthy, and everywhere
/// where workers deduplicate.
fn one_decision_a_round(told: &Told<'_>, broken: &mut Vec<String>) {
    if !told.is_sound() && !told.run.plan.workers.deduplicates {
        return;
    }
    let mut rounds: BTreeMap<usize, BTreeSet<Decision>> = BTreeMap::new();
    for event in &told.run.history.events {
        let What::Asked { process, person, record } = &event.what else { continue };
        let Phase::Decided { decision, .. } = record.phase else { continue };
        let is_answered = told.posts.iter().any(|post| {
            (post.person, post.process) == (*person, *process)
                && post.answered.as_ref().is_some_and(|(at, answer)| {
                    answer.decision == Some(decision)
                        && answer.reason.is_none()
                        && told.ran(post.process, post.at.0, at.0)
                })
        });
        if is_answered && (told.is_sound() || !is_unclaimed(told, *person)) {
            rounds.entry(record.round).or_default().insert(decision);
        }
    }
    for (round, decisions) in rounds.into_iter().filter(|(_, decisions)| decisions.len() > 1) {
        broken.push(format!("round {round} is answered with the decisions {decisions:?}"));
    }
}

/// Whether the workers were asked without a claim: then there may be two rounds at once.
fn is_unclaimed(told: &Told<'_>, person: usize) -> bool {
    told.messages.iter().any(|message| {
        let post = &told.posts[message.post];
        let is_claimed = told.between(post.at, message.at).any(|(_, what)| {
            matches!(what, What::Told { process, person: whose, written: Ok(true) }
                if (*process, *whose) == (post.process, person))
        });
        post.person == person && !is_claimed
    })
}

/// A decision counts from when it came until the window is over, and so does a late one.
fn windows(told: &Told<'_>, broken: &mut Vec<String>) {
    if !told.clocks_agree {
        return;
    }
    let window = i64::try_from(told.times.window).unwrap();
    let came = |decision: Decision, before: Moment| {
        let came = told.messages.iter().flat_map(|message| &message.came);
        let of_it =
            came.filter(move |(at, said)| *said == Said::Decision(decision) && *at < before);
        of_it.map(|((at, _), _)| *at)
    };
    for (index, event) in told.run.history.events.iter().enumerate() {
        let at = (event.at, index);
        if let What::Wrote { before, after, .. } = &event.what
            && let Phase::Decided { decision, .. } = after.phase
            && before.as_ref().is_none_or(|before| !matches!(before.phase, Phase::Decided { .. }))
            && !came(decision, at).any(|came| (after.ends - came - window).abs() < 5)
        {
            broken.push(format!("decision {decision} does not count for its window: [{after}]"));
        }
    }
    for post in &told.posts {
        if let Some((at, answer)) = &post.answered
            && answer.source == Source::Replay
            && let Some(decision) = answer.decision
            && told.ran(post.process, post.at.0 - window, at.0)
            && came(decision, *at).all(|came| post.at.0 > came + window + 300)
        {
            broken.push(format!("post {} gets a decision whose window is over", post.number));
        }
    }
    for message in &told.messages {
        let Post { at: arrived, process, .. } = told.posts[message.post];
        for (at, said) in &message.came {
            let Said::Decision(decision) = *said else { continue };
            let is_written = told.between(*at, told.end_of(at.0 + SOON)).any(|(_, what)| {
                matches!(what, What::Wrote { after, .. }
                    if matches!(after.phase, Phase::Decided { decision: it, .. } if it == decision))
            });
            if is_written && at.0 > arrived.0 + window && told.ran(process, arrived.0, at.0) {
                broken.push(format!("decision {decision} came after the window and is taken"));
            }
        }
    }
}

/// A recorded decision is what everyone gets who asks while it counts.
fn replayed(told: &Told<'_>, post: &Post, broken: &mut Vec<String>) {
    let Some((answered, answer)) = &post.answered else { return };
    if !told.ran(post.process, post.at.0, answered.0) {
        return;
    }
    let decision_in = |moment: Moment| {
        let ((since, _), record) = told.record_at(post.person, moment)?;
        match record.phase {
            Phase::Decided { decision, is_about_form: false, .. } => {
                Some((since, decision, record.ends))
            }
            Phase::Decided { .. } | Phase::Claimed { .. } | Phase::FellBack => None,
        }
    };
    if let Some((_, decision, ends)) = decision_in(post.at)
        && ends > post.at.0 + 300
        && (answer.decision != Some(decision) || !post.messages.is_empty())
    {
        broken.push(format!("post {} does not get the recorded decision {decision}", post.number));
    }
    if let Some((since, decision, _)) = decision_in(*answered)
        && since + 1_000 < answered.0
        && answer.decision != Some(decision)
    {
        broken.push(format!("post {} does not get decision {decision} of its time", post.number));
    }
}

/// Who waits for another gets the answer of the other, with its source.
fn joined(told: &Told<'_>, post: &Post, broken: &mut Vec<String>) {
    let Some((answered, answer)) = &post.answered else { return };
    let deadline = i64::try_from(told.times.deadline).unwrap();
    let is_own_end = answered.0 >= post.at.0 + deadline - (deadline / 10).clamp(10, 100);
    let never_asked = [Reason::BreakerOpen, Reason::Overload, Reason::Disconnected];
    if !post.messages.is_empty()
        || answer.source == Source::Replay
        || is_own_end
        || answer.reason.is_some_and(|reason| never_asked.contains(&reason))
        || !told.ran(post.process, post.at.0, answered.0)
    {
        return;
    }
    let has_same = told.posts.iter().any(|other| {
        let same = other
            .answered
            .as_ref()
            .is_some_and(|(at, other)| post.at.0 <= at.0 + SOON && other == answer);
        same && other.number != post.number
            && other.person == post.person
            && other.at.0 <= answered.0
            && (!other.messages.is_empty() || other.process == post.process)
    });
    let has_come = told.messages.iter().any(|message| {
        told.person_of(message) == post.person
            && message.came.iter().any(|(at, said)| {
                at.0 >= post.at.0 && answer.decision.map(Said::Decision) == Some(*said)
            })
    });
    if !has_same && !has_come {
        broken.push(format!("post {} gets what nobody else got", post.number));
    }
}

/// Who waits for another process gets its answer, whatever that is: as it is, not as a replay, and
/// without asking once more.
fn joined_elsewhere(told: &Told<'_>, post: &Post, broken: &mut Vec<String>) {
    let Some((answered, answer)) = &post.answered else { return };
    let end = post.messages.first().map_or(*answered, |message| told.messages[*message].at);
    let mut joined = None;
    let mut ended = None;
    for (at, what) in told.between(post.at, end) {
        let What::Read { process, person, record: Ok(Some(record)) } = what else { continue };
        if (*process, *person) != (post.process, post.person) {
            continue;
        }
        match record.phase {
            Phase::Claimed { process, until } if process != post.process => {
                joined = (at.0 < until).then_some(record.round);
            }
            Phase::Claimed { .. } => joined = None,
            Phase::FellBack | Phase::Decided { .. } => {
                ended = joined.filter(|round| *round == record.round);
            }
        }
    }
    if ended.is_some() && (!post.messages.is_empty() || answer.source == Source::Replay) {
        broken.push(format!("post {} does not get what it has waited for", post.number));
    }
}

/// A ValidationError is replayed once, and never after it was delivered.
fn forms(told: &Told<'_>, broken: &mut Vec<String>) {
    // A worker that deduplicates may give the same decision once more, for another round.
    if told.run.plan.workers.deduplicates {
        return;
    }
    // What a process knew dies with it; so does what it could not write in time.
    let settles = settled_after(told);
    let Some(settles) = settles.filter(|_| told.clocks_agree && told.processes.len() == 3) else {
        return;
    };
    if !told.processes.iter().all(Process::always_ran) {
        return;
    }
    let mut replays: BTreeMap<Decision, Vec<&Post>> = BTreeMap::new();
    for post in &told.posts {
        if let Some((_, answer)) = &post.answered
            && let (Source::Replay, true, Some(decision)) =
                (answer.source, answer.is_about_form(), answer.decision)
            // Without the store nobody knows what others have delivered.
            && settles(post.at.0) == post.at.0
        {
            replays.entry(decision).or_default().push(post);
        }
    }
    for (decision, posts) in replays {
        for post in &posts {
            let is_delivered = told.posts.iter().any(|other| {
                let of_it = |(_, answer): &(Moment, _)| {
                    let answer: &crate::simulation::history::Answer = answer;
                    answer.decision == Some(decision) && answer.reason.is_none()
                };
                other.answered.as_ref().is_some_and(of_it)
                    && other.delivered.is_some_and(|at| settles(at.0 + SOON) < post.at.0)
            });
            if is_delivered {
                broken.push(format!(
                    "post {} gets the ValidationError {decision}, which was delivered",
                    post.number
                ));
            }
        }
        let apart = posts.windows(2).filter(|pair| {
            let end = pair[0].answered.as_ref().map_or(pair[0].at.0, |(at, _)| at.0);
            settles(end + SOON) < pair[1].at.0
        });
        if apart.count() > 0 {
            broken.push(format!("the ValidationError {decision} is replayed more than once"));
        }
    }
}

/// By when what happens at some time has reached the store: soon, or soon after its outages are
/// over and noticed to be. Nothing where that cannot be said.
fn settled_after<'a>(told: &'a Told<'_>) -> Option<impl Fn(i64) -> i64 + 'a> {
    let forgot = told.run.history.events.iter().any(|event| event.what == What::StoreForgot);
    let is_known = told.store_is_healthy || told.run.class == Class::StoreOutages;
    let noticed = i64::try_from(told.run.plan.notices_after).unwrap() + 1_500 + TRIED_AGAIN_AFTER;
    (is_known && !forgot).then_some(move |at: i64| {
        let mut at = at;
        for (start, end) in &told.outages {
            if *start <= at + SOON && at < end + noticed {
                at = end.saturating_add(noticed);
            }
        }
        at
    })
}

/// A decision that came, late or in time, is in the store, unless another one of its round is.
fn recorded(told: &Told<'_>, broken: &mut Vec<String>) {
    let Some(settles) = settled_after(told).filter(|_| told.clocks_agree) else { return };
    let window = i64::try_from(told.times.window).unwrap();
    for (number, message) in told.messages.iter().enumerate() {
        let post = &told.posts[message.post];
        for (at, said) in &message.came {
            let Said::Decision(decision) = *said else { continue };
            let by = settles(at.0 + SOON);
            let counts = at.0 < post.at.0 + window - 5 && by < at.0 + window;
            if !counts || !told.ran(post.process, post.at.0, by) {
                continue;
            }
            let by = told.end_of(by);
            let Some(round) = round_of(told, post, message.at, decision, by) else { continue };
            let moves_on = told.between((0, 0), by).any(|(_, what)| match what {
                What::Wrote { person, after, .. } => {
                    *person == post.person
                        && matches!(after.phase, Phase::Decided { .. })
                        && (after.ends > at.0 || after.round == round)
                }
                // The fallback of a round that another replica had without the store stays, too.
                What::Read { process, person, record: Ok(Some(record)) } => {
                    (*process, *person) == (post.process, post.person) && record.round != round
                }
                _ => false,
            });
            // Whoever has claimed it since asks on in this round, or in a new one.
            let is_lost = match told.record_at(post.person, by) {
                None => true,
                Some((since, record)) => match record.phase {
                    Phase::FellBack => record.round == round,
                    Phase::Claimed { .. } => record.round == round && since < *at,
                    Phase::Decided { .. } => false,
                },
            };
            if !moves_on && is_lost {
                broken.push(format!("decision {decision} of message {number} is not recorded"));
            }
        }
    }
}

/// The round in which a message was sent: of its claim, or else of its decision.
fn round_of(
    told: &Told<'_>,
    post: &Post,
    sent: Moment,
    decision: Decision,
    by: Moment,
) -> Option<usize> {
    let asked = |(_, what): (Moment, &What)| match what {
        What::Asked { process, person, record }
            if (*process, *person) == (post.process, post.person) =>
        {
            let is_it = match record.phase {
                Phase::Claimed { .. } => true,
                Phase::Decided { decision: it, .. } => it == decision,
                Phase::FellBack => false,
            };
            is_it.then_some(record.round)
        }
        _ => None,
    };
    told.between(post.at, sent)
        .filter_map(asked)
        .next_back()
        .or_else(|| told.between(sent, by).filter_map(asked).next())
}
