//! What HTTP and JSON cost alone, with the same libraries as `naive` and no NATS.

use std::{env, error::Error};

use axum::{Json, Router, routing::post};
use serde_json::Value;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let app = Router::new()
        .route("/connectors/{name}", post(async |Json(claims): Json<Value>| Json(claims)));
    let listener = TcpListener::bind(env::var("LISTEN")?).await?;
    Ok(axum::serve(listener, app).await?)
}
