//! Callers that have the right credentials and read no answers.

use std::time::Duration;

use tokio::{io::AsyncWriteExt, time::timeout};

use crate::{
    attackers::{Attackers, connect},
    callers::{claims, post},
    scenario::{Scenario, play},
    site::BIG_DECISIONS,
};

#[tokio::test]
async fn callers_that_read_no_answers_harm_nobody() {
    static SCENARIO: Scenario = Scenario::plain("300 callers that read none of their answers");
    /// More than fits into the buffers of a connection.
    const CALLS: usize = 100;
    play(&SCENARIO, |site| {
        let port = site.serving.port;
        Attackers::start(300, move |number, tally| async move {
            let Some(mut stream) = connect(number, port, &tally).await else { return };
            for _ in 0..CALLS {
                let request = post(BIG_DECISIONS, &claims());
                let written = timeout(Duration::from_secs(30), stream.write_all(&request)).await;
                if !matches!(written, Ok(Ok(()))) {
                    tally.count("given up");
                    return;
                }
                tally.count("posted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
    })
    .await;
}
