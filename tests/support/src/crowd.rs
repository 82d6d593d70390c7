//! A crowd at an admin port: some say nothing, some send or read a byte a second. Whoever is closed comes
//! back a second later. It has a thread of its own, so that it is slow by intention only.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;

const SLOWLY: Duration = Duration::from_secs(1);

/// Goes away when it is dropped.
pub struct Crowd {
    runtime: Option<Runtime>,
    opened: Arc<AtomicUsize>,
}

/// What one of the crowd does.
#[derive(Clone, Copy)]
enum Manner {
    SaysNothing,
    AsksSlowly,
    /// What for.
    ReadsSlowly(&'static str),
}

impl Crowd {
    /// So many who say nothing, and so many who are slow.
    pub fn gather(address: SocketAddr, idle: usize, slow: usize) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let opened = Arc::new(AtomicUsize::new(0));
        let slow = (0..slow).map(|n| match n % 3 {
            0 => Manner::AsksSlowly,
            1 => Manner::ReadsSlowly("/events"),
            _ => Manner::ReadsSlowly("/metrics"),
        });
        for manner in std::iter::repeat_n(Manner::SaysNothing, idle).chain(slow) {
            let opened = Arc::clone(&opened);
            runtime.spawn(async move {
                loop {
                    // It is closed sooner or later, and in no way that matters.
                    let _ = hold_on(address, manner, &opened).await;
                    sleep(SLOWLY).await;
                }
            });
        }
        Ok(Self { runtime: Some(runtime), opened })
    }

    /// How many connections were open at some time.
    pub fn opened(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Until it is closed.
async fn hold_on(address: SocketAddr, manner: Manner, opened: &AtomicUsize) -> io::Result<()> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // The answer is to wait in the server and not on the way.
    socket.set_recv_buffer_size(2_048)?;
    let mut stream = socket.connect(address).await?;
    opened.fetch_add(1, Ordering::Relaxed);
    match manner {
        Manner::SaysNothing => while stream.read(&mut [0; 64]).await? > 0 {},
        Manner::AsksSlowly => {
            for byte in b"GET /livez HTTP/1.1\r\nx: ".iter().chain(std::iter::repeat(&b'y')) {
                stream.write_all(&[*byte]).await?;
                sleep(SLOWLY).await;
            }
        }
        Manner::ReadsSlowly(path) => {
            stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await?;
            while stream.read(&mut [0; 1]).await? > 0 {
                sleep(SLOWLY).await;
            }
        }
    }
    Ok(())
}

/// Asks as a kubelet does, and waits as long: the status, which is 200 where all is well.
pub fn probe(address: SocketAddr, path: &str) -> io::Result<u16> {
    let patience = Duration::from_secs(1);
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(|| io::Error::other("no answer"))
}
