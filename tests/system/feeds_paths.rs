//! Mandates about single pages: a page is not its host, so the host goes to a proxy that can
//! distinguish pages, or is not blocked.

use std::{collections::BTreeMap, fmt::Write, net::Ipv4Addr};

use crate::world::{CategoryFeed, Feed, Provider, World, ask_all};

const PATHS: usize = 5_000;
const SHARED_HOSTS: usize = 300;
const WHOLE_DOMAINS: usize = 40;
const FREE: &str = "192.0.2.77";
const PROXY: &str = "192.0.2.99";

/// Host and path of each page.
fn pages() -> impl Iterator<Item = (String, String)> {
    (0..PATHS).map(|number| {
        (
            shared(number % SHARED_HOSTS),
            format!("~user{number}/Gallery?page={number}"),
        )
    })
}

fn shared(number: usize) -> String {
    // Some are below others, like hosts of one hosting provider.
    if number.is_multiple_of(7) {
        format!("www.host{}.shared.example", number + 1)
    } else {
        format!("host{number}.shared.example")
    }
}

fn whole(number: usize) -> String {
    format!("all-of-it-{number}.example")
}

/// How many of the names got which answer.
async fn verdicts(world: &World) -> BTreeMap<&'static str, usize> {
    let names = (0..SHARED_HOSTS)
        .map(shared)
        .chain((0..WHOLE_DOMAINS).map(whole));
    let mut verdicts = BTreeMap::new();
    for asked in ask_all(
        &world.client("127.0.7.9"),
        names.map(|name| name + ". A"),
        16,
    )
    .await
    {
        let verdict = match asked.answer.as_str() {
            FREE => "free",
            PROXY => "proxy",
            blocked
                if blocked.starts_with("blocked: ") && asked.question.starts_with("all-of-it") =>
            {
                "blocked"
            }
            _ => panic!("{asked:?}"),
        };
        *verdicts.entry(verdict).or_default() += 1;
    }
    verdicts
}

/// With a proxy all shared hosts go there; without one they are not blocked. Nothing else differs.
async fn is_judged_page_by_page(feed: impl Fn() -> Feed) {
    for (config, there) in [
        (format!("[dns]\nurl_proxy = [\"{PROXY}\"]\n"), "proxy"),
        (String::new(), "free"),
    ] {
        let world = World::with_every_name_at(Ipv4Addr::new(192, 0, 2, 77))
            .config(&config)
            .feed(feed())
            .start()
            .await;
        assert_eq!(
            verdicts(&world).await,
            BTreeMap::from([("blocked", WHOLE_DOMAINS), (there, SHARED_HOSTS)])
        );
        let report = world.api.get("/v1/feeds/orders").await.ok().json["report"].clone();
        assert_eq!(
            (&report["paths"], &report["entries"]),
            (&PATHS.into(), &WHOLE_DOMAINS.into()),
            "{report:#}"
        );
        println!(
            "{WHOLE_DOMAINS} blocked, {SHARED_HOSTS} {there}, none blocked for one of its {PATHS} pages"
        );
    }
}

#[tokio::test]
async fn mandates_about_pages_block_no_shared_host() {
    let folder = tempfile::tempdir().unwrap();
    let orders = folder.path().join("orders");
    std::fs::create_dir_all(&orders).unwrap();
    let write = |file: &str, rows: String| std::fs::write(orders.join(file), rows).unwrap();
    write(
        "urls",
        pages().fold(String::new(), |text, (host, path)| {
            text + &format!("{host}/{path}\n")
        }),
    );
    write(
        "domains",
        (0..WHOLE_DOMAINS)
            .map(|number| whole(number) + "\n")
            .collect(),
    );
    let source = folder.path().to_str().unwrap();
    is_judged_page_by_page(|| {
        Feed::new("orders")
            .source(source)
            .format("squidguard")
            .tier("mandatory")
            .without_category()
    })
    .await;
}

#[tokio::test]
async fn mandates_about_pages_in_a_category_feed_block_no_shared_host() {
    let provider = Provider::open();
    let mut rows = String::new();
    for (host, path) in pages() {
        writeln!(rows, "{host}/{path}\t9").unwrap();
    }
    for number in 0..WHOLE_DOMAINS {
        writeln!(rows, "{}\t9", whole(number)).unwrap();
    }
    let published = CategoryFeed::publish(&provider, "orders", &rows);
    let feed = || {
        Feed::new("orders")
            .format("category-feed")
            .fetched_from(&published.url())
            .tier("mandatory")
            .without_category()
    };
    is_judged_page_by_page(feed).await;
}
