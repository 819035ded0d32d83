//! Deeply nested JSON, in claims and in replies.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::{
    io::{AsyncWriteExt, BufReader},
    time::{sleep, sleep_until},
};

use crate::{
    attackers::{Attackers, connect},
    callers::{claims, person, post},
    scenario::{Scenario, play},
    site::{BIG, GOOD, NESTED_REPLIES, Site},
    support::real::one_answer,
};

/// Less than what is refused.
const LEVELS: usize = 30;

/// Calls: together 500 a second. So many callers that where each costs some milliseconds all of them
/// together hold up everybody else for more than a second.
const CALLERS: usize = 300;
const EVERY: Duration = Duration::from_millis(600);

/// An object with this member and one more that is nested as deeply as is read, again and again: every
/// byte lies deep.
pub(crate) fn nested(member: &str) -> String {
    let tower = format!("{}1{},", r#"{"":"#.repeat(LEVELS), "}".repeat(LEVELS));
    let towers = tower.repeat((BIG - 200) / tower.len());
    format!(r#"{{{member},"x":[{towers}0]}}"#)
}

fn calls(
    site: &Site,
    connector: &'static str,
    claims: impl Fn() -> Bytes + Copy + Send + 'static,
) -> Attackers {
    let port = site.serving.port;
    Attackers::start(CALLERS, move |number, tally| async move {
        sleep(EVERY * u32::try_from(number).unwrap() / CALLERS as u32).await;
        let Some(stream) = connect(number, port, &tally).await else { return };
        let mut stream = BufReader::new(stream);
        loop {
            let begun = Instant::now();
            if stream.write_all(&post(connector, &claims())).await.is_err() {
                return;
            }
            let Some(answer) = one_answer(&mut stream, true).await else { return };
            tally.count(&format!("{} from {}", answer.status, answer.source()));
            sleep_until((begun + EVERY).into()).await;
        }
    })
}

#[tokio::test]
async fn claims_nested_deeply_hold_up_nobody() {
    static SCENARIO: Scenario = Scenario::plain("60 KB nested 30 levels deep, 500 a second");
    play(&SCENARIO, |site| {
        calls(site, GOOD, || {
            nested(&format!(r#""email":"p{}@example.com""#, person())).into_bytes().into()
        })
    })
    .await;
}

#[tokio::test]
async fn replies_nested_deeply_hold_up_nobody() {
    static SCENARIO: Scenario = Scenario::plain("replies nested 30 levels deep, 500 a second");
    play(&SCENARIO, |site| calls(site, NESTED_REPLIES, claims)).await;
}
