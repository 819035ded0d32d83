//! How the bridge shows a server who it is, and what happens when the server does not like it.

use std::fs;

use async_nats::ConnectOptions;
use data_encoding::BASE64URL_NOPAD;
use nkeys::KeyPair;

use super::{
    SUBJECT, assert_is_default, claims_of, connector, fallbacks, post_until_decided,
    worker::{Worker, lets_in},
};
use crate::support::real::{Bridge, Folder, NatsServer, until};

const USERS: &str = "authorization {users: [
    {user: bridge, password: right}
    {user: worker, password: worker}
]}";
const AS_USER: &str = r#", user: bridge, password_file: "{folder}/nats-secret""#;
const AS_NKEY: &str = r#", nkey_file: "{folder}/nats-secret""#;
const WITH_CREDENTIALS: &str = r#", credentials_file: "{folder}/nats-secret""#;
const AS_TOKEN: &str = r#", token_file: "{folder}/nats-secret""#;

/// A bridge whose secret for NATS is `secret`.
async fn bridge(server: &NatsServer, nats: &str, secret: &str) -> Bridge {
    let folder = Folder::new();
    fs::write(folder.0.join("nats-secret"), secret).unwrap();
    let nats = format!("servers: [\"{}\"]{nats}", server.url());
    Bridge::start_in(folder, &nats, "", &connector("deadline: 3s")).await
}

async fn worker(server: &NatsServer, options: ConnectOptions) -> Worker {
    Worker::with(Worker::client(server, options).await, lets_in).await
}

fn as_worker() -> ConnectOptions {
    ConnectOptions::with_user_and_password("worker".to_owned(), "worker".to_owned())
}

async fn until_auth_error(bridge: &Bridge) {
    until("the refusal is counted", async || {
        let series = r#"nats_connection_events_total{event="auth_error"}"#;
        bridge.metric(series).await.filter(|count| *count >= 1.0)
    })
    .await;
}

#[tokio::test]
async fn with_a_wrong_password_or_token_the_bridge_stays_ready_and_says_what_is_wrong() {
    for (server, nats) in [(USERS, AS_USER), ("authorization {token: right}", AS_TOKEN)] {
        let server = NatsServer::start_with(server).await;
        let bridge = bridge(&server, nats, "wrong").await;
        assert_is_default(&bridge.post("c", &claims_of(1)).await);
        assert_eq!(fallbacks(&bridge, "disconnected").await, 1.0);
        until_auth_error(&bridge).await;
        assert_eq!(bridge.admin("/readyz").await.status, 200);
        assert_eq!(bridge.metric("nats_connected").await, Some(0.0));
        let connected = r#"nats_connection_events_total{event="connected"}"#;
        assert_eq!(bridge.metric(connected).await, Some(0.0));
    }
}

#[tokio::test]
async fn with_the_right_password_or_token_a_worker_decides() {
    let token = ConnectOptions::with_token("right".to_owned());
    for (server, nats, options) in
        [(USERS, AS_USER, as_worker()), ("authorization {token: right}", AS_TOKEN, token)]
    {
        let server = NatsServer::start_with(server).await;
        let bridge = bridge(&server, nats, "right\n").await.connected().await;
        let _worker = worker(&server, options).await;
        assert_eq!(post_until_decided(&bridge, 0).await, 1);
    }
}

#[tokio::test]
async fn with_the_right_nkey_a_worker_decides_and_with_another_none_does() {
    let key = KeyPair::new_user();
    let server = NatsServer::start_with(&format!(
        "authorization {{users: [{{nkey: {}}}, {{user: worker, password: worker}}]}}",
        key.public_key()
    ))
    .await;
    let _worker = worker(&server, as_worker()).await;
    let other = bridge(&server, AS_NKEY, &KeyPair::new_user().seed().unwrap()).await;
    assert_is_default(&other.post("c", &claims_of(1)).await);
    until_auth_error(&other).await;
    let right = bridge(&server, AS_NKEY, &format!("{}\n", key.seed().unwrap())).await;
    assert_eq!(post_until_decided(&right.connected().await, 0).await, 1);
}

/// A JWT as NATS reads it, about `subject`.
fn jwt(issuer: &KeyPair, subject: &KeyPair, nats: &str) -> String {
    let claims = format!(
        r#"{{"jti":"J","iat":1700000000,"iss":"{}","sub":"{}","name":"N","nats":{nats}}}"#,
        issuer.public_key(),
        subject.public_key()
    );
    let encode = |part: &[u8]| BASE64URL_NOPAD.encode(part);
    let head = encode(br#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
    let signed = format!("{head}.{}", encode(claims.as_bytes()));
    format!("{signed}.{}", encode(&issuer.sign(signed.as_bytes()).unwrap()))
}

/// A credentials file for a new user of `account`.
fn credentials(account: &KeyPair) -> String {
    let user = KeyPair::new_user();
    let rights =
        r#"{"type":"user","version":2,"pub":{},"sub":{},"subs":-1,"data":-1,"payload":-1}"#;
    format!(
        "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
        jwt(account, &user, rights),
        user.seed().unwrap()
    )
}

#[tokio::test]
async fn with_the_right_credentials_file_a_worker_decides_and_with_another_none_does() {
    let (operator, account) = (KeyPair::new_operator(), KeyPair::new_account());
    let limits = r#"{"subs":-1,"data":-1,"payload":-1,"imports":-1,"exports":-1,
        "wildcards":true,"conn":-1,"leaf":-1}"#;
    let limits = format!(r#"{{"type":"account","version":2,"limits":{limits}}}"#);
    let server = NatsServer::start_with(&format!(
        "operator: {}\nresolver: MEMORY\nresolver_preload: {{{}: {}}}",
        jwt(&operator, &operator, r#"{"type":"operator","version":2}"#),
        account.public_key(),
        jwt(&operator, &account, &limits)
    ))
    .await;
    let options = ConnectOptions::with_credentials(&credentials(&account)).unwrap();
    let _worker = worker(&server, options).await;
    let other = bridge(&server, WITH_CREDENTIALS, &credentials(&KeyPair::new_account())).await;
    assert_is_default(&other.post("c", &claims_of(1)).await);
    until_auth_error(&other).await;
    let right = bridge(&server, WITH_CREDENTIALS, &credentials(&account)).await;
    assert_eq!(post_until_decided(&right.connected().await, 0).await, 1);
}

#[tokio::test]
async fn a_changed_secret_file_is_used_by_the_next_attempt_to_connect() {
    let key = KeyPair::new_user();
    let server = NatsServer::start_with(&format!(
        "authorization {{users: [{{nkey: {}}}, {{user: bridge, password: right}}]}}",
        key.public_key()
    ))
    .await;
    let (wrong_key, right_key) = (KeyPair::new_user().seed().unwrap(), key.seed().unwrap());
    for (nats, wrong, right) in [(AS_USER, "wrong", "right"), (AS_NKEY, &wrong_key, &right_key)] {
        let bridge = bridge(&server, nats, wrong).await;
        until_auth_error(&bridge).await;
        fs::write(bridge.folder.0.join("nats-secret"), right).unwrap();
        bridge.until_metric("nats_connected", 1.0).await;
    }
}

#[tokio::test]
async fn a_subject_that_the_server_forbids_is_counted_and_gives_the_fallback() {
    let server = NatsServer::start_with(&format!(
        "authorization {{users: [{{user: bridge, password: right, permissions: {{\
         publish: {{deny: [\"{SUBJECT}\"]}}}}}}]}}"
    ))
    .await;
    let bridge = bridge(&server, AS_USER, "right").await.connected().await;
    assert_is_default(&bridge.post("c", &claims_of(1)).await);
    until_auth_error(&bridge).await;
    assert_eq!(bridge.metric("nats_connected").await, Some(1.0));
}
