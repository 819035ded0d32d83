//! The callers of one run: an identity provider that tries once more where no answer came, and
//! persons who press the button again.

use std::{sync::Arc, time::Duration};

use connector_bridge::{domain::decision::Action, pipeline::Answered};

use super::{
    history::What,
    plan::{Connection, Press, Try},
    world::World,
};

/// How a request ended for its caller.
enum Heard {
    /// With an answer; whether that was about the form.
    Answer { is_about_form: bool },
    /// The connection broke.
    Broken,
    /// Nothing, for as long as the caller waits.
    Nothing,
}

/// A person presses the button, and perhaps once more.
pub(crate) async fn press(world: Arc<World>, press: Press) {
    tokio::time::sleep(Duration::from_millis(press.at)).await;
    let heard = call(&world, &press).await;
    if let (Heard::Answer { is_about_form: true }, Some(after)) = (heard, press.again_after) {
        tokio::time::sleep(Duration::from_millis(after)).await;
        call(&world, &press).await;
    }
}

/// What the caller does: one request, and one more where no answer came.
async fn call(world: &Arc<World>, press: &Press) -> Heard {
    match request(world, press.person, press.first).await {
        answer @ Heard::Answer { .. } => answer,
        Heard::Broken | Heard::Nothing => request(world, press.person, press.second).await,
    }
}

async fn request(world: &Arc<World>, person: usize, plan: Try) -> Heard {
    world.shuffle().await;
    let Some((number, process)) = world.process_at(plan.slot) else { return Heard::Broken };
    let (post, body) = world.posts(person, number);
    let answered = process.post(world, post, body);
    drop(process);
    let waits = Duration::from_millis(world.times().caller_waits);
    let patience = tokio::time::sleep(waits);
    tokio::pin!(patience);
    let breaks = async {
        match plan.fate {
            Connection::BreaksAfter(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
            Connection::Holds | Connection::LosesAnswer => std::future::pending().await,
        }
    };
    let answered = tokio::select! {
        biased;
        () = &mut patience => {
            world.add(What::Lost { post, why: "the caller gives up" });
            return Heard::Nothing;
        }
        () = breaks => None,
        answered = answered => answered.ok(),
    };
    match (answered, plan.fate) {
        (Some(answered), Connection::Holds) => {
            tokio::time::sleep(Duration::from_millis(plan.writes_for)).await;
            if world.process(number).is_some_and(|process| process.is_running()) {
                return delivered(world, post, answered);
            }
            drop(answered);
            world.add(What::Lost { post, why: "the process does not write the answer" });
        }
        (Some(answered), Connection::LosesAnswer | Connection::BreaksAfter(_)) => {
            drop(answered);
            world.add(What::Lost {
                post,
                why: "the connection breaks before the answer is written",
            });
        }
        (None, _) => world.add(What::Lost { post, why: "the connection breaks" }),
    }
    match plan.notices_after {
        Some(ms) => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            Heard::Broken
        }
        None => {
            patience.await;
            Heard::Nothing
        }
    }
}

fn delivered(world: &World, post: usize, Answered { outcome, receipt, .. }: Answered) -> Heard {
    world.add(What::Delivered { post });
    if let Some(receipt) = receipt {
        receipt.delivered();
    }
    Heard::Answer { is_about_form: outcome.answer.action == Some(Action::ValidationError) }
}
