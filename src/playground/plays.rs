//! The plays of a while: few, and not for long, since they hold what was typed.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::play::{Play, Progress};
use crate::{clock, random::Random};

/// How long what was typed and answered is kept after a play is over. Long enough to look at it, and
/// to see a late reply come.
const KEPT_FOR: Duration = Duration::from_secs(300);

/// The most plays that are kept.
const KEPT_MAX: usize = 32;

/// The most bytes of claims in them. With messages and answers it is a few times as much.
const KEPT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The most plays that run at a time.
const RUNNING_MAX: usize = 8;

/// Names a play; whoever does not know it cannot look at the play.
pub(super) type Token = String;

/// The oldest first.
type Kept = VecDeque<(Token, Arc<Play>)>;

/// The plays of a while, by their tokens.
#[derive(Clone, Default)]
pub(super) struct Plays {
    kept: Arc<Mutex<Kept>>,
    random: Arc<Random>,
}

impl Plays {
    /// Keeps a play and runs it by `run`. Returns nothing where too many are running.
    pub(super) fn begin<F>(&self, play: Play, run: impl FnOnce(Arc<Play>) -> F) -> Option<Token>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let token = format!("{:016x}{:016x}", self.random.next(), self.random.next());
        let play = Arc::new(play);
        let mut kept = self.lock();
        let running = kept.iter().filter(|(_, play)| play.so_far().1 == Progress::Running).count();
        if running >= RUNNING_MAX {
            return None;
        }
        let bytes =
            |kept: &Kept| kept.iter().map(|(_, play)| play.wanted.claims.len()).sum::<usize>();
        let own = play.wanted.claims.len();
        while kept.len() >= KEPT_MAX || bytes(&kept) + own > KEPT_BYTES_MAX {
            let over = kept.iter().position(|(_, play)| play.so_far().1 == Progress::Over)?;
            if let Some((_, oldest)) = kept.remove(over) {
                oldest.forget();
            }
        }
        kept.push_back((token.clone(), Arc::clone(&play)));
        drop(kept);
        let (plays, own, played) = (self.clone(), token.clone(), run(play));
        tokio::spawn(async move {
            played.await;
            clock::sleep_until(clock::now() + KEPT_FOR).await;
            plays.forget(&own);
        });
        Some(token)
    }

    /// The play with this token, while it is kept.
    pub(super) fn get(&self, token: &str) -> Option<Arc<Play>> {
        let kept = self.lock();
        kept.iter().find(|(known, _)| known == token).map(|(_, play)| Arc::clone(play))
    }

    fn forget(&self, token: &str) {
        self.lock().retain(|(known, play)| {
            if known == token {
                play.forget();
            }
            known != token
        });
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;
    use crate::{caller::Caller, domain::protocol::PROTOCOLS, playground::play::Wanted};

    fn play() -> Play {
        of_bytes(2)
    }

    fn of_bytes(bytes: usize) -> Play {
        let wanted =
            r#"{"connector":"c","claims":"","manner":"normal","ms":0,"credentials":"none"}"#;
        let mut wanted: Wanted = serde_json::from_str(wanted).unwrap();
        wanted.claims = " ".repeat(bytes);
        let (protocol, url) = (PROTOCOLS[0], "http://127.0.0.1:1/".parse().unwrap());
        let step = &protocol.steps[0];
        Play::new(wanted, Caller { url, protocol, step, basic: None, api_key: None, tls: None })
    }

    #[tokio::test(start_paused = true)]
    async fn a_play_is_forgotten_some_minutes_after_its_end() {
        let plays = Plays::default();
        let token = plays.begin(play(), |_| ready(())).unwrap();
        assert!(plays.get(&token).is_some() && plays.get("another").is_none());
        clock::sleep_until(clock::now() + KEPT_FOR - Duration::from_secs(1)).await;
        assert!(plays.get(&token).is_some());
        clock::sleep_until(clock::now() + Duration::from_secs(2)).await;
        assert!(plays.get(&token).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn only_some_bytes_are_kept_and_what_runs_is_not_pushed_out() {
        let plays = Plays::default();
        let over =
            |play: Arc<Play>| async move { play.run(&crate::journal::Journal::default()).await };
        let large = plays.begin(of_bytes(KEPT_BYTES_MAX / 2), over).unwrap();
        while plays.get(&large).unwrap().so_far().1 == Progress::Running {
            tokio::task::yield_now().await;
        }
        let running = plays.begin(of_bytes(KEPT_BYTES_MAX / 2), |_| pending()).unwrap();
        assert!(plays.get(&large).is_some());
        assert!(plays.begin(play(), |_| pending()).is_some());
        assert!(plays.get(&large).is_none() && plays.get(&running).is_some());
        assert!(plays.begin(of_bytes(KEPT_BYTES_MAX), |_| pending()).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn only_some_plays_run_at_a_time_and_only_some_are_kept() {
        let plays = Plays::default();
        let over =
            |play: Arc<Play>| async move { play.run(&crate::journal::Journal::default()).await };
        let first = plays.begin(play(), over).unwrap();
        while plays.get(&first).unwrap().so_far().1 == Progress::Running {
            tokio::task::yield_now().await;
        }
        for _ in 0..RUNNING_MAX {
            assert!(plays.begin(play(), |_| pending()).is_some());
        }
        assert!(plays.begin(play(), |_| pending()).is_none());
        assert!(plays.lock().len() <= KEPT_MAX);
    }
}
