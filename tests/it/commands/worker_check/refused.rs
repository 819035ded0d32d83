//! What keeps `worker-check` from checking anything.

use std::time::Duration;

use super::{
    check, findings, pairs, report,
    worker::{Copies, good, start},
};
use crate::{
    commands::{assert_failed, written},
    support::{
        pki::Authority,
        process::run,
        real::{Folder, NatsServer, until},
    },
};

#[tokio::test]
async fn without_a_worker_it_fails_at_once_and_one_that_is_starting_is_waited_for() {
    let server = NatsServer::start().await;
    let ended = check(&server, "nobody", &["--wait", "0s", "--format", "json"]).await;
    let failed = pairs(&[("step.entra.before-create", "no_responders"), ("alive", "not_sent")]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(findings(&report(&ended), "fail"), failed);
    assert_eq!(report(&ended)["rows"].as_array().unwrap().len(), 2);

    let starts = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        start(&server, "late", Copies::One, good).await
    };
    let more = ["--wait", "30s", "--format", "json"];
    let (ended, _) = tokio::join!(check(&server, "late", &more), starts);
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[tokio::test]
async fn where_nats_cannot_be_reached_or_refuses_it_ends_with_69_and_says_why() {
    let nowhere = NatsServer::later().await;
    assert_failed(&check(&nowhere, "c", &[]).await, 69, "no connection: ");

    let folder = Folder::new();
    let (right, wrong) =
        (written(&folder, "right", "s3cret\n"), written(&folder, "wrong", "guess"));
    let server = NatsServer::start_with(
        "authorization {users: [
            {user: bridge, password: s3cret, permissions: {
                publish: [\"connectors.c.>\"], subscribe: [\"_INBOX_connector_bridge.>\"]}}
            {user: worker, password: s3cret}
        ]}",
    )
    .await;
    let as_user = |file| ["--user", "bridge", "--password-file", file, "--wait", "0s"];
    assert_failed(&check(&server, "c", &as_user(&wrong)).await, 69, "no connection: ");
    assert_failed(&check(&server, "c", &[]).await, 69, "no connection: ");
    // Nobody listens, but it may ask.
    let ended = check(&server, "c", &as_user(&right)).await;
    assert_eq!((ended.code, &*ended.err), (Some(1), ""), "{ended:?}");
    let about = "ermissions Violation for Publish to \"connectors.d.before-create\"";
    assert_failed(&check(&server, "d", &as_user(&right)).await, 69, about);
    let more = [&as_user(&right)[..], &["--effects", "effects.>"]].concat();
    let about = "ermissions Violation for Subscription to \"effects.>\"";
    assert_failed(&check(&server, "c", &more).await, 69, about);
}

#[tokio::test]
async fn a_connection_that_is_lost_ends_it_with_69() {
    let mut server = NatsServer::start().await;
    let got = start(&server, "silent", Copies::One, |_| vec![]).await;
    let url = server.url();
    let arguments = ["worker-check", "connectors.silent.before-create", "--server", &url];
    let dies = async {
        until("a call", async || (!got.lock().unwrap().is_empty()).then_some(())).await;
        server.kill();
    };
    let (ended, ()) = tokio::join!(run(&arguments), dies);
    assert_failed(&ended, 69, "the connection to NATS was lost");
}

#[tokio::test]
async fn over_tls_it_shows_a_certificate_and_believes_only_the_right_server() {
    let authority = Authority::new("nats");
    let (shown, own) = (authority.server(), authority.client("checker"));
    let folder = Folder::new();
    for (name, text) in [
        ("ca", &authority.pem()),
        ("other-ca", &Authority::new("other").pem()),
        ("crt", &shown.pem),
        ("key", &shown.key_pem),
        ("own", &own.pem),
        ("own-key", &own.key_pem),
        ("token", &"s3cret\n".to_owned()),
    ] {
        written(&folder, name, text);
    }
    let path = |name: &str| folder.0.join(name).to_str().unwrap().to_owned();
    let (ca, other, own, own_key) = (path("ca"), path("other-ca"), path("own"), path("own-key"));
    let token = path("token");
    let tls = format!(
        "authorization {{token: s3cret}}\ntls {{cert_file: {:?}, key_file: {:?}, ca_file: {ca:?}, verify: true}}",
        path("crt"),
        path("key")
    );
    let server = NatsServer::start_with(&tls).await;
    let known = ["--token-file", &*token, "--wait", "0s"];
    let all = [&known[..], &["--ca", &ca, "--cert", &own, "--key", &own_key]].concat();
    let ended = check(&server, "c", &all).await;
    assert_eq!((ended.code, &*ended.err), (Some(1), ""), "{ended:?}");
    assert!(ended.out.contains("nobody listens on the subject"), "{ended:?}");
    let stranger = [&known[..], &["--ca", &other, "--cert", &own, "--key", &own_key]].concat();
    assert_failed(&check(&server, "c", &stranger).await, 69, "no connection: ");
    let bare = [&known[..], &["--ca", &ca]].concat();
    assert_failed(&check(&server, "c", &bare).await, 69, "no connection: ");
}

#[tokio::test]
async fn what_is_not_written_is_read_off_the_subject() {
    let server = NatsServer::start().await;
    let folder = Folder::new();
    let claims = written(&folder, "claims", r#"{"email":"ada@example.com","n":1.0}"#);
    let url = server.url();
    for (subject, more, at) in [
        (
            "connectors.a.before-token",
            &[][..],
            "as connector a of b2c at before-token, deadline 3500 ms",
        ),
        ("connectors.a.custom", &[], "as connector a of b2c-policy at custom, deadline 7500 ms"),
        (
            "connectors.a.before-create",
            &["--protocol", "b2c"],
            "connector a of b2c at before-create",
        ),
        (
            "elsewhere",
            &[],
            "as connector worker-check of entra at before-create, deadline 15000 ms",
        ),
        (
            "elsewhere",
            &["--connector", "b", "--step", "after-federation", "--deadline", "2.5s"],
            "as connector b of entra at after-federation, deadline 2500 ms",
        ),
        ("connectors.a.other", &["--claims", &*claims], "as connector worker-check of entra"),
    ] {
        let least = ["worker-check", subject, "--server", &url, "--wait", "0s"];
        let ended = run(&[&least[..], more].concat()).await;
        assert!(ended.out.contains(at), "{ended:?}");
    }
}
