//! Behind a proxy that keeps connections and lends them to the next person: what one stranger does
//! with a request of their own costs nobody else theirs.

use std::{
    fs,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use super::{NO_TIMEOUT, Site, call, next_answer};
use crate::support::real::{Folder, post_head, tool, until};

/// How many calls are made beside the strangers.
const CALLS: u64 = 4_000;

/// Who makes them.
const CALLERS: u64 = 8;

/// nginx in front of a bridge; killed when dropped.
struct Nginx {
    process: Child,
    /// Where it reads a body to its end before it passes the request on.
    port: u16,
    /// Where it passes on what it has.
    eager_port: u16,
    _folder: Folder,
}

impl Nginx {
    async fn start(bridge: u16) -> Self {
        let folder = Folder::new();
        let path = folder.0.to_str().unwrap();
        let (port, eager_port) = (free_port(), free_port());
        let places: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {path}/{name};"))
            .concat();
        let pass = "location / { proxy_pass http://bridge;";
        let config = format!(
            r#"daemon off; master_process off; pid {path}/pid; error_log {path}/error.log;
            events {{ worker_connections 512; }}
            http {{
                access_log off; {places}
                upstream bridge {{ server 127.0.0.1:{bridge}; keepalive 8; }}
                proxy_http_version 1.1; proxy_set_header Connection ""; proxy_next_upstream off;
                server {{ listen 127.0.0.1:{port}; {pass} }} }}
                server {{ listen 127.0.0.1:{eager_port}; {pass} proxy_request_buffering off; }} }}
            }}"#
        );
        fs::write(folder.0.join("nginx.conf"), config).unwrap();
        let program = tool("NGINX", ".tools/nginx/usr/sbin/nginx");
        // Where it was fetched, what it needs besides is beside it.
        let libraries = format!("../lib/{}-linux-gnu", std::env::consts::ARCH);
        let process = Command::new(&program)
            .env("LD_LIBRARY_PATH", program.parent().unwrap().join(libraries))
            .args(["-p", path, "-c", "nginx.conf", "-e", "error.log"])
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx; `make test` fetches it");
        let nginx = Self { process, port, eager_port, _folder: folder };
        for port in [port, eager_port] {
            until("nginx listens", async || TcpStream::connect(("127.0.0.1", port)).await.ok())
                .await;
        }
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Posts with the wrong credentials: the body in two pieces, with a pause between them.
async fn knock(port: u16, length: usize, first: usize, pause: Duration) {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let head = post_head("c", length).replace("Basic ", "Basic x");
    let (first, second) = (" ".repeat(first), " ".repeat(length - first));
    if stream.write_all(format!("{head}\r\n{first}").as_bytes()).await.is_ok() {
        tokio::time::sleep(pause).await;
        drop(stream.write_all(second.as_bytes()).await);
        drop(stream.read_u8().await);
    }
}

#[tokio::test]
async fn two_strangers_with_slow_bodies_cost_nobody_a_call_behind_a_proxy() {
    let site = Site::new(NO_TIMEOUT).await;
    let nginx = Nginx::start(site.bridge.port).await;
    let (port, eager_port) = (nginx.port, nginx.eager_port);
    let (stops, knocks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut strangers = JoinSet::new();
    for _ in 0..2 {
        let (stops, knocks) = (Arc::clone(&stops), Arc::clone(&knocks));
        strangers.spawn(async move {
            while !stops.load(Ordering::Relaxed) {
                // A long body is passed on in a packet of its own.
                for (port, length, first) in [
                    (port, 20_000, 10_000),
                    (port, 60_000, 1),
                    (eager_port, 7, 0),
                    (eager_port, 7, 3),
                    (eager_port, 60_000, 1),
                ] {
                    for pause in [0, 1, 5] {
                        knock(port, length, first, Duration::from_millis(pause)).await;
                        knocks.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        });
    }
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        callers.spawn(async move {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let mut lost = Vec::new();
            for n in 0..CALLS / CALLERS {
                stream.write_all(call(&format!(r#"{{"n":{n}}}"#)).as_bytes()).await.unwrap();
                let answer = next_answer(&mut stream).await.expect("an answer of nginx");
                if answer.status != 200 {
                    lost.push(answer.status);
                    stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                }
            }
            lost
        });
    }
    let lost = callers.join_all().await.concat();
    stops.store(true, Ordering::Relaxed);
    assert!(lost.is_empty(), "{} of {CALLS} calls: {lost:?}", lost.len());
    assert!(knocks.load(Ordering::Relaxed) > 50, "the strangers were heard");
    assert_eq!(site.asked(), CALLS);
}
