//! What became of the last requests, point by point, for the playground. Where there is no
//! playground nothing is noted, and a note costs the look at an empty option.
//!
//! Of claims only the names are kept, in memory and for a bounded number of requests. Bodies are
//! kept only of requests that the playground itself has announced, until it has them forgotten.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Instant, SystemTime},
};

use bytes::Bytes;

use crate::{
    clock,
    domain::{
        call_id::CallId,
        connector::{Connector, ConnectorName},
        decision::Action,
        json::Object,
        outcome::{Outcome, Reason, Source},
        reply::{CacheControl, Reply, ServiceError},
    },
    metrics::{CallResult, MessageResult},
    wire::Message,
};

/// The most requests that are remembered.
pub const REQUESTS_MAX: usize = 200;

/// The most messages, and the most replies, that are noted of one request.
const MESSAGES_MAX: usize = 16;

/// The most names of claims that are noted of one request, and their longest.
const NAMES_MAX: usize = 24;
const NAME_CHARACTERS_MAX: usize = 64;

/// The last requests, or nothing where nobody reads.
#[derive(Clone, Default)]
pub struct Journal(Option<Arc<Book>>);

#[derive(Default)]
struct Book(Mutex<State>);

#[derive(Default)]
struct State {
    requests: u64,
    last: VecDeque<Notes>,
    /// Requests that were announced, by where they will come from.
    announced: HashMap<SocketAddr, Notes>,
}

/// What is noted of one request.
#[derive(Clone)]
pub struct Page {
    /// Counts all requests.
    pub number: u64,
    /// Which connector was called.
    pub connector: ConnectorName,
    /// When the first byte came.
    pub arrived: Instant,
    /// The same by the wall clock.
    pub wall: SystemTime,
    /// When the credentials were found to be right.
    pub authenticated: Option<Instant>,
    /// When the request was read, and what it said.
    pub read: Option<Read>,
    /// What the call was found to be.
    pub found: Option<CallResult>,
    /// The messages to the workers.
    pub messages: Vec<Sent>,
    /// What came back.
    pub replies: Vec<Replied>,
    /// How it ended.
    pub ended: Option<(Instant, Ended)>,
}

/// A request that became a call.
#[derive(Clone)]
pub struct Read {
    /// When all of it was there and read.
    pub at: Instant,
    /// The same for the same claims at this connector.
    pub call_id: CallId,
    /// The names of its claims, in their order, some of them cut.
    pub claims: Vec<String>,
    /// How many bytes its body has.
    pub bytes: usize,
}

/// A message to the workers.
#[derive(Clone)]
pub struct Sent {
    /// When it was about to be sent.
    pub at: Instant,
    /// Its subject.
    pub subject: String,
    /// Its headers.
    pub headers: Vec<(&'static str, String)>,
    /// Its payload, of a request that was announced.
    pub payload: Option<Bytes>,
    /// How it ended.
    pub ended: Option<(Instant, MessageResult)>,
}

/// A worker's reply.
#[derive(Clone)]
pub struct Replied {
    /// When it came.
    pub at: Instant,
    /// Its payload, of a request that was announced.
    pub payload: Option<Bytes>,
    /// How many bytes that has.
    pub bytes: usize,
    /// Set where the worker says that it failed.
    pub service_error: Option<ServiceError>,
    /// What the worker allows for the fallback cache.
    pub cache_control: CacheControl,
    /// Whether it was waited for.
    pub came: Came,
}

/// When a reply came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// While the call waited.
    InTime,
    /// While the call waited for the reply to another message, or just after it had one.
    ToAnotherMessage,
    /// After the deadline.
    Late,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The call was answered.
    Answered {
        /// The HTTP status.
        status: u16,
        /// Where the answer comes from.
        source: Source,
        /// Why no worker decided, where none did.
        reason: Option<Reason>,
        /// What was decided.
        action: Option<Action>,
    },
    /// It was turned away before it became a call.
    Refused {
        /// The HTTP status.
        status: u16,
        /// The stable word for why.
        code: &'static str,
    },
}

impl Journal {
    /// One that notes.
    pub fn open() -> Self {
        Self(Some(Arc::default()))
    }

    /// A request for a connector has come, from `peer`.
    pub fn request(&self, connector: &Connector, arrived: Instant, peer: SocketAddr) -> Notes {
        let Some(book) = &self.0 else { return Notes(None) };
        let mut state = lock(&book.0);
        state.requests += 1;
        let page = Page {
            number: state.requests,
            connector: connector.name.clone(),
            arrived,
            wall: clock::wall() - (clock::now() - arrived),
            authenticated: None,
            read: None,
            found: None,
            messages: Vec::new(),
            replies: Vec::new(),
            ended: None,
        };
        let notes = match state.announced.remove(&peer) {
            Some(notes) => notes,
            None => {
                Notes(Some(Arc::new(Mutex::new(Sheet { bodies: Bodies::AreNotKept, page: None }))))
            }
        };
        notes.with(|sheet| sheet.page = Some(page));
        if state.last.len() == REQUESTS_MAX {
            state.last.pop_front();
        }
        state.last.push_back(notes.clone());
        notes
    }

    /// The next request that comes from `peer` is the playground's own.
    pub fn announce(&self, peer: SocketAddr) -> Announced {
        let sheet = Sheet { bodies: Bodies::AreKept, page: None };
        let notes = Notes(Some(Arc::new(Mutex::new(sheet))));
        if let Some(book) = &self.0 {
            lock(&book.0).announced.insert(peer, notes.clone());
        }
        Announced { journal: self.clone(), peer, notes }
    }

    /// The last requests, the newest first.
    pub fn last(&self) -> Vec<Page> {
        let Some(book) = &self.0 else { return Vec::new() };
        let last: Vec<Notes> = lock(&book.0).last.iter().rev().cloned().collect();
        last.iter().filter_map(Notes::page).collect()
    }
}

/// A request that the playground has announced.
pub struct Announced {
    journal: Journal,
    peer: SocketAddr,
    /// What is noted of it once it has come.
    pub notes: Notes,
}

/// One that never came is not waited for.
impl Drop for Announced {
    fn drop(&mut self) {
        let Some(book) = &self.journal.0 else { return };
        lock(&book.0).announced.remove(&self.peer);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Bodies {
    AreKept,
    AreNotKept,
}

struct Sheet {
    bodies: Bodies,
    /// Empty until the request has come.
    page: Option<Page>,
}

/// Takes notes of one request.
#[derive(Clone, Default)]
pub struct Notes(Option<Arc<Mutex<Sheet>>>);

impl Notes {
    /// What was noted so far; nothing where the request has not come.
    pub fn page(&self) -> Option<Page> {
        lock(self.0.as_ref()?).page.clone()
    }

    /// The credentials are right.
    pub fn authenticated(&self) {
        self.note(|page, now| page.authenticated = Some(now));
    }

    /// The request became this call.
    pub fn became(&self, call_id: CallId, claims: &Object<'_>, bytes: usize) {
        self.note(|page, at| {
            let cut = |(name, _): (&str, _)| name.chars().take(NAME_CHARACTERS_MAX).collect();
            let claims = claims.members().take(NAMES_MAX).map(cut).collect();
            page.read = Some(Read { at, call_id, claims, bytes });
        });
    }

    /// What the call was found to be.
    pub fn found(&self, result: CallResult) {
        self.note(|page, _| page.found = Some(result));
    }

    /// A message is about to be sent.
    pub fn sending(&self, message: &Message<'_>) {
        self.with_page(|bodies, page| {
            if page.messages.len() < MESSAGES_MAX {
                page.messages.push(Sent {
                    at: clock::now(),
                    subject: message.connector.subject.to_string(),
                    headers: message.headers().collect(),
                    payload: (bodies == Bodies::AreKept).then(|| message.body.clone()),
                    ended: None,
                });
            }
        });
    }

    /// How the last message ended.
    pub fn message_ended(&self, result: MessageResult) {
        self.note(|page, now| {
            if let Some(last) = page.messages.last_mut() {
                last.ended.get_or_insert((now, result));
            }
        });
    }

    /// A reply has come.
    pub fn replied(&self, reply: &Reply, came: Came) {
        self.with_page(|bodies, page| {
            if page.replies.len() < MESSAGES_MAX {
                page.replies.push(Replied {
                    at: clock::now(),
                    payload: (bodies == Bodies::AreKept).then(|| reply.payload.clone()),
                    bytes: reply.payload.len(),
                    service_error: reply.service_error,
                    cache_control: reply.cache_control,
                    came,
                });
            }
        });
    }

    /// The call is answered.
    pub fn answered(&self, outcome: &Outcome) {
        self.note(|page, now| {
            let Outcome { answer, source, reason } = outcome;
            let (source, reason) = (*source, *reason);
            let (status, action) = (answer.status, answer.action);
            page.ended = Some((now, Ended::Answered { status, source, reason, action }));
        });
    }

    /// The request is turned away.
    pub fn refused(&self, status: u16, code: &'static str) {
        self.note(|page, now| page.ended = Some((now, Ended::Refused { status, code })));
    }

    /// From now on nothing is kept of bodies.
    pub fn forget_bodies(&self) {
        self.with(|sheet| {
            sheet.bodies = Bodies::AreNotKept;
            let Some(page) = &mut sheet.page else { return };
            page.messages.iter_mut().for_each(|message| message.payload = None);
            page.replies.iter_mut().for_each(|reply| reply.payload = None);
        });
    }

    fn note(&self, note: impl FnOnce(&mut Page, Instant)) {
        self.with_page(|_, page| note(page, clock::now()));
    }

    fn with_page(&self, note: impl FnOnce(Bodies, &mut Page)) {
        self.with(|sheet| {
            if let Some(page) = &mut sheet.page {
                note(sheet.bodies, page);
            }
        });
    }

    fn with(&self, note: impl FnOnce(&mut Sheet)) {
        if let Some(sheet) = &self.0 {
            note(&mut lock(sheet));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Config;

    const CLAIMS: &str = r#"{"email":"jane@example.com"}"#;

    fn connector() -> Connector {
        let text = "connectors: {c: {protocol: entra, step: before-create, auth: none}}";
        Config::parse(text).unwrap().connectors.remove(0).connector
    }

    fn from(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    fn reply() -> Reply {
        Reply { payload: "jane".into(), ..Reply::default() }
    }

    #[test]
    fn where_nobody_reads_nothing_is_noted() {
        let journal = Journal::default();
        let notes = journal.request(&connector(), clock::now(), from(1));
        notes.authenticated();
        assert!(notes.page().is_none() && journal.last().is_empty());
    }

    #[test]
    fn bodies_are_kept_of_announced_requests_alone_until_they_are_forgotten() {
        let journal = Journal::open();
        let announced = journal.announce(from(1));
        assert!(announced.notes.page().is_none(), "it has not come yet");
        for (port, is_kept) in [(2, false), (1, true), (1, false)] {
            let notes = journal.request(&connector(), clock::now(), from(port));
            notes.replied(&reply(), Came::InTime);
            let [reply] = &notes.page().unwrap().replies[..] else { panic!("one reply") };
            assert_eq!((reply.payload.is_some(), reply.bytes), (is_kept, 4), "{port}");
        }
        announced.notes.forget_bodies();
        announced.notes.replied(&reply(), Came::Late);
        let replies = announced.notes.page().unwrap().replies;
        assert_eq!(replies.len(), 2);
        assert!(replies.iter().all(|reply| reply.payload.is_none()));
        drop(journal.announce(from(3)));
        let notes = journal.request(&connector(), clock::now(), from(3));
        notes.replied(&reply(), Came::InTime);
        assert!(notes.page().unwrap().replies[0].payload.is_none(), "it was waited for no longer");
    }

    #[test]
    fn requests_messages_replies_and_names_are_bounded() {
        let (journal, connector) = (Journal::open(), connector());
        for _ in 0..=REQUESTS_MAX {
            journal.request(&connector, clock::now(), from(1));
        }
        let last = journal.last();
        assert_eq!(last.len(), REQUESTS_MAX);
        assert_eq!((last[0].number, last[REQUESTS_MAX - 1].number), (201, 2));
        let notes = journal.request(&connector, clock::now(), from(1));
        let members = (0..100).map(|n| format!("\"{n}{}\":1", "x".repeat(100)));
        let text = format!("{{{}}}", members.collect::<Vec<_>>().join(","));
        let claims = Object::parse(text.as_bytes()).unwrap();
        let call_id = CallId::of(&crate::domain::call_id::HashKey::public(), "c", &claims);
        notes.became(call_id, &claims, text.len());
        (0..100).for_each(|_| notes.replied(&reply(), Came::InTime));
        let page = notes.page().unwrap();
        let names = page.read.unwrap().claims;
        assert_eq!((names.len(), page.replies.len()), (NAMES_MAX, MESSAGES_MAX));
        assert!(names.iter().all(|name| name.chars().count() <= NAME_CHARACTERS_MAX));
    }

    #[test]
    fn of_claims_only_the_names_are_noted() {
        let journal = Journal::open();
        let notes = journal.request(&connector(), clock::now() - Duration::from_secs(1), from(1));
        let claims = Object::parse(CLAIMS.as_bytes()).unwrap();
        let call_id = CallId::of(&crate::domain::call_id::HashKey::public(), "c", &claims);
        notes.became(call_id, &claims, CLAIMS.len());
        assert_eq!(notes.page().unwrap().read.unwrap().claims, ["email"]);
    }
}
