//! Category feeds over HTTP: a snapshot, then deltas.

use blocklist_loader::{Fetched, Format};

use crate::{BuildFixture, digest, gzip, server::Page, zstd};

#[tokio::test]
async fn a_category_feed_over_http_costs_nothing_while_nothing_changed() {
    let fixture = BuildFixture::new("/feed/", Format::CategoryFeed).with(|feed, _| {
        feed.category = None;
        feed.categories = [
            ("1".to_owned(), "gambling".to_owned()),
            ("3".to_owned(), "none".to_owned()),
        ]
        .into();
    });
    let snapshot = gzip("good.example\t1\nodd.example\t2\nshop.example/bets\t1\n");
    let delta = zstd("more.example\t1\ngood.example\t-\nwww.more.example\t3\n");
    let file = |name: &str, from: Option<u32>, sequence: u32, octets: &[u8]| {
        let from = from
            .map(|from| format!("\"from\":\"{from}\","))
            .unwrap_or_default();
        format!(
            "{{\"file\":\"{name}\",{from}\"sequence\":{sequence},\"sha256\":\"{}\",\"size\":{}}}",
            digest(octets),
            octets.len()
        )
    };
    let manifest = |deltas: &str| {
        format!(
            "{{\"v\":1,\"snapshots\":[{}],\"deltas\":[{deltas}]}}",
            file("snapshot_7.gz", None, 7, &snapshot)
        )
    };
    fixture.server.put(
        "/feed/feed.json",
        Page::of(manifest("")).with("ETag", "\"7\""),
    );
    fixture
        .server
        .put("/feed/snapshot_7.gz", Page::of(&snapshot));
    fixture.server.put(
        "/feed/feed-codes.json",
        Page::of(
            "{\"v\":1,\"codes\":[{\"code\":1,\"title\":\"Bets\"},{\"code\":2,\"title\":\"Odd\"}]}",
        ),
    );
    let mut fetcher = fixture.fetcher();
    assert_eq!(
        fetcher.fetch().await.unwrap(),
        Fetched::Replaced {
            version: "7".to_owned()
        }
    );
    assert_eq!(
        fixture.covers(&["good.example", "odd.example", "shop.example"]),
        Ok(vec![true, false, false])
    );
    assert_eq!(fixture.server.requests().len(), 3);
    for _ in 0..3 {
        assert_eq!(fetcher.fetch().await.unwrap(), Fetched::Unchanged);
        let asked = fixture.server.requests();
        assert_eq!(
            (asked.len(), asked[0].path.as_str(), asked[0].status),
            (1, "/feed/feed.json", 304)
        );
    }

    let broken = Page {
        cut_at: Some(10),
        ..Page::of(&delta)
    };
    for (page, words) in [
        (Page::status(404), "transport:"),
        (broken, "transport:"),
        (Page::of(&delta[1..]), "size:"),
    ] {
        fixture.server.put(
            "/feed/feed.json",
            Page::of(manifest(&file("delta_8.zst", Some(7), 8, &delta))).with("ETag", "\"8\""),
        );
        fixture.server.put("/feed/delta_8.zst", page);
        assert!(
            fetcher
                .fetch()
                .await
                .unwrap_err()
                .to_string()
                .starts_with(words)
        );
        assert_eq!(
            fixture.covers(&["good.example", "more.example"]),
            Ok(vec![true, false])
        );
    }
    fixture.server.put("/feed/delta_8.zst", Page::of(&delta));
    let Fetched::Changed {
        from,
        version,
        rows,
    } = fetcher.fetch().await.unwrap()
    else {
        panic!("rows changed")
    };
    assert_eq!((from.as_str(), version.as_str()), ("7", "8"));
    let rows: Vec<String> = rows
        .iter()
        .map(|change| {
            format!(
                "{}{}",
                if change.added { '+' } else { '-' },
                String::from_utf8_lossy(&change.row)
            )
        })
        .collect();
    assert_eq!(
        rows,
        ["+more.example\t1", "-good.example", "+www.more.example\t3"]
    );
    assert_eq!(
        fixture.covers(&["good.example", "more.example", "www.more.example"]),
        Ok(vec![false, true, false])
    );
    fetcher.tidy().await.unwrap();
    assert_eq!(
        fixture.covers(&["good.example", "more.example", "www.more.example"]),
        Ok(vec![false, true, false])
    );
}
