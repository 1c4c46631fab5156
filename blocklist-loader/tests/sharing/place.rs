//! The stores of the tests: a folder, or the S3 API of moto, which the test starts on a port of its
//! own and ends by its process id. Tests can tamper with both.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use blocklist_loader::{
    Secret,
    share::{ShareRole, ShareSettings},
};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};

/// An authorization header that moto accepts while it does not check signatures.
const UNCHECKED_SIGNATURE: &str = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/SERVICE/aws4_request, SignedHeaders=host, Signature=0";

/// A store that tests can tamper with.
#[derive(Clone)]
pub enum TestStore {
    Folder(Arc<TempDir>),
    Bucket {
        port: u16,
        bucket: String,
        prefix: String,
        id: String,
        secret: String,
    },
}

impl TestStore {
    pub fn folder() -> Self {
        Self::Folder(Arc::new(tempfile::tempdir().unwrap()))
    }

    pub fn url(&self) -> String {
        match self {
            Self::Folder(folder) => format!("file://{}", folder.path().display()),
            Self::Bucket { bucket, prefix, .. } => format!("s3://{bucket}/{prefix}"),
        }
    }

    pub fn settings(&self, role: ShareRole) -> ShareSettings {
        let settings = ShareSettings::new(self.url(), role);
        match self {
            Self::Folder(_) => settings,
            Self::Bucket {
                port, id, secret, ..
            } => ShareSettings {
                endpoint: Some(format!("http://127.0.0.1:{port}")),
                allow_http: true,
                region: Some("us-east-1".to_owned()),
                access_key_id: Some(Secret::new(id)),
                secret_access_key: Some(Secret::new(secret)),
                ..settings
            },
        }
    }

    /// The same bucket behind a proxy.
    pub fn through(&self, proxy: &Proxy) -> Self {
        match self.clone() {
            Self::Bucket {
                bucket,
                prefix,
                id,
                secret,
                ..
            } => Self::Bucket {
                port: proxy.port,
                bucket,
                prefix,
                id,
                secret,
            },
            folder @ Self::Folder(_) => folder,
        }
    }

    pub async fn read(&self, name: &str) -> Option<Vec<u8>> {
        match self {
            Self::Folder(folder) => std::fs::read(folder.path().join(name)).ok(),
            Self::Bucket { .. } => {
                let reply = self.ask(reqwest::Method::GET, name, Vec::new()).await;
                if reply.status().is_success() {
                    Some(reply.bytes().await.unwrap().to_vec())
                } else {
                    None
                }
            }
        }
    }

    pub async fn write(&self, name: &str, octets: &[u8]) {
        match self {
            // A new file replaces the old one, as a store does it, so that concurrent readers
            // finish the old one.
            Self::Folder(folder) => {
                let aside = folder.path().join("aside");
                std::fs::write(&aside, octets).unwrap();
                std::fs::rename(aside, folder.path().join(name)).unwrap();
            }
            Self::Bucket { .. } => assert!(
                self.ask(reqwest::Method::PUT, name, octets.to_vec())
                    .await
                    .status()
                    .is_success()
            ),
        }
    }

    pub async fn delete(&self, name: &str) {
        match self {
            Self::Folder(folder) => std::fs::remove_file(folder.path().join(name)).unwrap(),
            Self::Bucket { .. } => assert!(
                self.ask(reqwest::Method::DELETE, name, Vec::new())
                    .await
                    .status()
                    .is_success()
            ),
        }
    }

    /// The number of objects.
    pub async fn count(&self) -> usize {
        match self {
            Self::Folder(folder) => std::fs::read_dir(folder.path().join("objects"))
                .unwrap()
                .count(),
            Self::Bucket { port, bucket, .. } => {
                let url = format!("http://127.0.0.1:{port}/{bucket}?list-type=2");
                let reply = with_signature(reqwest::Client::new().get(url), "s3")
                    .send()
                    .await
                    .unwrap()
                    .text()
                    .await
                    .unwrap();
                reply.matches("/objects/").count()
            }
        }
    }

    async fn ask(&self, method: reqwest::Method, name: &str, body: Vec<u8>) -> reqwest::Response {
        let Self::Bucket {
            port,
            bucket,
            prefix,
            ..
        } = self
        else {
            unreachable!("folders are not asked")
        };
        let key = if prefix.is_empty() {
            name.to_owned()
        } else {
            format!("{prefix}/{name}")
        };
        let url = format!("http://127.0.0.1:{port}/{bucket}/{key}");
        with_signature(reqwest::Client::new().request(method, url), "s3")
            .body(body)
            .send()
            .await
            .unwrap()
    }
}

fn with_signature(request: reqwest::RequestBuilder, service: &str) -> reqwest::RequestBuilder {
    request.header(
        "Authorization",
        UNCHECKED_SIGNATURE.replace("SERVICE", service),
    )
}

/// A moto server.
pub struct Moto {
    process: Child,
    port: u16,
}

impl Moto {
    pub async fn start() -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/moto/bin/moto_server");
        assert!(
            program.exists(),
            "there is no {}: run tests/python.sh, as `make tools/tests` does",
            program.display()
        );
        let mut process = Command::new(&program)
            .args(["-H", "127.0.0.1", "-p", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let port = loop {
            let line = lines.next().expect("it says its port").unwrap();
            if let Some(rest) = line.split("http://127.0.0.1:").nth(1) {
                break rest
                    .trim_matches(|character: char| !character.is_ascii_digit())
                    .parse()
                    .unwrap();
            }
        };
        // moto logs each request, so its output must be read.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, port }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// A new bucket with public access.
    pub async fn bucket(&self, bucket: &str, prefix: &str) -> TestStore {
        let url = format!("http://127.0.0.1:{}/{bucket}", self.port);
        assert!(
            with_signature(reqwest::Client::new().put(url), "s3")
                .send()
                .await
                .unwrap()
                .status()
                .is_success()
        );
        let bucket = bucket.to_owned();
        let prefix = prefix.to_owned();
        TestStore::Bucket {
            port: self.port,
            bucket,
            prefix,
            id: "test".to_owned(),
            secret: "test".to_owned(),
        }
    }

    /// Makes the service check signatures; the store gets the credentials of a user with all
    /// permissions.
    pub async fn guarded(&self, place: TestStore) -> TestStore {
        let iam = async |form: &[(&str, &str)]| {
            let body: Vec<String> = form
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            let request = reqwest::Client::new().post(format!("http://127.0.0.1:{}/", self.port));
            let request = with_signature(request, "iam")
                .header("Content-Type", "application/x-www-form-urlencoded");
            let reply = request
                .body(format!("Version=2010-05-08&{}", body.join("&")))
                .send()
                .await
                .unwrap();
            assert!(reply.status().is_success());
            reply.text().await.unwrap()
        };
        iam(&[("Action", "CreateUser"), ("UserName", "lists")]).await;
        let all = "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C%22Action%22%3A%22%2A%22%2C%22Resource%22%3A%22%2A%22%7D%5D%7D";
        iam(&[
            ("Action", "PutUserPolicy"),
            ("UserName", "lists"),
            ("PolicyName", "all"),
            ("PolicyDocument", all),
        ])
        .await;
        let key = iam(&[("Action", "CreateAccessKey"), ("UserName", "lists")]).await;
        let field = |name: &str| {
            key.split(&format!("<{name}>"))
                .nth(1)
                .unwrap()
                .split('<')
                .next()
                .unwrap()
                .to_owned()
        };
        let id = field("AccessKeyId");
        let secret = field("SecretAccessKey");
        let reset = reqwest::Client::new()
            .post(format!(
                "http://127.0.0.1:{}/moto-api/reset-auth",
                self.port
            ))
            .body("0");
        assert!(reset.send().await.unwrap().status().is_success());
        match place {
            TestStore::Bucket {
                port,
                bucket,
                prefix,
                ..
            } => TestStore::Bucket {
                port,
                bucket,
                prefix,
                id,
                secret,
            },
            folder @ TestStore::Folder(_) => folder,
        }
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A proxy to a service that can be closed.
pub struct Proxy {
    port: u16,
    is_open: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    pub async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let is_open = Arc::new(AtomicBool::new(true));
        let open = Arc::clone(&is_open);
        let task = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let open = Arc::clone(&open);
                tokio::spawn(async move {
                    let closed = async {
                        while open.load(Ordering::Acquire) {
                            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                        }
                    };
                    let passed = async {
                        if let Ok(mut far) = TcpStream::connect(("127.0.0.1", to)).await {
                            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                        }
                    };
                    tokio::select! { () = closed => {}, () = passed => {} }
                });
            }
        });
        Self {
            port,
            is_open,
            task,
        }
    }

    pub fn set_open(&self, is_open: bool) {
        self.is_open.store(is_open, Ordering::Release);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}
