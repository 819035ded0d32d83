//! Secret files that change while `serve` runs.

use std::fs;

use data_encoding::BASE64;

use crate::support::{
    process::Serving,
    real::{NatsServer, exchange, metric, post_head, until, worker},
};

/// The status that `entra` with `password` gets.
async fn status(serving: &Serving, password: &str) -> u16 {
    let credentials = BASE64.encode(format!("entra:{password}").as_bytes());
    let head = post_head("c", 2).replace("ZW50cmE6c2VjcmV0", &credentials);
    exchange(serving.port, format!("{head}Connection: close\r\n\r\n{{}}").as_bytes()).await.status
}

async fn until_status(serving: &Serving, password: &str, wanted: u16) {
    until(password, async || (status(serving, password).await == wanted).then_some(())).await;
}

async fn until_reloaded(serving: &Serving, well: f64) {
    until("the reload", async || {
        let value = metric(serving.admin_port, "config_last_reload_successful").await;
        (value == Some(well)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_changed_password_file_is_in_force_without_a_restart_and_a_broken_one_is_not() {
    let server = NatsServer::start().await;
    worker(&server, "connectors.>", |_| Some(r#"{"action":"Continue"}"#.to_owned())).await;
    let auth = r#"{basic: [{username: entra, password_file: "{folder}/password"}]}"#;
    let connectors = format!("  c: {{protocol: entra, step: before-create, auth: {auth}}}\n");
    let serving = Serving::start(&server, "drain_delay: 0s", &connectors).await.connected().await;
    let file = serving.folder.0.join("password");
    assert_eq!((status(&serving, "secret").await, status(&serving, "new").await), (200, 401));

    fs::write(&file, "new\r\n").unwrap();
    until_status(&serving, "new", 200).await;
    assert_eq!(status(&serving, "secret").await, 401, "the old one stops");

    fs::write(&file, "\n").unwrap();
    until_reloaded(&serving, 0.0).await;
    assert_eq!((status(&serving, "new").await, status(&serving, "").await), (200, 401));

    // As Kubernetes does it: the name leads to another file.
    let other = serving.folder.0.join("other");
    fs::write(&other, "swapped").unwrap();
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink(&other, &file).unwrap();
    until_reloaded(&serving, 1.0).await;
    assert_eq!((status(&serving, "swapped").await, status(&serving, "new").await), (200, 401));
    serving.program.signal("TERM");
    let ended = serving.program.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(!ended.err.contains("swapped"), "{}", ended.err);
}
