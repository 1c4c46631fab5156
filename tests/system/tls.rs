//! TLS of the API: a certificate that is renewed and fails while the program runs, and clients that
//! do not finish their handshakes.

use std::{net::SocketAddr, time::Duration};

use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::rustls::{
    pki_types::CertificateDer,
    version::{TLS12, TLS13},
};

use crate::{
    proxies::connect,
    world::{CertificateIssuer, Events, World, eventually, ox_protect},
};

/// A connection that is silent for this long stays silent.
const TIMEOUT: Duration = Duration::from_secs(120);

async fn world(issuer: &CertificateIssuer) -> World {
    World::with_zone("a.example. 60 A 192.0.2.1")
        .with_certificate(issuer)
        .config("[api]\nconnections_max = 50\n")
        .start()
        .await
}

/// A request on a connection that stays open. Returns the response's head and body.
async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut heard = vec![0; 4_096];
    let count = timeout(TIMEOUT, stream.read(&mut heard)).await;
    heard.truncate(count.expect("an answer").unwrap());
    String::from_utf8(heard).unwrap()
}

/// The certificate of a new connection.
async fn certificate(issuer: &CertificateIssuer, to: SocketAddr) -> CertificateDer<'static> {
    let stream = issuer.connect(to, &[&TLS13], &[]).await.unwrap();
    let (_, session) = stream.get_ref();
    session.peer_certificates().unwrap()[0].clone().into_owned()
}

#[tokio::test]
async fn a_client_that_trusts_the_issuer_reads_over_tls() {
    let issuer = CertificateIssuer::new();
    let world = world(&issuer).await;
    assert!(
        world
            .daemon
            .stdout()
            .iter()
            .any(|line| line.starts_with("api ready on https://127.0.0.1:")),
    );
    assert_eq!(world.api.get("/readyz").await.ok().text, "ready\n");
    let api = world.daemon.addresses().api();
    for version in [&TLS12, &TLS13] {
        let mut stream = issuer
            .connect(api, &[version], &["h2", "http/1.1"])
            .await
            .unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        for _ in 0..2 {
            let heard = ask(&mut stream, "/healthz").await;
            assert!(heard.starts_with("HTTP/1.1 200 OK\r\n"), "{heard}");
        }
    }
    let refused = issuer.connect(api, &[&TLS13], &["h2"]).await;
    assert!(refused.is_err(), "HTTP/2 alone");
    let stranger = CertificateIssuer::new().connect(api, &[&TLS13], &[]).await;
    assert!(stranger.is_err(), "another issuer");
    let mut plain = TcpStream::connect(api).await.unwrap();
    plain
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let mut heard = Vec::new();
    let read = timeout(TIMEOUT, plain.read_to_end(&mut heard)).await;
    let _ = read.expect("it is closed");
    let heard = String::from_utf8_lossy(&heard);
    assert!(!heard.contains("HTTP"), "{heard}");
    let failed = [("step", "tls")];
    let failed = world
        .api
        .metric_of("ox_protect_api_handshakes_failed_total", &failed)
        .await;
    assert!(failed >= 2.0, "{failed}");
}

#[tokio::test]
async fn a_renewed_certificate_touches_no_connection_and_a_bad_one_nothing() {
    let issuer = CertificateIssuer::new();
    let world = world(&issuer).await;
    let api = world.daemon.addresses().api();
    let events = Events::listen(&world.api).await;
    let usable = async || world.api.metric("ox_protect_certificate_usable").await;
    let first = certificate(&issuer, api).await;
    let mut open = issuer.connect(api, &[&TLS13], &[]).await.unwrap();
    ask(&mut open, "/healthz").await;

    issuer.issue(1, 90).write(world.folder());
    world.daemon.signal("HUP");
    events.wait_for("certificate_renewed", &[]).await;
    let second = certificate(&issuer, api).await;
    assert_ne!(second, first);
    let heard = ask(&mut open, "/healthz").await;
    assert!(heard.starts_with("HTTP/1.1 200 OK\r\n"), "{heard}");
    assert!(open.get_ref().1.peer_certificates().unwrap()[0] == first);

    // A key alone, as between the two steps of a careless renewal.
    std::fs::write(world.folder().join("key.pem"), issuer.issue(1, 90).key).unwrap();
    events.wait_for("certificate_failing", &[]).await;
    eventually("the files cannot be used", TIMEOUT, async || {
        usable().await == 0.0
    })
    .await;
    assert_eq!(certificate(&issuer, api).await, second);

    // Without a signal, within seconds. This one should have been renewed ten days ago.
    issuer.issue(86, 90).write(world.folder());
    events.wait_for("certificate_expiring", &[]).await;
    assert_eq!(usable().await, 1.0);
    assert_ne!(certificate(&issuer, api).await, second);
    let heard = ask(&mut open, "/healthz").await;
    assert!(heard.starts_with("HTTP/1.1 200 OK\r\n"), "{heard}");
}

#[tokio::test]
async fn a_daemon_does_not_start_with_a_key_of_another_certificate() {
    let issuer = CertificateIssuer::new();
    let world = world(&issuer).await;
    world.daemon.terminate().await;
    std::fs::write(world.folder().join("key.pem"), issuer.issue(1, 90).key).unwrap();
    let config = world.daemon.config();
    for command in ["check", "serve"] {
        let output = ox_protect(&[command, "--config", config.to_str().unwrap()]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{command}");
        assert!(
            text.contains("api.certificate cannot be used: the key in ")
                && text.contains("key.pem does not fit the first certificate in "),
            "{command}: {text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfinished_handshakes_stop_no_toggle_and_are_closed() {
    let issuer = CertificateIssuer::new();
    let world = world(&issuer).await;
    let api = world.daemon.addresses().api();
    let mut held: Vec<Box<dyn AsyncRead + Unpin + Send>> = Vec::new();
    for number in 0..60 {
        let stream = connect("127.0.66.1", api).await;
        if number % 3 == 0 {
            // A handshake, and half of a head. It may be refused: all have one address.
            if let Ok(mut stream) = issuer.shake_hands(stream, &[&TLS13], &[]).await {
                stream.write_all(b"GET /healthz HT").await.ok();
                held.push(Box::new(stream));
            }
        } else {
            // Nothing, or the first octets of a handshake.
            let begin: &[u8] = [&b""[..], b"\x16\x03\x01\x02\x00\x01\x00"][number % 3 - 1];
            let mut stream = stream;
            stream.write_all(begin).await.ok();
            held.push(Box::new(stream));
        }
    }
    for number in 0..10 {
        let home = format!("home-{number}");
        world.api.household(&home, json!({})).await.ok();
    }
    let limited = world
        .api
        .metric("ox_protect_api_connections_limited_total")
        .await;
    assert!(limited >= 10.0, "{limited} connections were limited");
    for mut stream in held {
        let mut rest = Vec::new();
        let closed = timeout(TIMEOUT, stream.read_to_end(&mut rest)).await;
        let _ = closed.expect("it ends by itself");
        assert!(!String::from_utf8_lossy(&rest).contains("200 OK"));
    }
}
