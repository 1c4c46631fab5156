//! Tests of fetching lists over HTTP: the published content is read, and every transport fault is
//! refused by its gate and leaves the content unchanged.
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers with it")]

mod category_feed;
#[allow(dead_code, reason = "the program's own tests use the rest")]
#[path = "../server/mod.rs"]
mod server;
mod verification;

use std::io::Write;

use blocklist_loader::{
    BuildOutcome, Feed, FetchError, Fetched, Fetcher, Format, Plan, Secret, build,
};
use policy::{
    category::Taxonomy,
    lists::{blocklist::Blocklist, entry::Scope},
    name::Name,
};
use server::{Page, Server};
use sha2::{Digest, Sha256};

/// A list on a server, and the folder that it is fetched into.
struct BuildFixture {
    server: Server,
    folder: tempfile::TempDir,
    feed: Feed,
}

impl BuildFixture {
    fn new(path: &str, format: Format) -> Self {
        let server = Server::start();
        let feed = Feed {
            scope: Some(Scope::Subtree),
            category: Some("gambling".to_owned()),
            allow_private: true,
            timeout_s: 60,
            ..Feed::new("gambling", server.url(path), format)
        };
        Self {
            server,
            folder: tempfile::tempdir().unwrap(),
            feed,
        }
    }

    fn list(page: Page) -> Self {
        let fixture = Self::new("/list.txt", Format::Domains);
        fixture.server.put("/list.txt", page);
        fixture
    }

    fn with(mut self, change: impl FnOnce(&mut Feed, &Server)) -> Self {
        change(&mut self.feed, &self.server);
        self
    }

    fn fetcher(&self) -> Fetcher {
        self.feed.check(&Taxonomy::shipped()).unwrap();
        Fetcher::new(&self.feed, self.folder.path()).unwrap()
    }

    async fn fetch(&self) -> Result<Fetched, FetchError> {
        self.fetcher().fetch().await
    }

    /// Whether lists built from the fetched content cover these names; the reason if nothing can be
    /// read.
    fn covers(&self, names: &[&str]) -> Result<Vec<bool>, String> {
        let plan = Plan {
            feeds: vec![self.feed.clone()],
            directory: self.folder.path().to_owned(),
            force: true,
            ..Plan::default()
        };
        let taxonomy = Taxonomy::shipped();
        let BuildOutcome::Built(built) =
            build(&plan, &taxonomy, None, jiff::Timestamp::UNIX_EPOCH).unwrap()
        else {
            panic!("forced")
        };
        if let Some(refused) = built.refused.first() {
            return Err(refused.reason.clone());
        }
        let lists = Blocklist::open(&built.written.path, &taxonomy).unwrap();
        let covers = |name: &&str| {
            !taxonomy
                .slugs(lists.classify(Name::parse(name).unwrap().borrow()).choice)
                .is_empty()
        };
        Ok(names.iter().map(covers).collect())
    }

    /// The next fetch fails with this error, and the content is unchanged.
    async fn stays(&self, words: &[&str]) {
        let before = self.covers(&["good.example", "bad.example"]);
        let error = self.fetch().await.unwrap_err();
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            text += &format!(": {error}");
            cause = error.source();
        }
        words
            .iter()
            .for_each(|word| assert!(text.contains(word), "{word:?} is not in {text:?}"));
        assert_eq!(
            self.covers(&["good.example", "bad.example"]),
            before,
            "{text}"
        );
    }
}

fn version(text: impl AsRef<[u8]>) -> String {
    digest(text)[..16].to_owned()
}

fn digest(text: impl AsRef<[u8]>) -> String {
    Sha256::digest(text.as_ref())
        .iter()
        .map(|octet| format!("{octet:02x}"))
        .collect()
}

fn gzip(octets: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(octets.as_ref()).unwrap();
    encoder.finish().unwrap()
}

fn zstd(octets: impl AsRef<[u8]>) -> Vec<u8> {
    zstd::encode_all(octets.as_ref(), 1).unwrap()
}

const LIST: &str = "good.example\n";
const OTHER: &str = "good.example\nmore.example\n";

#[tokio::test]
async fn a_list_is_fetched_once_and_then_only_asked_for() {
    for (header, value) in [
        ("ETag", "\"1\""),
        ("Last-Modified", "Sat, 01 Nov 2025 00:00:00 GMT"),
    ] {
        let fixture = BuildFixture::list(Page::of(LIST).with(header, value));
        assert_eq!(
            fixture.covers(&["www.good.example"]),
            Ok(vec![false]),
            "nothing was fetched yet, and nothing is refused"
        );
        assert_eq!(
            fixture.fetch().await.unwrap(),
            Fetched::Replaced {
                version: version(LIST)
            }
        );
        assert_eq!(
            fixture.covers(&["www.good.example", "more.example"]),
            Ok(vec![true, false])
        );
        // A restarted fetcher sends the same validators.
        let mut fetcher = fixture.fetcher();
        assert_eq!(fetcher.fetch().await.unwrap(), Fetched::Unchanged);
        assert_eq!(
            fixture
                .server
                .requests()
                .iter()
                .map(|request| request.status)
                .collect::<Vec<_>>(),
            [200, 304]
        );

        fixture.server.put(
            "/list.txt",
            Page::of(OTHER).with(header, "Sun, 02 Nov 2025 00:00:00 GMT"),
        );
        assert_eq!(
            fetcher.fetch().await.unwrap(),
            Fetched::Replaced {
                version: version(OTHER)
            }
        );
        assert_eq!(
            fixture.covers(&["good.example", "more.example"]),
            Ok(vec![true, true])
        );
        // The same octets with another date are the same version; the date is stored.
        fixture
            .server
            .put("/list.txt", Page::of(OTHER).with(header, "\"3\""));
        assert_eq!(fetcher.fetch().await.unwrap(), Fetched::Unchanged);
        assert_eq!(fetcher.fetch().await.unwrap(), Fetched::Unchanged);
        assert_eq!(fixture.server.requests().last().unwrap().status, 304);
    }
}

#[tokio::test]
async fn content_codings_are_taken_off_and_packed_lists_are_read_as_they_are() {
    for (path, page) in [
        (
            "/list",
            Page::of(gzip(LIST)).with("Content-Encoding", "gzip"),
        ),
        (
            "/list",
            Page::of(zstd(LIST)).with("Content-Encoding", "zstd"),
        ),
        ("/list.gz", Page::of(gzip(LIST))),
        ("/list.zst?key=1", Page::of(zstd(LIST))),
        (
            "/list.gz",
            Page::of(gzip(LIST)).with("Content-Encoding", "gzip"),
        ),
        (
            "/list.gz",
            Page::of(gzip(gzip(LIST))).with("Content-Encoding", "gzip"),
        ),
    ] {
        let fixture = BuildFixture::new(path, Format::Domains);
        fixture.server.put(path, page);
        assert!(
            matches!(fixture.fetch().await.unwrap(), Fetched::Replaced { .. }),
            "{path}"
        );
        assert_eq!(fixture.covers(&["good.example"]), Ok(vec![true]), "{path}");
    }
}

#[tokio::test]
async fn an_archive_of_folders_is_read_without_being_unpacked_to_disk() {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, text) in [
        ("blacklists/gambling/domains", "good.example\n"),
        ("blacklists/adult/domains", "adult.example\n"),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, path, text.as_bytes())
            .unwrap();
    }
    let archive = builder.into_inner().unwrap();
    let fixture = BuildFixture::new("/lists.tar.gz", Format::Squidguard).with(|feed, _| {
        feed.category = None;
        feed.categories = [("gambling".to_owned(), "gambling".to_owned())].into();
    });
    fixture
        .server
        .put("/lists.tar.gz", Page::of(gzip(&archive)));
    assert_eq!(
        fixture.fetch().await.unwrap(),
        Fetched::Replaced {
            version: version(gzip(&archive))
        }
    );
    assert_eq!(
        fixture.covers(&["good.example", "adult.example"]),
        Ok(vec![true, false])
    );
    fixture
        .server
        .put("/lists.tar.gz", Page::of(gzip(&archive[..700])));
    fixture
        .stays(&["compression: lists.tar.gz: it is cut short or damaged (tar)"])
        .await;
}

#[tokio::test]
async fn what_a_server_does_wrong_changes_nothing() {
    let big = "x.example\n".repeat(200_000);
    let fixture = BuildFixture::list(Page::of(LIST).with("ETag", "\"1\""))
        .with(|feed, _| feed.size_max_mib = 1);
    fixture.fetch().await.unwrap();
    for (page, words) in [
        (
            Page {
                cut_at: Some(9),
                ..Page::of("bad.example\n")
            },
            &["transport:", "broke off before its answer was complete"][..],
        ),
        (Page::status(503), &["transport:", "/list.txt answered 503"]),
        (Page::of(&big), &["size:", "has more than 1048576 octets"]),
        (
            Page::of(gzip(&big)).with("Content-Encoding", "gzip"),
            &["size:", "has more than 1048576 octets"],
        ),
        (
            Page::of(zstd(&big)).with("Content-Encoding", "zstd"),
            &["size:", "has more than 1048576 octets"],
        ),
        (
            Page::of(gzip(&big)),
            &["size:", "list.txt: it unpacks to more than 1048576 octets"],
        ),
        (
            Page::of(&gzip(OTHER)[..30]).with("Content-Encoding", "gzip"),
            &["compression:", "is cut short"],
        ),
        (
            Page::of(&gzip(OTHER)[..30]),
            &[
                "compression:",
                "list.txt: it is cut short or damaged (gzip)",
            ],
        ),
        (
            Page::of(&zstd(OTHER)[..20]),
            &[
                "compression:",
                "list.txt: it is cut short or damaged (zstd)",
            ],
        ),
        (
            Page::of(LIST).with("Content-Encoding", "br"),
            &[
                "transport:",
                "content coding \"br\", which was not asked for",
            ],
        ),
        (
            Page::redirect("/list.txt"),
            &["transport:", "more than 5 redirects"],
        ),
        (
            Page::redirect("ftp://127.0.0.1/"),
            &["transport:", "which is not a safe target"],
        ),
        (
            Page::status(302),
            &["transport:", "redirects to no address"],
        ),
        (
            Page::redirect("http://127.0.0.1:1/list"),
            &[
                "transport:",
                "http://127.0.0.1:1/list could not be connected to",
            ],
        ),
    ] {
        fixture.server.put("/list.txt", page.with("ETag", "\"2\""));
        fixture.stays(words).await;
    }
    fixture.server.put("/list.txt", Page::of(OTHER));
    assert_eq!(
        fixture.fetch().await.unwrap(),
        Fetched::Replaced {
            version: version(OTHER)
        }
    );
}

#[tokio::test]
async fn a_server_that_does_not_go_on_is_left_when_its_time_is_over() {
    let fixture = BuildFixture::list(Page {
        is_silent: true,
        ..Page::of(LIST)
    })
    .with(|feed, _| feed.timeout_s = 1);
    fixture.stays(&["time:", "took longer than 1 s"]).await;
}

#[tokio::test]
async fn five_redirects_lead_to_the_list_and_a_sixth_does_not() {
    let fixture = BuildFixture::list(Page::redirect("/1"));
    for hop in 1..=4 {
        fixture
            .server
            .put(&format!("/{hop}"), Page::redirect(format!("/{}", hop + 1)));
    }
    fixture.server.put("/5", Page::of(LIST));
    assert_eq!(
        fixture.fetch().await.unwrap(),
        Fetched::Replaced {
            version: version(LIST)
        }
    );
    fixture.server.put("/5", Page::redirect("/6"));
    fixture.server.put("/6", Page::of(OTHER));
    fixture
        .stays(&["transport:", "more than 5 redirects"])
        .await;
}

#[tokio::test]
async fn an_address_of_our_own_network_is_only_asked_where_that_is_allowed() {
    let fixture = BuildFixture::list(Page::of(LIST));
    let port = fixture.feed.source.split(':').nth(2).unwrap().to_owned();
    for (host, address) in [
        ("127.0.0.1", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("[::ffff:127.0.0.1]", "::ffff:"),
        ("localhost", ""),
    ] {
        let feed = Feed {
            source: format!("http://{host}:{port}"),
            allow_private: false,
            ..fixture.feed.clone()
        };
        let error = Fetcher::new(&feed, fixture.folder.path())
            .unwrap()
            .fetch()
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("transport:") && error.contains(address),
            "{error}"
        );
        assert!(
            error.contains(
                "is not an address of the public Internet; allow_private = true would allow it"
            ),
            "{error}"
        );
    }
    assert!(fixture.server.requests().is_empty());
}

#[tokio::test]
async fn credentials_go_to_the_source_alone_and_are_read_anew_each_time() {
    let other = Server::start();
    other.put("/list", Page::of(LIST));
    let fixture = BuildFixture::list(Page::redirect("/near"))
        .with(|feed, _| feed.bearer = Some(Secret::new("t0ken")));
    fixture
        .server
        .put("/near", Page::redirect(other.url("/list")));
    fixture.fetch().await.unwrap();
    let told: Vec<_> = fixture
        .server
        .requests()
        .iter()
        .map(|request| request.header("Authorization").map(str::to_owned))
        .collect();
    assert_eq!(
        told,
        [
            Some("Bearer t0ken".to_owned()),
            Some("Bearer t0ken".to_owned())
        ]
    );
    assert_eq!(other.requests()[0].header("Authorization"), None);

    let fixture = BuildFixture::list(Page::of(LIST));
    let file = fixture.folder.path().join("password");
    let fixture = fixture.with(|feed, _| {
        feed.username = Some("Aladdin".to_owned());
        feed.password = Some(Secret::new(format!("file:{}", file.display())));
    });
    fixture
        .stays(&["transport:", "credentials: password: reading"])
        .await;
    std::fs::write(&file, "open sesame\n").unwrap();
    fixture.fetch().await.unwrap();
    assert_eq!(
        fixture.server.requests()[0].header("Authorization"),
        Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")
    );
    fixture.server.put("/list.txt", Page::status(401));
    let error = fixture.fetch().await.unwrap_err();
    assert!(!format!("{error:?}").contains("sesame"));
}
