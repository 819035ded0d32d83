//! Gives members their loyalty tier when they sign up, and tells others of it.
//!
//!     loyalty           serves
//!     loyalty events    prints what was told so far

mod call;
mod events;
mod tiers;
mod tracing;

use std::{env, sync::Arc, time::Duration};

use async_nats::{
    Client, ConnectOptions, Error, ServerAddr,
    connection::State,
    service::{self, Request, Service, ServiceExt, endpoint::Endpoint},
};
use futures_util::StreamExt;
use serde_json::json;
use time::OffsetDateTime;
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinSet,
    time::timeout,
};

use self::{
    call::Call,
    events::Events,
    tiers::{ENTRY, Member, Members},
    tracing::Tracing,
};

/// What of a call's time is kept for the reply.
const RESERVE: Duration = Duration::from_millis(100);

/// How long the calls that are here may take when the worker stops.
const GRACE: Duration = Duration::from_secs(20);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let client = connect().await?;
    let events = Events::open(client.clone()).await?;
    match env::args().nth(1).as_deref() {
        None => serve(client, events).await,
        Some("events") => {
            for event in events.all().await? {
                println!("{event}");
            }
            Ok(())
        }
        Some(_) => Err("usage: loyalty [events]".into()),
    }
}

async fn connect() -> Result<Client, Error> {
    let server: ServerAddr = variable("NATS_URL", "nats://127.0.0.1:4222").parse()?;
    let mut options = ConnectOptions::new()
        .name("loyalty")
        // Comes back however long NATS was away, and within the 500 ms that the bridge waits for a
        // worker.
        .reconnect_delay_callback(|_| Duration::from_millis(200))
        .event_callback(|event| async move { eprintln!("NATS: {event}") });
    // The client does not read them in the URL.
    if let (Some(user), Some(password)) = (server.username(), server.password()) {
        options = options.user_and_password(user.to_owned(), password.to_owned());
    }
    Ok(options.connect(server).await?)
}

async fn serve(client: Client, events: Events) -> Result<(), Error> {
    let table = std::fs::read_to_string(variable("MEMBERS", "members.csv"))?;
    let worker =
        Arc::new(Worker { members: Members::parse(&table)?, events, tracing: Tracing::start()? });

    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let service = client.service_builder().queue_group("workers").start("loyalty", "1.0.0").await?;
    let subject = variable("SUBJECT", "connectors.loyalty-tier.before-create");
    let mut requests = service.endpoint_builder().name("decide").add(&subject).await?;
    eprintln!("listening at {subject}");

    // One task per call, so that one that waits for JetStream does not hold up the next.
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            request = requests.next() => match request {
                Some(request) => {
                    tasks.spawn(Arc::clone(&worker).handle(request));
                }
                None => return Err("the connection is closed".into()),
            },
            Some(_) = tasks.join_next() => {}
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }

    if client.connection_state() == State::Connected {
        timeout(GRACE, finish(&client, service, requests, tasks, Arc::clone(&worker))).await??;
    }
    worker.tracing.stop();
    Ok(())
}

/// Takes no new calls, and answers those that are here or on their way.
///
/// async-nats forgets a subscription as soon as it has written so, and drops what the server sends
/// until it has read that. So what is on its way is waited for first, which leaves a moment as long
/// as the way to the server. (`Endpoint::stop` would drop more, and `Client::drain` the replies.)
async fn finish(
    client: &Client,
    service: Service,
    mut requests: Endpoint,
    mut tasks: JoinSet<()>,
    worker: Arc<Worker>,
) -> Result<(), Error> {
    worker.events.hear_from_server().await;
    service.stop().await?;
    while let Some(request) = requests.next().await {
        tasks.spawn(Arc::clone(&worker).handle(request));
    }
    while tasks.join_next().await.is_some() {}
    Ok(client.flush().await?)
}

struct Worker {
    members: Members,
    events: Events,
    tracing: Tracing,
}

/// Why there is no decision, and the number that is replied.
type NoDecision = (usize, String);

impl Worker {
    async fn handle(self: Arc<Self>, request: Request) {
        let header = |name: &str| {
            let value = request.message.headers.as_ref().and_then(|headers| headers.get(name));
            value.map(|value| value.as_str())
        };
        let processing = self.tracing.process(&request.message);
        let at = format!(
            "call_id={} attempt={} trace_id={}",
            header("Connector-Call-Id").unwrap_or_default(),
            header("Connector-Attempt").unwrap_or_default(),
            processing.trace_id(),
        );
        let decided = match Call::read(header, &request.message.payload) {
            Ok(call) => self.decide(&call, &processing.traceparent()).await,
            Err(fault) => Err((400, fault.to_owned())),
        };
        let reply = match decided {
            Ok(Some(decision)) => Ok(decision.into()),
            Ok(None) => return eprintln!("too late {at}"),
            Err((code, fault)) => {
                eprintln!("cannot decide: {fault} {at}");
                processing.fail();
                Err(service::error::Error { code, status: "cannot decide".to_owned() })
            }
        };
        match request.respond(reply).await {
            Ok(()) => eprintln!("replied {at}"),
            Err(error) => eprintln!("cannot reply: {error} {at}"),
        }
    }

    /// The decision as JSON, or `None` where it is too late to start. The event comes before the
    /// reply: who dies in between is asked again, and the stream does not take the event twice.
    async fn decide(&self, call: &Call, traceparent: &str) -> Result<Option<String>, NoDecision> {
        let Ok(left) = Duration::try_from(call.deadline - OffsetDateTime::now_utc()) else {
            return Ok(None);
        };
        let member = self.members.find(call.email());
        let tier = member.map_or(ENTRY, Member::tier).name();
        // Only members are told of, and a member is found by the e-mail address. So the claims name
        // the person, and the call id is no one else's.
        if let Some(member) = member {
            let telling = self.events.tell(&call.id, &member.number, tier, traceparent);
            match timeout(left.saturating_sub(RESERVE), telling).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err((503, format!("the event is not stored: {error}"))),
                Err(_) => return Err((504, "the event is not stored in time".to_owned())),
            }
        }
        Ok(Some(json!({"action": "Continue", "extension_Tier": tier}).to_string()))
    }
}

fn variable(name: &str, otherwise: &str) -> String {
    env::var(name).ok().filter(|value| !value.is_empty()).unwrap_or_else(|| otherwise.to_owned())
}
