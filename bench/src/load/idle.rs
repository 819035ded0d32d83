//! Connections that say nothing.

use std::io::Read;

use serde_json::{Value, json};
use tokio::{net::TcpStream, task};

use super::Failure;

/// Opens them, says so on a line, and holds them until standard input ends. How many are still open.
pub(super) async fn run(address: &str, connections: usize) -> Result<Value, Failure> {
    let mut open = Vec::with_capacity(connections);
    for _ in 0..connections {
        open.push(TcpStream::connect(address).await?);
    }
    println!("open");
    task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    let is_open = |stream: &&TcpStream| {
        stream.try_read(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    };
    Ok(json!({"connections": connections, "still_open": open.iter().filter(is_open).count()}))
}
