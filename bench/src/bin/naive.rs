//! The bridge that a good developer writes in an afternoon, and what others are measured against. It
//! promises nothing: whoever calls gets in, nothing is remembered, and where no decision comes the
//! caller gets an error.

use std::{env, error::Error, time::Duration};

use async_nats::Client;
use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::post,
};
use serde_json::Value;
use tokio::{net::TcpListener, time::timeout};

const PATIENCE: Duration = Duration::from_secs(15);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = async_nats::connect(env::var("NATS_URL")?).await?;
    let app = Router::new().route("/connectors/{name}", post(decide)).with_state(client);
    let listener = TcpListener::bind(env::var("LISTEN")?).await?;
    Ok(axum::serve(listener, app).await?)
}

async fn decide(
    State(client): State<Client>,
    Path(name): Path<String>,
    Json(claims): Json<Value>,
) -> Result<Json<Value>, StatusCode> {
    let subject = format!("connectors.{name}.before-create");
    let body = serde_json::to_vec(&claims).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let reply = timeout(PATIENCE, client.request(subject, body.into()))
        .await
        .map_err(|_| StatusCode::GATEWAY_TIMEOUT)?
        .map_err(|_| StatusCode::BAD_GATEWAY)?;
    let decision = serde_json::from_slice(&reply.payload).map_err(|_| StatusCode::BAD_GATEWAY)?;
    Ok(Json(decision))
}
