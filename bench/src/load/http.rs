//! Calls over HTTP/1.1 on connections that are kept: one call at a time on each.

mod connection;

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::{
    sync::Notify,
    task::{JoinSet, LocalSet},
    time::timeout,
};

use self::connection::Connection;
use super::{
    Failure,
    arrivals::Arrivals,
    claims::Claims,
    nats::holds,
    options::{Http, Options, Pace},
    tally::Tally,
    window::{Due, Window},
};

/// How long the last answers are waited for.
const LAST_ANSWERS: Duration = Duration::from_secs(20);

/// With calls that come when they like: the most connections. A call that finds them all busy waits,
/// and its time runs.
const CONNECTIONS_MAX: usize = 256;

struct Caller {
    target: Http,
    claims: Claims,
    expect: String,
    tally: Tally,
    window: Window,
    waiting: RefCell<VecDeque<Due>>,
    /// The one that was used last is used next, as callers with a pool do.
    idle: RefCell<Vec<Rc<Seat>>>,
}

/// A connection that waits for a call.
#[derive(Default)]
struct Seat {
    call: Cell<Option<Due>>,
    woken: Notify,
}

pub(super) async fn run(target: Http, options: &Options) -> Result<Value, Failure> {
    let caller = Rc::new(Caller {
        claims: Claims::new(options.body_bytes),
        expect: options.expect.clone(),
        target,
        tally: Tally::new()?,
        window: Window::default(),
        waiting: RefCell::default(),
        idle: RefCell::default(),
    });
    LocalSet::new().run_until(caller.measure(options)).await
}

impl Caller {
    async fn measure(self: &Rc<Self>, options: &Options) -> Result<Value, Failure> {
        let mut connections = JoinSet::new();
        let many = match options.pace {
            Pace::Closed(in_flight) => in_flight,
            Pace::Open(_) => CONNECTIONS_MAX,
        };
        for who in 0..many {
            let connection = Connection::open(&self.target, &self.claims, who).await?;
            match options.pace {
                Pace::Closed(_) => {
                    connections.spawn_local(Rc::clone(self).one_after_the_other(who, connection))
                }
                Pace::Open(_) => connections.spawn_local(Rc::clone(self).as_given(who, connection)),
            };
        }
        let arrivals = match options.pace {
            Pace::Closed(_) => None,
            Pace::Open(rate) => Some(Arrivals::new(rate)?),
        };
        let given = async {
            match arrivals {
                Some(arrivals) => self.give(arrivals).await,
                None => Ok(()),
            }
        };
        let (used, given) = tokio::join!(self.window.pass(options), given);
        given?;
        // Who has nothing to do ends now.
        self.idle.borrow_mut().drain(..).for_each(|seat| seat.woken.notify_one());
        let all_back = async { while connections.join_next().await.is_some() {} };
        let _ = timeout(LAST_ANSWERS, all_back).await;
        self.tally.unfinished(self.waiting.borrow().len() + connections.len());
        self.tally.found(used)
    }

    async fn one_after_the_other(self: Rc<Self>, who: usize, mut connection: Connection) {
        while !self.window.is_over() {
            self.call(who, &mut connection, self.window.due(Instant::now())).await;
        }
    }

    /// Hands each call to a connection when it is due.
    async fn give(&self, mut arrivals: Arrivals) -> Result<(), Failure> {
        loop {
            let due = self.window.due(arrivals.next().await?);
            if self.window.is_over() {
                return Ok(());
            }
            match self.idle.borrow_mut().pop() {
                Some(seat) => {
                    seat.call.set(Some(due));
                    seat.woken.notify_one();
                }
                None => self.waiting.borrow_mut().push_back(due),
            }
        }
    }

    async fn as_given(self: Rc<Self>, who: usize, mut connection: Connection) {
        let seat = Rc::new(Seat::default());
        loop {
            let mut next = self.waiting.borrow_mut().pop_front();
            if next.is_none() && !self.window.is_over() {
                self.idle.borrow_mut().push(Rc::clone(&seat));
                seat.woken.notified().await;
                next = seat.call.take();
            }
            let Some(due) = next else { return };
            self.call(who, &mut connection, due).await;
        }
    }

    async fn call(&self, who: usize, connection: &mut Connection, due: Due) {
        match connection.call(&self.claims).await {
            Ok(answer) if answer.status == 200 && holds(answer.body, &self.expect) => {
                self.tally.record(who, due);
            }
            Ok(answer) => {
                let body = String::from_utf8_lossy(answer.body);
                self.tally.error(format!("HTTP {}, {body}", answer.status));
            }
            Err(error) => {
                self.tally.error(error);
                // The rest would come for another call.
                match Connection::open(&self.target, &self.claims, who).await {
                    Ok(another) => *connection = another,
                    Err(error) => self.tally.error(error),
                }
            }
        }
    }
}
