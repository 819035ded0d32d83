//! Callers that have the right credentials and read no answers.

use std::time::Duration;

use tokio::{
    io::AsyncWriteExt,
    time::{sleep, timeout},
};

use crate::{
    attackers::{Attackers, connect_small},
    callers::{claims, post},
    scenario::{Scenario, play},
    site::BIG_DECISIONS,
};

#[tokio::test]
async fn callers_that_read_no_answers_harm_nobody() {
    static SCENARIO: Scenario = Scenario::plain("300 callers that read none of their answers");
    /// Together 200 calls a second, and more answers than fit into the buffers of a connection.
    const EVERY: Duration = Duration::from_millis(1_500);
    const CALLS: usize = 100;
    play(&SCENARIO, |site| {
        let port = site.serving.port;
        Attackers::start(300, move |number, tally| async move {
            // Not all in one moment.
            sleep(EVERY * u32::try_from(number).unwrap() / 300).await;
            let Some(mut stream) = connect_small(number, port, &tally).await else { return };
            for _ in 0..CALLS {
                let request = post(BIG_DECISIONS, &claims());
                let written = timeout(Duration::from_secs(30), stream.write_all(&request)).await;
                if !matches!(written, Ok(Ok(()))) {
                    tally.count("given up");
                    return;
                }
                tally.count("posted");
                sleep(EVERY).await;
            }
        })
    })
    .await;
}
