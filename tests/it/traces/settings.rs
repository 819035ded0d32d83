//! The standard variables.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::Path, sync::Arc};

use connector_bridge::tls::{Asks, ServerTls};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};

use super::{CLAIMS, Collector, NatsServer, YES, connector, post, serve, worker};
use crate::support::{
    pki::Authority,
    process::Program,
    real::{Folder, until},
};

#[tokio::test]
async fn an_endpoint_for_traces_is_taken_as_it_is_and_the_common_one_gets_its_path() {
    let (server, collector) = (NatsServer::start().await, Collector::start().await);
    worker(&server, "connectors.>", |_| Some(YES.to_owned())).await;
    let endpoint = collector.endpoint();
    let (whole, with_slash) = (format!("{endpoint}/v1/traces"), format!("{endpoint}/"));
    let of_traces = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    let mut known = 0;
    for (common, more) in [
        (&*with_slash, vec![]),
        ("http://127.0.0.1:1", vec![(of_traces, &*whole)]),
        (&*endpoint, vec![("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")]),
    ] {
        let serving = serve(&server, common, &more, "", &connector("c", "")).await;
        assert_eq!(post(serving.port, "c", CLAIMS).await.status, 200);
        collector.until_spans(known + 2).await;
        known += 2;
    }
    // With its own path only: nobody takes spans at `/`.
    let wrong = [(of_traces, &*endpoint)];
    let serving = serve(&server, &endpoint, &wrong, "", &connector("c", "")).await;
    assert_eq!(post(serving.port, "c", CLAIMS).await.status, 200);
    until("the loss", async || {
        let failed = serving.metric(r#"spans_dropped_total{reason="export_failed"}"#).await;
        (failed == Some(2.0)).then_some(())
    })
    .await;
    assert_eq!(collector.spans().len(), known);
}

#[tokio::test]
async fn what_is_not_sampled_is_not_exported_and_workers_are_told() {
    let (server, collector) = (NatsServer::start().await, Collector::start().await);
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    worker(&server, "connectors.>", move |call| {
        let headers = call.headers.as_ref().unwrap();
        sender.send(headers.get("traceparent").unwrap().to_string()).unwrap();
        Some(YES.to_owned())
    })
    .await;
    for (variable, flags) in [
        (("OTEL_TRACES_SAMPLER", "always_off"), "-00"),
        (("OTEL_SDK_DISABLED", "true"), "-00"),
        (("OTEL_TRACES_EXPORTER", "none"), "-00"),
        (("OTEL_TRACES_SAMPLER", "always_on"), "-01"),
    ] {
        let serving =
            serve(&server, &collector.endpoint(), &[variable], "", &connector("c", "")).await;
        assert_eq!(post(serving.port, "c", CLAIMS).await.status, 200);
        let traceparent = seen.recv().await.unwrap();
        assert!(traceparent.ends_with(flags), "{variable:?}: {traceparent}");
        let trace_id = traceparent.split('-').nth(1).unwrap();
        until("the log", async || serving.program.err().contains(trace_id).then_some(())).await;
        serving.program.signal("TERM");
        serving.program.ended().await;
    }
    collector.until_spans(2).await;
}

/// `cargo test --features grpc --test it -- grpc`
#[cfg(feature = "grpc")]
#[tokio::test]
async fn spans_go_over_grpc_where_that_is_built_in() {
    let (server, collector) = (NatsServer::start().await, Collector::start().await);
    worker(&server, "connectors.>", |_| Some(YES.to_owned())).await;
    let endpoint = format!("http://127.0.0.1:{}", collector.grpc_port);
    let protocol = [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
    let serving = serve(&server, &endpoint, &protocol, "", &connector("c", "")).await;
    assert_eq!(post(serving.port, "c", CLAIMS).await.status, 200);
    collector.until_spans(2).await;
}

#[tokio::test]
async fn a_collector_behind_tls_is_believed_by_its_authority() {
    let (server, collector) = (NatsServer::start().await, Collector::start().await);
    worker(&server, "connectors.>", |_| Some(YES.to_owned())).await;
    let authority = Authority::new("collectors");
    let own = authority.server();
    let tls = ServerTls::from_pem(own.pem.as_bytes(), own.key_pem.as_bytes(), Asks::ForNothing);
    let tls = Arc::new(tls.unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, to) = (listener.local_addr().unwrap().port(), collector.port);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let tls = Arc::clone(&tls);
            tokio::spawn(async move {
                let (mut stream, _) = tls.accept(stream).await.ok()?;
                let mut behind = TcpStream::connect(("127.0.0.1", to)).await.ok()?;
                copy_bidirectional(&mut stream, &mut behind).await.ok()
            });
        }
    });
    let endpoint = format!("https://localhost:{port}");
    let folder = Folder::new();
    let file = |name: &str, authority: &Authority| {
        std::fs::write(folder.0.join(name), authority.pem()).unwrap();
        folder.0.join(name).to_str().unwrap().to_owned()
    };
    let (right, wrong) = (file("right", &authority), file("wrong", &Authority::new("others")));
    let variable = "OTEL_EXPORTER_OTLP_CERTIFICATE";
    let serving = serve(&server, &endpoint, &[(variable, &wrong)], "", &connector("c", "")).await;
    assert_eq!(post(serving.port, "c", CLAIMS).await.status, 200);
    until("the loss", async || {
        let failed = serving.metric(r#"spans_dropped_total{reason="export_failed"}"#).await;
        (failed == Some(2.0)).then_some(())
    })
    .await;
    let serving = serve(&server, &endpoint, &[(variable, &right)], "", &connector("c", "")).await;
    assert_eq!(post(serving.port, "c", CLAIMS).await.status, 200);
    collector.until_spans(2).await;
}

#[tokio::test]
async fn a_variable_that_cannot_be_used_ends_the_start_and_is_named() {
    let folder = Folder::new();
    let file = folder.0.join("bridge.yaml");
    let config = "listen: 127.0.0.1:0\nadmin_listen: 127.0.0.1:0\nconnectors:\n  \
                  c: {protocol: entra, step: before-create, auth: none}\n";
    std::fs::write(&file, config).unwrap();
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
    for (variable, value) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1:4318"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318\n"),
        ("OTEL_BSP_SCHEDULE_DELAY", "0"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_TRACES_EXPORTER", "jaeger"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
    ] {
        let environment: Vec<_> =
            [endpoint, (variable, value)].map(|(name, value)| (name, Path::new(value))).into();
        let arguments = ["serve", "--config", file.to_str().unwrap()];
        let ended = Program::start_in(&environment, &arguments).ended().await;
        assert_eq!(ended.code, Some(78), "{variable}: {}", ended.err);
        assert!(ended.err.contains(variable), "{variable}: {}", ended.err);
    }
    // What only the library refuses, since nobody else can read it.
    let not_text = Path::new(OsStr::from_bytes(b"http://\xff"));
    let environment = [
        ("OTEL_TRACES_EXPORTER", Path::new("otlp")),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", not_text),
    ];
    let arguments = ["serve", "--config", file.to_str().unwrap()];
    let ended = Program::start_in(&environment, &arguments).ended().await;
    assert_ne!(ended.code, Some(101), "{}", ended.err);
    assert_eq!(ended.code, Some(78), "{}", ended.err);
    let unreadable = ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/ca.pem");
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://127.0.0.1:4318");
    let environment: Vec<_> =
        [endpoint, unreadable].map(|(name, value)| (name, Path::new(value))).into();
    let arguments = ["serve", "--config", file.to_str().unwrap()];
    let ended = Program::start_in(&environment, &arguments).ended().await;
    assert_eq!(ended.code, Some(78), "{}", ended.err);
    assert!(ended.err.contains("OTEL_EXPORTER_OTLP_CERTIFICATE"), "{}", ended.err);
}
