//! A small HTTP server on loopback that can misbehave: truncate, stall, send wrong data, redirect.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

/// The response of a path.
#[derive(Debug, Clone, Default)]
pub struct Page {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// Sends only this many octets of the promised length.
    pub cut_at: Option<usize>,
    /// Sends nothing and keeps the connection open.
    pub is_silent: bool,
}

impl Page {
    pub fn of(body: impl AsRef<[u8]>) -> Self {
        Self {
            status: 200,
            body: body.as_ref().to_vec(),
            ..Self::default()
        }
    }

    pub fn status(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    pub fn redirect(to: impl Into<String>) -> Self {
        Self::status(302).with("Location", to)
    }

    pub fn with(mut self, header: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((header, value.into()));
        self
    }
}

/// A request that the server received.
#[derive(Debug, Clone)]
pub struct Request {
    pub path: String,
    pub status: u16,
    pub at: Instant,
    headers: HashMap<String, String>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .get(&name.to_ascii_lowercase())
            .map(String::as_str)
    }
}

#[derive(Default)]
struct Shared {
    pages: Mutex<HashMap<String, Page>>,
    requests: Mutex<Vec<Request>>,
    silent: Mutex<Vec<TcpStream>>,
    is_over: AtomicBool,
}

pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Server {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        let of_thread = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if of_thread.is_over.load(Ordering::Acquire) {
                    return;
                }
                // Some tests use clients that disconnect early.
                let _ = answer(stream.unwrap(), &of_thread);
            }
        });
        Self { address, shared }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn put(&self, path: &str, page: Page) {
        self.shared
            .pages
            .lock()
            .unwrap()
            .insert(path.to_owned(), page);
    }

    pub fn remove(&self, path: &str) {
        self.shared.pages.lock().unwrap().remove(path);
    }

    /// The requests since the last call, in order.
    pub fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.shared.requests.lock().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
        // Wakes the thread, which then ends.
        let _ = TcpStream::connect(self.address);
    }
}

fn answer(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = HashMap::new();
    while let Some(line) = lines.next().transpose()?.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").unwrap_or((&line, ""));
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let mut page = shared
        .pages
        .lock()
        .unwrap()
        .get(&path)
        .cloned()
        .unwrap_or(Page::status(404));
    let is_known = |asked: &str, told: &str| {
        let told = page
            .headers
            .iter()
            .find(|(name, _)| *name == told)
            .map(|(_, value)| value);
        told.is_some() && headers.get(asked) == told
    };
    if is_known("if-none-match", "ETag") || is_known("if-modified-since", "Last-Modified") {
        page = Page::status(304);
    }
    shared.requests.lock().unwrap().push(Request {
        path,
        status: page.status,
        at: Instant::now(),
        headers,
    });
    if page.is_silent {
        shared.silent.lock().unwrap().push(stream);
        return Ok(());
    }
    let mut head = format!(
        "HTTP/1.1 {} Whatever\r\nConnection: close\r\nContent-Length: {}\r\n",
        page.status,
        page.body.len()
    );
    for (name, value) in &page.headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all((head + "\r\n").as_bytes())?;
    stream.write_all(&page.body[..page.cut_at.unwrap_or(page.body.len())])
}
