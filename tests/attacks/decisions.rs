//! Large decisions, which are kept for retries and for fallbacks.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncWriteExt, BufReader},
    time::sleep_until,
};

use crate::{
    attackers::{Attackers, connect},
    callers::{claims, post},
    scenario::{Scenario, play},
    site::BIG_DECISIONS,
    support::real::one_answer,
};

#[tokio::test]
async fn six_thousand_decisions_of_60_kb_harm_nobody() {
    static SCENARIO: Scenario = Scenario::plain("6,000 decisions of 60 KB");
    /// Together 500 calls a second.
    const CALLERS: usize = 10;
    const EVERY: Duration = Duration::from_millis(20);
    play(&SCENARIO, |site| {
        let port = site.serving.port;
        Attackers::start(CALLERS, move |number, tally| async move {
            let Some(stream) = connect(number, port, &tally).await else { return };
            let mut stream = BufReader::new(stream);
            loop {
                let begun = Instant::now();
                if stream.write_all(&post(BIG_DECISIONS, &claims())).await.is_err() {
                    return;
                }
                let Some(answer) = one_answer(&mut stream, true).await else { return };
                tally.count(&format!("{} from {}", answer.status, answer.source()));
                sleep_until((begun + EVERY).into()).await;
            }
        })
    })
    .await;
}
