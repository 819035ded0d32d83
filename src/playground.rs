//! The playground: a page on which a developer plays sign-ups and sees what travelled where and what
//! the person gets. On loopback only, and only where it is asked for.
//!
//! The page never has credentials: this process plays the caller, against the real public port, with
//! what is configured. What it is told of other people's calls holds no value of a claim.

mod faults;
mod guard;
mod page;
mod play;
mod plays;
mod view;
mod why;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{
        HeaderMap, Method, StatusCode,
        header::{CONTENT_TYPE, HeaderName},
    },
    response::{IntoResponse, Response},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;

pub use self::faults::{Faults, NatsFault, WorkerFault};
use self::{
    guard::Stranger,
    play::{Credentials, Play, Wanted},
    plays::Plays,
};
use crate::{
    admin::Admin,
    caller::Caller,
    clock,
    config::AuthSettings,
    domain::connector::ConnectorName,
    journal::Journal,
    lane::Lane,
    secrets::{Auth, Live, Shown},
    tls::{ClientTls, ServerTls},
};

/// The most that the page may post: the largest body that a bridge can be told to read, written as
/// a text in JSON, and then some, so that a body that is too large can be tried.
const POSTED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long the page may take to post it.
const POSTED_WITHIN: Duration = Duration::from_secs(10);

const JSON: &str = "application/json";

/// A password that nobody has configured.
const WRONG_PASSWORD: &[u8] = b"this is not the password";

/// A connector as the playground calls it.
pub struct Door {
    /// The connector at work.
    pub lane: Arc<Lane>,
    /// Who may call it.
    pub auth: Auth,
    /// The same, as it is written.
    pub settings: AuthSettings,
}

/// Claims that somebody has written down for a connector.
pub struct Sample {
    /// For whom.
    pub connector: ConnectorName,
    /// What happens with them.
    pub name: &'static str,
    /// One JSON object.
    pub claims: &'static str,
    /// Whether the caller shows the right password with them.
    pub knows_password: bool,
}

/// What a demo has besides.
#[derive(Default)]
pub struct Extras {
    /// Claims that show something.
    pub samples: Vec<Sample>,
    /// What is broken on purpose; whoever listens breaks it.
    pub faults: Option<watch::Sender<Faults>>,
}

/// Everything that the page shows and does.
pub struct Playground {
    /// Knows the state of the bridge.
    pub admin: Arc<Admin>,
    /// What became of the last requests.
    pub journal: Journal,
    /// The connectors.
    pub doors: Vec<Door>,
    /// Where callers connect.
    pub address: SocketAddr,
    /// What callers are shown, where they have to speak TLS.
    pub server_tls: Option<Arc<Live<ServerTls>>>,
    /// What a demo has besides.
    pub extras: Extras,
    plays: Plays,
}

impl Playground {
    /// A page for the bridge that is reached at `address`.
    pub fn new(
        admin: Arc<Admin>,
        journal: Journal,
        doors: Vec<Door>,
        address: SocketAddr,
        server_tls: Option<Arc<Live<ServerTls>>>,
    ) -> Self {
        let (extras, plays) = (Extras::default(), Plays::default());
        Self { admin, journal, doors, address, server_tls, extras, plays }
    }

    fn door(&self, connector: &str) -> Option<&Door> {
        self.doors.iter().find(|door| door.lane.connector.name.as_str() == connector)
    }

    /// The caller of a connector, with the secrets that are in force.
    fn caller(&self, door: &Door, credentials: Credentials) -> Option<Caller> {
        let connector = &door.lane.connector;
        let scheme = if self.server_tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}/connectors/{}", near(self.address), connector.name);
        let tls = match &self.server_tls {
            Some(server) => Some(ClientTls::of_own(&server.get()).ok()?),
            None => None,
        };
        let Shown { basic, api_key } = match credentials {
            Credentials::Right | Credentials::Wrong => door.auth.first(&door.settings),
            Credentials::None => Shown::default(),
        };
        let basic = basic.map(|(user, password)| match credentials {
            Credentials::Wrong => (user, WRONG_PASSWORD.to_vec()),
            Credentials::Right | Credentials::None => (user, password.to_vec()),
        });
        Some(Caller {
            url: url.parse().ok()?,
            protocol: connector.protocol,
            step: connector.step,
            basic,
            api_key: api_key.map(|key| key.to_vec()),
            tls,
        })
    }
}

/// The address at which this machine reaches what listens on `address`.
fn near(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// All paths. The page's files are for whoever is led here; what is below `/api/` is for the page's
/// own code and nobody else.
pub fn router(playground: Arc<Playground>) -> Router {
    Router::new().fallback(serve).with_state(playground)
}

/// Every request, and what browsers are told with every answer.
async fn serve(State(playground): State<Arc<Playground>>, request: Request) -> Response {
    let answered = route(&playground, request).await;
    let mut response = answered
        .unwrap_or_else(|stranger| (StatusCode::FORBIDDEN, stranger.text()).into_response());
    page::guard(response.headers_mut());
    response
}

async fn route(playground: &Playground, request: Request) -> Result<Response, Stranger> {
    let (head, body) = request.into_parts();
    guard::may_look(&head.headers)?;
    let Some(path) = head.uri.path().strip_prefix("/api/") else {
        return Ok(file(head.uri.path(), &head.method));
    };
    guard::may_act(&head.headers)?;
    let reads = head.method == Method::GET;
    Ok(match path {
        "about" if reads => about(playground),
        "live" if reads => live(playground),
        "plays" if head.method == Method::POST => match posted(&head.headers, body).await {
            Ok(wanted) => begin(playground, wanted),
            Err(refused) => refused,
        },
        "faults" if head.method == Method::PUT => match posted(&head.headers, body).await {
            Ok(wanted) => set_faults(playground, wanted),
            Err(refused) => refused,
        },
        "about" | "live" | "plays" | "faults" => StatusCode::METHOD_NOT_ALLOWED.into_response(),
        _ => match path.strip_prefix("plays/") {
            Some(token) if reads => look(playground, token),
            Some(_) => StatusCode::METHOD_NOT_ALLOWED.into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        },
    })
}

fn file(path: &str, method: &Method) -> Response {
    let Some(file) = page::FILES.iter().find(|file| file.path == path) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if method != Method::GET && method != Method::HEAD {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    ([(CONTENT_TYPE, file.media_type)], file.text).into_response()
}

/// What the page has posted, or what it is told instead.
async fn posted<T: DeserializeOwned>(headers: &HeaderMap, body: Body) -> Result<T, Response> {
    if headers.get(CONTENT_TYPE).is_none_or(|value| value != JSON) {
        return Err(refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not JSON"));
    }
    let body = clock::until(clock::now() + POSTED_WITHIN, to_bytes(body, POSTED_BYTES_MAX)).await;
    let body = body.ok_or_else(|| refuse(StatusCode::REQUEST_TIMEOUT, "it did not come"))?;
    let Ok(body) = body else {
        return Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, "too large"));
    };
    serde_json::from_slice(&body)
        .map_err(|_| refuse(StatusCode::UNPROCESSABLE_ENTITY, "not what is read here"))
}

fn answer(value: &Value) -> Response {
    ([(CONTENT_TYPE, JSON)], value.to_string()).into_response()
}

fn refuse(status: StatusCode, text: &'static str) -> Response {
    let headers: [(HeaderName, &str); 1] = [(CONTENT_TYPE, JSON)];
    (status, headers, json!({"error": text}).to_string()).into_response()
}

/// What does not change: the connectors, and claims to begin with.
fn about(playground: &Playground) -> Response {
    let connectors: Vec<Value> = playground.doors.iter().map(|door| of(playground, door)).collect();
    answer(&json!({
        "version": crate::VERSION,
        "connectors": connectors,
        "faults": playground.extras.faults.as_ref().map(|faults| *faults.borrow()),
    }))
}

fn of(playground: &Playground, door: &Door) -> Value {
    let connector = &door.lane.connector;
    let own = playground.extras.samples.iter();
    let own = own.filter(|sample| sample.connector == connector.name);
    let sample = |name, claims, knows_password| {
        let credentials = if knows_password { "right" } else { "wrong" };
        json!({"name": name, "claims": claims, "credentials": credentials})
    };
    let documented = sample("As the caller's documentation shows it", connector.step.sample, true);
    let samples = own.map(|own| sample(own.name, own.claims, own.knows_password));
    let samples: Vec<Value> = samples.chain([documented]).collect();
    json!({
        "name": connector.name.as_str(),
        "protocol": connector.protocol.name,
        "step": connector.step.name,
        "subject": connector.subject.as_str(),
        "deadline_ms": connector.deadline.as_millis(),
        "caller_waits_ms": connector.protocol.caller_waits.as_millis(),
        "shows": shows(door),
        "samples": samples,
    })
}

/// What kinds of credentials the playground shows for a connector, and whether it needs one that
/// only the caller has.
fn shows(door: &Door) -> Value {
    let AuthSettings::Credentials(settings) = &door.settings else {
        return json!({"basic": false, "api_key": false, "certificate_only": false});
    };
    let has_basic = !settings.basic.is_empty();
    json!({
        "basic": has_basic,
        "api_key": !settings.api_key_files.is_empty(),
        "certificate_only": !has_basic,
    })
}

/// What changes: the state of the bridge, and the last calls.
fn live(playground: &Playground) -> Response {
    let calls: Vec<Value> = playground.journal.last().iter().map(view::line).collect();
    answer(&json!({
        "status": playground.admin.status(),
        "calls": calls,
        "faults": playground.extras.faults.as_ref().map(|faults| *faults.borrow()),
    }))
}

/// Begins a play, and says under which token it can be looked at.
fn begin(playground: &Playground, wanted: Wanted) -> Response {
    let Some(door) = playground.door(&wanted.connector) else {
        return refuse(StatusCode::NOT_FOUND, "there is no such connector");
    };
    let Some(caller) = playground.caller(door, wanted.credentials) else {
        return refuse(StatusCode::INTERNAL_SERVER_ERROR, "the public port cannot be called");
    };
    let journal = playground.journal.clone();
    let run = |play: Arc<Play>| async move { play.run(&journal).await };
    match playground.plays.begin(Play::new(wanted, caller), run) {
        Some(token) => answer(&json!({"token": token})),
        None => refuse(StatusCode::TOO_MANY_REQUESTS, "too many plays are running"),
    }
}

fn look(playground: &Playground, token: &str) -> Response {
    let play = playground.plays.get(token);
    match play.as_ref().and_then(|play| Some((play, playground.door(&play.wanted.connector)?))) {
        Some((play, door)) => answer(&view::play(play, &door.lane.connector)),
        None => refuse(StatusCode::NOT_FOUND, "this play is over and forgotten"),
    }
}

fn set_faults(playground: &Playground, wanted: Faults) -> Response {
    let Some(faults) = &playground.extras.faults else {
        return refuse(StatusCode::NOT_FOUND, "only the demo breaks things");
    };
    faults.send_replace(wanted);
    answer(&json!({"faults": wanted}))
}
