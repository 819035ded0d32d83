//! Every request gets one answer, in time, that its caller understands and that is what it says.

use connector_bridge::domain::outcome::{Reason, Source};

use super::{Post, Told};
use crate::simulation::{
    history::{Answer, Decision, Said, What},
    setting::SETTINGS,
};

pub(super) fn check(told: &Told<'_>, broken: &mut Vec<String>) {
    for post in &told.posts {
        let deadline = post.at.0 + i64::try_from(told.times.deadline).unwrap();
        let number = post.number;
        let end = post.answered.as_ref().map_or(deadline, |(at, _)| at.0.min(deadline));
        if told.ran(post.process, post.at.0, end) {
            match &post.answered {
                None => broken.push(format!("post {number} gets no answer")),
                Some((at, _)) if at.0 > deadline => {
                    broken.push(format!("post {number} is answered {} ms late", at.0 - deadline));
                }
                Some(_) => {}
            }
        }
        if let Some((_, answer)) = &post.answered
            && let Err(what) = is_what_it_says(told, post, answer)
        {
            broken.push(format!("post {number} gets {what}: {answer:?}"));
        }
    }
    let answers = told.run.history.events.iter();
    let answers = answers.filter(|event| matches!(event.what, What::Answered { .. })).count();
    if answers != told.posts.iter().filter(|post| post.answered.is_some()).count() {
        broken.push("a request is answered twice".to_owned());
    }
    if let Some(What::Left { calls, messages, records, tasks }) =
        told.run.history.events.last().map(|event| &event.what)
        && (*calls, *messages, *records, *tasks) != (0, (0, 0), 0, 0)
    {
        broken.push("after its window something is remembered".to_owned());
    }
}

fn is_what_it_says(told: &Told<'_>, post: &Post, answer: &Answer) -> Result<(), String> {
    let connector = SETTINGS[told.run.plan.setting].connector();
    let (protocol, step) = (connector.protocol, connector.step);
    protocol
        .read(step, answer.status, answer.body.as_bytes())
        .map_err(|what| format!("an answer that breaks the contract ({what})"))?;
    let answered = post.answered.as_ref().map_or(post.at, |(at, _)| *at);
    let came = |process: Option<usize>, decision: Option<Decision>| {
        let messages = told.messages.iter().filter(|message| {
            told.person_of(message) == post.person
                && process.is_none_or(|process| told.posts[message.post].process == process)
        });
        messages.flat_map(|message| &message.came).any(|(at, said)| match said {
            Said::Decision(it) => *at < answered && decision.is_none_or(|decision| *it == decision),
            Said::Nonsense | Said::Failure | Said::NobodyListens => false,
        })
    };
    // Who has joined another process gets what that one had in its cache.
    let has_joined = told.foreign_claims(post, answered).next().is_some();
    let here = Some(post.process).filter(|_| !has_joined);
    let decision = answer.decision;
    let ok = match (answer.source, answer.reason) {
        (Source::Worker | Source::Replay, None) => decision.is_some() && came(None, decision),
        (Source::Cache, Some(_)) if answer.is_about_form() => false,
        // Of a Continue for other claims of the same person only the action is used.
        (Source::Cache, Some(_)) => {
            (decision.is_some() || answer.body.contains("Continue")) && came(here, decision)
        }
        (Source::Default, Some(_)) => decision.is_none(),
        (_, _) => false,
    };
    if !ok {
        return Err("an answer that is not what it says".to_owned());
    }
    // Nobody has kept silent where nobody was asked.
    let is_asked = !post.messages.is_empty();
    if answer.reason == Some(Reason::NoResponders) && told.run.plan.faults.is_empty() && is_asked {
        return Err("a fallback for want of workers that were there".to_owned());
    }
    Ok(())
}
