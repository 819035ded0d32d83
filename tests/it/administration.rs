//! The ports that are not for callers, held by connections that do nothing: a probe finds a way in.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::support::real::{
    Answer, Bridge, NatsServer, SOON, get, next_answer, read_answer, until, value_of,
};

/// More than there are places.
const MANY: usize = 200;

/// As many as there are places.
const ALL: usize = 64;

const HOST: &str = "HTTP/1.1\r\nHost: localhost\r\n";

async fn bridge(server: &NatsServer, root: &str, connectors: usize) -> Bridge {
    let auth = r#"{basic: [{username: entra, password_file: "{folder}/password"}]}"#;
    let connectors: String = (0..connectors)
        .map(|n| format!("  c{n}: {{protocol: entra, step: before-create, auth: {auth}}}\n"))
        .collect();
    let root = format!("playground_listen: 127.0.0.1:0\n{root}");
    Bridge::start_with(server, &root, &connectors).await
}

/// A connection whose end takes as little as the system lets it.
async fn connect(port: u16) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    socket.connect(([127, 0, 0, 1], port).into()).await.unwrap()
}

/// Those that hold a place with what they have sent. One that was closed already is one too.
async fn idlers(port: u16, count: usize, sent: &str) -> Vec<TcpStream> {
    let mut idle = Vec::new();
    for _ in 0..count {
        let mut stream = connect(port).await;
        drop(stream.write_all(sent.as_bytes()).await);
        idle.push(stream);
    }
    idle
}

/// What holds a port's places, by name.
fn sorts() -> Vec<(&'static str, String)> {
    vec![
        ("silent", String::new()),
        ("half a head", format!("GET /livez {HOST}")),
        ("a body that never comes", format!("PUT /log-level {HOST}Content-Length: 4\r\n\r\n")),
        ("chunks", format!("PUT /log-level {HOST}Transfer-Encoding: chunked\r\n\r\n1\r\n")),
        ("answers that nobody reads", format!("GET /metrics {HOST}\r\n").repeat(20)),
        ("answered once", format!("GET /livez {HOST}\r\n")),
    ]
}

#[tokio::test]
async fn a_probe_is_answered_whatever_holds_every_place() {
    let server = NatsServer::start().await;
    // Nothing ends by its time.
    let bridge = bridge(&server, "read_timeout: 5m", 60).await;
    let port = bridge.admin_port;
    assert!(get(port, "/metrics").await.body.len() > 100_000, "less than a socket takes");
    let mut all = Vec::new();
    for (name, sent) in sorts() {
        for count in [ALL, MANY] {
            all.extend(idlers(port, count, &sent).await);
            for path in ["/livez", "/readyz"] {
                let answer = timeout(SOON, get(port, path)).await.expect("an answer");
                assert_eq!(answer.status, 200, "{path} beside {count} of {name}");
            }
        }
    }
    let series = "rejections_total{reason=\"gave_way\"}";
    let rejected = value_of(series, &get(port, "/metrics").await.body).unwrap();
    assert!(rejected >= f64::from(u32::try_from(all.len() - ALL).unwrap()), "{rejected}");
}

#[tokio::test]
async fn the_page_of_the_playground_is_shown_whatever_holds_every_place() {
    let server = NatsServer::start().await;
    let bridge = bridge(&server, "read_timeout: 5m", 1).await;
    let port = bridge.playground_port.unwrap();
    let mut all = Vec::new();
    for sent in [String::new(), format!("POST /api/plays {HOST}Content-Length: 4\r\n\r\n")] {
        all.extend(idlers(port, MANY, &sent).await);
        let request = format!("GET / {HOST}Connection: close\r\n\r\n");
        let mut stream = connect(port).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(read_answer(&mut stream, Instant::now()).await.status, 200);
    }
}

#[tokio::test]
async fn a_connection_that_is_used_outlives_those_that_are_not() {
    let server = NatsServer::start().await;
    let bridge = bridge(&server, "read_timeout: 5m", 1).await;
    let mut used = connect(bridge.admin_port).await;
    let mut idle = Vec::new();
    for _ in 0..20 {
        used.write_all(format!("GET /livez {HOST}\r\n").as_bytes()).await.unwrap();
        assert_eq!(next_answer(&mut used).await.expect("kept").status, 200);
        idle.extend(idlers(bridge.admin_port, ALL / 2, "GET /").await);
    }
    used.write_all(format!("GET /livez {HOST}\r\n").as_bytes()).await.unwrap();
    assert_eq!(next_answer(&mut used).await.expect("kept").status, 200);
}

#[tokio::test]
async fn a_body_that_does_not_come_gets_408_at_read_timeout() {
    let server = NatsServer::start().await;
    let bridge = bridge(&server, "read_timeout: 300ms", 1).await;
    for (port, line, more) in [
        (bridge.admin_port, "PUT /log-level", "Content-Length: 4\r\n\r\nin"),
        (bridge.admin_port, "PUT /log-level", "Transfer-Encoding: chunked\r\n\r\n1\r\n"),
        (
            bridge.playground_port.unwrap(),
            "POST /api/plays",
            "Content-Type: application/json\r\nConnector-Playground: 1\r\n\
             Content-Length: 4\r\n\r\n{",
        ),
    ] {
        let mut stream = connect(port).await;
        stream.write_all(format!("{line} {HOST}{more}").as_bytes()).await.unwrap();
        let answer: Answer = read_answer(&mut stream, Instant::now()).await;
        assert_eq!(answer.status, 408, "{line}: {}", answer.head);
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(answer.took >= Duration::from_millis(300));
    }
}

#[tokio::test]
async fn whoever_reads_no_answer_is_given_up() {
    let server = NatsServer::start().await;
    let bridge = bridge(&server, "read_timeout: 5m", 60).await;
    let many = format!("GET /metrics {HOST}\r\n").repeat(100);
    let mut deaf = connect(bridge.admin_port).await;
    deaf.write_all(many.as_bytes()).await.unwrap();
    let stream = tokio::sync::Mutex::new(deaf);
    until("the end of the connection", async || {
        // Asks without taking a byte: an error, or the end, once the other side has gone.
        let mut stream = stream.lock().await;
        stream.write_all(b"\r\n").await.is_err().then_some(())
    })
    .await;
    let mut rest = Vec::new();
    drop(timeout(SOON, stream.lock().await.read_to_end(&mut rest)).await.expect("an end"));
}

#[tokio::test]
async fn what_is_malformed_is_refused_there_too() {
    let server = NatsServer::start().await;
    let bridge = bridge(&server, "", 1).await;
    for port in [bridge.admin_port, bridge.playground_port.unwrap()] {
        for head in [
            "GET /livez HTTP/1.1\r\n",
            "GET /livez HTTP/1.0\r\nHost: a\r\nHost: b\r\n",
            "GET /livez HTTP/1.1\r\nHost: a, b\r\n",
            "GET /livez#x HTTP/1.1\r\nHost: localhost\r\n",
            "GET http://other/livez HTTP/1.1\r\nHost: localhost\r\n",
            "GET /livez HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n",
        ] {
            let mut stream = connect(port).await;
            stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
            let answer = read_answer(&mut stream, Instant::now()).await;
            assert_eq!((answer.status, &*answer.body), (400, ""), "{head}");
            assert_eq!(answer.header("connection"), Some("close"), "{head}");
        }
    }
}
