//! `connector-bridge demo`: everything on one machine, to see what the person who signs up sees.

mod samples;
mod server;
mod worker;

use std::{
    fs::{self, DirBuilder},
    net::SocketAddr,
    os::unix::fs::DirBuilderExt,
    path::PathBuf,
};

use http::Uri;
use lexopt::Arg;
use tokio::{
    signal::unix::{self, SignalKind},
    sync::watch,
};

use self::{samples::SAMPLES, server::NatsServer};
use super::{Failure, file, print, runtime};
use crate::{
    app::App,
    caller::{Caller, Seen},
    config::Config,
    domain::protocol::Protocol,
    lifecycle,
    playground::{Extras, Faults},
    random::Random,
};

const USER: &str = "demo";

pub(super) fn run(mut arguments: lexopt::Parser) -> Result<(), Failure> {
    let (mut once, mut nats_server) = (false, PathBuf::from("nats-server"));
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("once") => once = true,
            Arg::Long("nats-server") => nats_server = file(&mut arguments)?,
            other @ (Arg::Long(_) | Arg::Short(_) | Arg::Value(_)) => {
                return Err(other.unexpected().into());
            }
        }
    }
    let page = if once { Page::Closed } else { Page::Open };
    runtime()?.block_on(async {
        let folder = Folder::new()?;
        let mut server =
            NatsServer::start(&nats_server, &folder.0).await.map_err(Failure::Unavailable)?;
        let (faults, broken) = watch::channel(Faults::default());
        worker::start(&server.url, broken)
            .await
            .map_err(|error| Failure::Internal(error.to_string()))?;
        let mut app = App::start(config(&folder, &server.url, page)?, false).await?;
        app.give(Extras { samples: samples::for_the_page(), faults: Some(faults.clone()) });
        let (address, playground) = (app.address, app.playground_address);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let bridge = tokio::spawn(app.run(async { drop(stopped.await) }));
        print(&format!(
            "nats-server {}, an example worker, and the bridge on http://{address}\n\n",
            server.url
        ));
        let bridge_url = format!("http://{address}");
        let open = async {
            let all_as_they_should = play(&folder, &bridge_url).await?;
            if let Some(playground) = playground {
                print(&try_it(&folder, &bridge_url, playground));
                told_to_stop().await;
            }
            Ok::<_, Failure>(all_as_they_should)
        };
        let all_as_they_should = tokio::select! {
            biased;
            ended = open => ended?,
            // Before the samples are over.
            () = told_to_stop() => true,
            never = server.obey(&faults) => match never {},
        };
        stop.send(()).unwrap_or(());
        drop(bridge.await);
        if all_as_they_should { Ok(()) } else { Err(Failure::Found) }
    })
}

/// Waits for a signal to end, that of a terminal that is closed among them.
async fn told_to_stop() {
    let hung_up = async {
        match unix::signal(SignalKind::hangup()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = lifecycle::signal() => {}
        () = hung_up => {}
    }
}

/// Whether there is the playground's page.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Page {
    Open,
    Closed,
}

/// The bridge's files, removed when dropped.
struct Folder(PathBuf, String);

impl Folder {
    fn new() -> Result<Self, Failure> {
        let random = Random::default();
        let path =
            std::env::temp_dir().join(format!("connector-bridge-demo-{:016x}", random.next()));
        let password = format!("{:016x}", random.next());
        let written = DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .and_then(|()| fs::write(path.join("password"), &password));
        let folder = Self(path, password);
        written.map_err(|error| Failure::Internal(format!("{}: {error}", folder.0.display())))?;
        Ok(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn config(folder: &Folder, nats: &str, page: Page) -> Result<Config, Failure> {
    let password_file = folder.0.join("password");
    let auth = format!(
        "{{basic: [{{username: {USER}, password_file: {:?}}}]}}",
        password_file.to_string_lossy()
    );
    let page = match page {
        Page::Open => "playground_listen: 127.0.0.1:0",
        Page::Closed => "",
    };
    let text = format!(
        r#"
{page}
listen: 127.0.0.1:0
admin_listen: 127.0.0.1:0
drain_delay: 0s
nats: {{servers: ["{nats}"]}}
connectors:
  sign-up:
    protocol: entra
    step: before-create
    deadline: 2s
    auth: {auth}
    claims: {{require: [email]}}
    fallback: {{messages: {{de: "Wir konnten Ihre Anfrage nicht prüfen. Bitte versuchen Sie es in ein paar Minuten noch einmal."}}}}
  prefill:
    protocol: entra
    step: after-federation
    deadline: 2s
    auth: {auth}
    fallback: {{cached: {{by: [email], max_age: 1h}}}}
  token:
    protocol: b2c
    step: before-token
    deadline: 2s
    auth: {auth}
    fallback: {{default: continue}}
  loyalty:
    protocol: b2c-policy
    step: custom
    deadline: 2s
    identify_by: [loyaltyNumber]
    auth: {auth}
  nobody-listens:
    protocol: entra
    step: before-create
    deadline: 2s
    auth: {auth}
"#
    );
    Config::parse(&text).map_err(|error| Failure::Internal(error.to_string()))
}

/// Plays the samples, as calls that the page's are no repetition of. Returns whether each came out
/// as it should.
async fn play(folder: &Folder, bridge: &str) -> Result<bool, Failure> {
    let protocol =
        Protocol::named("entra").and_then(|entra| Some((entra, entra.step("before-create")?)));
    let Some((protocol, step)) = protocol else {
        return Err(Failure::Internal("there is no protocol entra".to_owned()));
    };
    let mut all_as_they_should = true;
    for sample in SAMPLES {
        let url = format!("{bridge}/connectors/{}", sample.connector);
        let url: Uri = url.parse().map_err(|_| Failure::Internal(format!("{url:?}")))?;
        let password = if sample.knows_password { folder.1.as_str() } else { "guessed" };
        let basic = Some((USER.to_owned(), password.as_bytes().to_vec()));
        let caller = Caller { url, protocol, step, basic, api_key: None, tls: None };
        let claims = sample.claims.replacen('{', r#"{"correlationId":"demo","#, 1);
        let heard = caller.call(claims.as_bytes()).await;
        let seen = caller.seen(&heard.answer);
        let source = heard.answer.as_ref().ok().and_then(|answer| {
            answer.headers.get("connector-answer-source")?.to_str().ok().map(str::to_owned)
        });
        let source = source.as_deref().unwrap_or("none");
        let fits = matches!(seen, Seen::Contract(_)) == sample.is_answered
            && seen.to_string().contains(sample.sees)
            && source == sample.source;
        all_as_they_should &= fits;
        print(&format!(
            "{} {}\n    posts  {}\n    sees   {seen}\n    source {source}, after {} ms\n",
            if fits { "ok  " } else { "FAIL" },
            sample.name,
            claims,
            heard.waited.as_millis(),
        ));
    }
    let end = match all_as_they_should {
        true => "\nEvery sign-up came out as it should.\n",
        false => "\nA sign-up came out otherwise than it should: see FAIL above.\n",
    };
    print(end);
    Ok(all_as_they_should)
}

fn try_it(folder: &Folder, bridge: &str, playground: SocketAddr) -> String {
    format!(
        "\nPlay sign-ups yourself at http://{playground}, or by hand; Ctrl-C ends everything:\n\n  \
         curl -si -u {USER}:{} -H 'Content-Type: application/json' \\\n    \
         -d '{{\"email\":\"you@example.com\",\"displayName\":\"  your   name \"}}' \\\n    \
         {bridge}/connectors/sign-up\n",
        folder.1
    )
}
