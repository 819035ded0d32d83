//! Calls that wait for the connection. When it is there they go on a few at a time: whoever has
//! waited longest goes first, whatever order they were woken in before.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::sync::{Notify, oneshot};

/// A turn's place: since when its call waits, and a number that tells it from others.
type Place = (Instant, u64);

/// All turns that have not come yet.
#[derive(Default)]
pub struct Turns {
    state: Mutex<State>,
    taken: Notify,
}

#[derive(Default)]
struct State {
    count: u64,
    waiting: BTreeMap<Place, oneshot::Sender<()>>,
}

/// One of them; given up when dropped.
pub struct Turn<'a> {
    turns: &'a Turns,
    place: Place,
    come: oneshot::Receiver<()>,
}

impl Turns {
    /// A turn for whoever waits since then.
    pub fn take(&self, since: Instant) -> Turn<'_> {
        let (sender, come) = oneshot::channel();
        let mut state = self.lock();
        state.count += 1;
        let place = (since, state.count);
        state.waiting.insert(place, sender);
        drop(state);
        self.taken.notify_one();
        Turn { turns: self, place, come }
    }

    /// Waits until somebody waits.
    pub async fn somebody(&self) {
        while self.lock().waiting.is_empty() {
            self.taken.notified().await;
        }
    }

    /// Has the turns of those come who have waited longest, `most` at the most.
    pub fn let_on(&self, most: usize) {
        let mut state = self.lock();
        for _ in 0..most {
            let Some((_, sender)) = state.waiting.pop_first() else { return };
            // Whoever has gone meanwhile hears nothing of it.
            sender.send(()).unwrap_or(());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// Waits until it has come.
    pub async fn comes(mut self) {
        // Its sender stays where it is until then.
        drop((&mut self.come).await);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.lock().waiting.remove(&self.place);
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use tokio::sync::mpsc;

    use super::*;
    use crate::clock;

    #[tokio::test(start_paused = true)]
    async fn who_waits_longest_goes_first_and_not_all_go_at_once() {
        let (turns, now) = (Arc::new(Turns::default()), clock::now());
        let (told, mut hears) = mpsc::unbounded_channel();
        for number in [7, 2, 9, 4, 2, 0] {
            let (turns, told) = (Arc::clone(&turns), told.clone());
            tokio::spawn(async move {
                turns.take(now + Duration::from_millis(number)).comes().await;
                told.send(number).unwrap();
            });
        }
        turns.somebody().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        let mut come = Vec::new();
        for most in [2, 3, 5] {
            turns.let_on(most);
            tokio::time::sleep(Duration::from_millis(1)).await;
            let mut now = Vec::new();
            while let Ok(number) = hears.try_recv() {
                now.push(number);
            }
            come.push(now);
        }
        assert_eq!(come, [vec![0, 2], vec![2, 4, 7], vec![9]]);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_gone_holds_up_nobody_and_leaves_nothing() {
        let (turns, now) = (Turns::default(), clock::now());
        let first = turns.take(now);
        let second = turns.take(now);
        drop(first);
        turns.let_on(1);
        second.comes().await;
        assert!(turns.lock().waiting.is_empty());
        let nobody = tokio::time::timeout(Duration::from_secs(1), turns.somebody()).await;
        assert!(nobody.is_err(), "nobody waits");
    }
}
