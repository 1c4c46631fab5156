//! Receivers of notifications: an operator's web server and a mail server. Both keep what they
//! receive and can simulate an outage.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, http::HeaderMap, http::StatusCode, routing::post};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

use super::waiting::eventually;

/// The longest wait for a notification.
const DELIVERED_WITHIN: Duration = Duration::from_secs(60);

/// A web server that receives notifications.
pub struct WebhookReceiver {
    address: SocketAddr,
    is_broken: Arc<AtomicBool>,
    heard: Arc<Mutex<Vec<(HeaderMap, String)>>>,
}

impl WebhookReceiver {
    /// Listens on loopback.
    pub async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback has ports");
        let address = listener.local_addr().expect("it is bound");
        let is_broken = Arc::new(AtomicBool::new(false));
        let heard = Arc::<Mutex<Vec<_>>>::default();
        let broken = Arc::clone(&is_broken);
        let tell = Arc::clone(&heard);
        let hear = move |headers: HeaderMap, body: String| async move {
            tell.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((headers, body));
            if broken.load(Ordering::Relaxed) {
                StatusCode::INTERNAL_SERVER_ERROR
            } else {
                StatusCode::NO_CONTENT
            }
        };
        let router = Router::new().route("/hook", post(hear));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            address,
            is_broken,
            heard,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook?token=abc", self.address)
    }

    /// Starts or ends a simulated outage.
    pub fn is_broken(&self, is_broken: bool) {
        self.is_broken.store(is_broken, Ordering::Relaxed);
    }

    /// All requests: the signature and the body.
    pub fn received(&self) -> Vec<(String, String)> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let signature = |headers: &HeaderMap| {
            headers
                .get("ox-protect-signature")
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
                .to_owned()
        };
        heard
            .iter()
            .map(|(headers, body)| (signature(headers), body.clone()))
            .collect()
    }

    /// The notifications that arrived.
    pub fn notices(&self) -> Vec<Value> {
        self.received()
            .iter()
            .map(|(_, body)| serde_json::from_str(body).expect("a notice is JSON"))
            .collect()
    }

    /// Waits until this many have arrived and returns them.
    pub async fn wait_for(&self, count: usize) -> Vec<Value> {
        eventually(&format!("{count} notices"), DELIVERED_WITHIN, async || {
            self.notices().len() >= count
        })
        .await;
        self.notices()
    }
}

/// A mail server that delivers nothing.
pub struct MailServer {
    address: SocketAddr,
    mails: Arc<Mutex<Vec<String>>>,
}

impl MailServer {
    /// Listens on loopback.
    pub async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback has ports");
        let address = listener.local_addr().expect("it is bound");
        let mails = Arc::<Mutex<Vec<_>>>::default();
        let kept = Arc::clone(&mails);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let kept = Arc::clone(&kept);
                tokio::spawn(async move { serve(stream, &kept).await });
            }
        });
        Self { address, mails }
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Waits until this many have arrived and returns them: envelope, headers and text.
    pub async fn wait_for(&self, count: usize) -> Vec<String> {
        let so_far = || {
            self.mails
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone()
        };
        eventually(&format!("{count} mails"), DELIVERED_WITHIN, async || {
            so_far().len() >= count
        })
        .await;
        so_far()
    }
}

/// Serves one client (RFC 5321).
async fn serve(stream: TcpStream, kept: &Mutex<Vec<String>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let mut mail = String::new();
    let mut is_data = false;
    stream.write_all(b"220 sink\r\n").await.ok()?;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let answer = match line.trim_end() {
            "." if is_data => {
                is_data = false;
                kept.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(std::mem::take(&mut mail));
                "250 kept"
            }
            _ if is_data => {
                mail += &line;
                continue;
            }
            "DATA" => {
                is_data = true;
                "354 go on"
            }
            "QUIT" => "221 bye",
            _ => {
                mail += &line;
                "250 well"
            }
        };
        stream
            .write_all(format!("{answer}\r\n").as_bytes())
            .await
            .ok()?;
    }
}
