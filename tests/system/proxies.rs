//! The API behind reverse proxies and load balancers: limits count the client and not the proxy; and
//! routes of the operator on an address of their own.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::world::{Api, World, WorldBuilder, ox_protect};

/// The trusted proxy, and another client that claims to be one.
const PROXY: &str = "127.0.66.1";
const STRANGER: &str = "127.0.66.2";
/// A connection that is silent for this long stays silent.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Enough requests to use up a small burst, also while new ones are granted each second.
const MANY: usize = 1_000;

/// A world in which a client may fail three times at once.
fn world(api: &str) -> WorldBuilder {
    World::with_zone("a.example. 60 A 192.0.2.1")
        .config("[api]\nfailed_per_s = 1\nfailed_burst = 3\n")
        .config(api)
}

/// A connection from this address.
pub async fn connect(from: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    let from: IpAddr = from.parse().unwrap();
    socket.bind((from, 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

/// Sends octets and reads until the listener closes.
async fn say(from: &str, to: SocketAddr, octets: &[u8]) -> String {
    let mut stream = connect(from, to).await;
    stream.write_all(octets).await.unwrap();
    let mut heard = Vec::new();
    let read = timeout(TIMEOUT, stream.read_to_end(&mut heard)).await;
    // A connection with octets that were not read ends with a reset.
    let _ = read.expect("the listener closes");
    String::from_utf8_lossy(&heard).into_owned()
}

/// The status of a request without a key, behind `begin` and with a header.
async fn status(from: &str, to: SocketAddr, begin: &[u8], header: &str) -> String {
    let request =
        format!("GET /v1/categories HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{header}\r\n");
    let heard = say(from, to, &[begin, request.as_bytes()].concat()).await;
    heard.get(9..12).unwrap_or(&heard).to_owned()
}

/// Fails until the client is limited.
async fn use_up(status: impl AsyncFn(usize) -> String) {
    for number in 0..MANY {
        match &*status(number).await {
            "401" => {}
            "429" => return,
            other => panic!("{other}"),
        }
    }
    panic!("{MANY} failures were not limited");
}

/// A PROXY header of version 2 with this command that announces an IPv4 client.
fn announcing(client: [u8; 4], command: u8) -> Vec<u8> {
    let addresses = [&client[..], &[192, 0, 2, 1], &[0x12, 0x34], &[0, 80]].concat();
    [
        &b"\r\n\r\n\0\r\nQUIT\n"[..],
        &[0x20 | command, 0x11, 0, addresses.len() as u8],
        &addresses,
    ]
    .concat()
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_has_its_own_limit() {
    let world = world(&format!("[api]\ntrusted_proxies = [\"{PROXY}/32\"]\n"))
        .start()
        .await;
    let api = world.daemon.addresses().api();
    for header in ["X-Forwarded-For: ", "Forwarded: for="] {
        let as_client = async |client: &str| {
            let header = format!("{header}{client}\r\n");
            status(PROXY, api, b"", &header).await
        };
        // What a client wrote itself stands further left.
        let first = 10 + header.len();
        let prefix = header.split_once(": ").unwrap().1;
        use_up(async |number| {
            as_client(&format!(
                "10.0.{}.1, {prefix}203.0.113.{first}",
                number % 256
            ))
            .await
        })
        .await;
        assert_eq!(as_client(&format!("203.0.113.{}", first + 1)).await, "401");
        let key = world.daemon.key();
        let with_key = format!("{header}203.0.113.{first}\r\nAuthorization: Bearer {key}\r\n");
        assert_eq!(status(PROXY, api, b"", &with_key).await, "200");
    }
    // One client's wrong key does not close the proxy's connection.
    let wrong = "GET /v1/categories HTTP/1.1\r\nHost: a\r\n\r\n";
    let last = wrong.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    let heard = say(PROXY, api, [wrong, &last].concat().as_bytes()).await;
    assert_eq!(heard.matches("HTTP/1.1 4").count(), 2, "{heard}");
    // Without an address that can be read, the proxy itself is counted.
    use_up(async |_| status(PROXY, api, b"", "X-Forwarded-For: nonsense\r\n").await).await;
}

#[tokio::test]
async fn an_address_that_a_stranger_claims_does_not_count() {
    let world = world(&format!("[api]\ntrusted_proxies = [\"{PROXY}/32\"]\n"))
        .start()
        .await;
    let api = world.daemon.addresses().api();
    use_up(async |number| {
        let (high, low) = (number / 256, number % 256);
        let header =
            format!("X-Forwarded-For: 203.0.{high}.{low}\r\nForwarded: for=203.0.{high}.{low}\r\n");
        status(STRANGER, api, b"", &header).await
    })
    .await;
    let true_client = status(PROXY, api, b"", "X-Forwarded-For: 203.0.0.1\r\n").await;
    assert_eq!(true_client, "401", "a stranger used up nothing of it");
}

#[tokio::test]
async fn a_load_balancer_announces_its_client_by_a_proxy_header() {
    let world = world(&format!("[api]\nproxy_from = [\"{PROXY}/32\"]\n"))
        .start()
        .await;
    let api = world.daemon.addresses().api();
    let (one, other) = (
        announcing([203, 0, 113, 1], 1),
        announcing([203, 0, 113, 2], 1),
    );
    let local = announcing([203, 0, 113, 1], 0);
    use_up(async |_| status(PROXY, api, &one, "").await).await;
    assert_eq!(status(PROXY, api, &other, "").await, "401");
    // The load balancer's own connections count for itself.
    assert_eq!(status(PROXY, api, &local, "").await, "401");
    // A header of HTTP says nothing: the load balancer is no trusted proxy.
    let spoofed = "X-Forwarded-For: 203.0.113.99\r\n";
    use_up(async |_| status(PROXY, api, &one, spoofed).await).await;
    // From other peers, no header is taken.
    assert_eq!(status(STRANGER, api, &one, "").await, "400");
    assert_eq!(status(STRANGER, api, b"", "").await, "401");
}

#[tokio::test]
async fn a_load_balancer_without_a_whole_proxy_header_is_not_served() {
    let world = world(&format!("[api]\nproxy_from = [\"{PROXY}/32\"]\n"))
        .start()
        .await;
    let api = world.daemon.addresses().api();
    let good = announcing([203, 0, 113, 1], 1);
    let mut too_long = good.clone();
    too_long[14] = 0xff;
    let bad: [&[u8]; 5] = [
        b"",
        b"PROXY TCP4 203.0.113.1 192.0.2.1 4711 80\r\n",
        &too_long,
        &announcing([203, 0, 113, 1], 2),
        // Half of one, after which the client waits.
        &good[..20],
    ];
    for begin in bad {
        let request: &[u8] = match begin.len() {
            20 => b"",
            _ => b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
        };
        assert_eq!(say(PROXY, api, &[begin, request].concat()).await, "");
    }
    // Over a new connection: one that has waited as long as these is about to be closed.
    let request = b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let metrics = say(STRANGER, api, request).await;
    let failed = format!(
        "ox_protect_api_handshakes_failed_total{{step=\"proxy_header\"}} {}\n",
        bad.len()
    );
    assert!(metrics.contains(&failed), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_shared_by_announced_client() {
    const CONNECTIONS_MAX: usize = 40;
    let config = format!(
        "[api]\nconnections_max = {CONNECTIONS_MAX}\nproxy_from = [\"{PROXY}/32\"]\ntrusted_proxies = [\"127.0.66.3/32\"]\n"
    );
    let world = world(&config).start().await;
    let api = world.daemon.addresses().api();
    let (one, other) = (
        announcing([203, 0, 113, 1], 1),
        announcing([203, 0, 113, 2], 1),
    );
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS_MAX + 10 {
        let mut stream = connect(PROXY, api).await;
        stream.write_all(&one).await.ok();
        held.push(stream);
    }
    for _ in 0..5 {
        assert_ne!(status(PROXY, api, &other, "").await, "");
        world.api.household("home", json!({})).await.ok();
        // Connections of a reverse proxy are many clients'.
        let client = status("127.0.66.3", api, b"", "X-Forwarded-For: 203.0.113.3\r\n").await;
        assert_ne!(client, "");
    }
    let limited = world
        .api
        .metric("ox_protect_api_connections_limited_total")
        .await;
    assert!(limited >= 10.0, "{limited} connections were limited");
}

/// The operations of a document: method, path, and whether they are the operator's.
fn operations(document: &Value) -> Vec<(Method, String, bool)> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let is_operators = match operation["x-roles"].as_array() {
                Some(roles) => roles
                    .iter()
                    .all(|role| role == "operator" || role == "auditor"),
                None => path == "/metrics",
            };
            let method = method.to_uppercase().parse().unwrap();
            found.push((method, path.clone(), is_operators));
        }
    }
    found
}

#[tokio::test]
async fn beside_an_operators_listener_the_public_one_has_none_of_its_routes() {
    let world = World::with_zone("a.example. 60 A 192.0.2.1")
        .config("[api]\noperator_listen = \"127.0.0.1:0\"\nfailed_per_s = 0\n")
        .start()
        .await;
    let (operator, public) = (&world.api, &world.api.of_public());
    let document = operator.get("/openapi.json").await.ok().json;
    let operations_there = operations(&document);
    let mut hidden = 0;
    for (method, path, is_operators) in &operations_there {
        let what = format!("{method} {path}");
        let at = async |api: &Api| {
            let body = (*method != Method::GET).then(|| "{".to_owned());
            api.with_key("").request(method.clone(), path, body).await
        };
        let (there, here) = (at(operator).await, at(public).await);
        assert_ne!(there.problem(), "unknown_route", "{what}");
        if *is_operators {
            hidden += 1;
            assert_eq!(
                (here.status, here.problem()),
                (404, "unknown_route"),
                "{what}"
            );
            let with_key = public.request(method.clone(), path, None).await;
            assert_eq!(with_key.problem(), "unknown_route", "{what} with the key");
        } else {
            assert_eq!(
                (here.status, here.problem()),
                (there.status, there.problem()),
                "{what}"
            );
        }
    }
    assert!(hidden > 20 && hidden < operations_there.len(), "{hidden}");
    let documented = operations(&public.get("/openapi.json").await.ok().json);
    let expected: Vec<_> = operations_there
        .into_iter()
        .filter(|(.., is_operators)| !is_operators)
        .collect();
    assert_eq!(documented, expected, "the public document has the rest");
    for path in ["/healthz", "/readyz", "/readyz/dns", "/v1/households/home"] {
        public.get(path).await.ok();
    }
}

#[tokio::test]
async fn networks_of_proxies_are_checked_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.toml");
    for (config, said) in [
        ("trusted_proxies = [\"proxy.example\"]", "invalid"),
        ("proxy_from = [\"0.0.0.0/0\"]", "escape the limits"),
        ("certificate = { chain = \"a.pem\" }", "missing field `key`"),
        (
            "certificate = { chain = \"a.pem\", key = \"b.pem\" }",
            "api.certificate cannot be used: reading ",
        ),
    ] {
        std::fs::write(&path, format!("[api]\n{config}\n")).unwrap();
        let output = ox_protect(&["check", "--config", path.to_str().unwrap()]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(said), "{config}: {text}");
    }
}
