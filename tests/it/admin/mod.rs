//! The admin port, over real connections.
//!
//! Tests of deadlines run on tokio's paused clock, which jumps ahead as soon as nothing else can
//! happen; the others on the real one, so that no deadline passes while bytes are on their way.

mod fuzz;
mod page;
mod port;
mod tls;

use std::net::SocketAddr;
use std::time::Duration;

use login_pipeline::config;
use login_pipeline::observe::{AdminServer, Limits, Observe};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

struct Admin {
    address: SocketAddr,
    observe: Observe,
    shutdown: CancellationToken,
    server: JoinHandle<()>,
}

impl Admin {
    async fn start() -> Self {
        Self::start_with(Limits::default(), json!({"source": {"topic": "user-login"}})).await
    }

    async fn start_with(limits: Limits, configuration: Value) -> Self {
        Self::serve_with(&config::Admin::at(([127, 0, 0, 1], 0).into()), limits, configuration).await
    }

    async fn serve(admin: &config::Admin) -> Self {
        Self::serve_with(admin, Limits::default(), json!({})).await
    }

    async fn serve_with(admin: &config::Admin, limits: Limits, configuration: Value) -> Self {
        let server = AdminServer::bind(admin).await.unwrap().with_limits(limits);
        let address = server.local_addr();
        let observe =
            Observe::new("1.2.3", &["device_type", "app_version", "locale"], Duration::from_secs(10), configuration);
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(server.serve(observe.clone(), shutdown.clone()));
        Self { address, observe, shutdown, server }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn request(&self, method: &str, path: &str) -> Answer {
        let request = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        self.send(request.as_bytes()).await
    }

    async fn send(&self, bytes: &[u8]) -> Answer {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        Answer::read(stream).await
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    /// Whatever comes until the server closes; status 0 where that is nothing.
    async fn read(mut stream: TcpStream) -> Self {
        let mut bytes = Vec::new();
        // A server that closes with unread bytes resets the connection; what came before counts.
        let _ = stream.read_to_end(&mut bytes).await;
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }
}
