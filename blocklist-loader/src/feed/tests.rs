//! Tests of feed definitions: an unusable one is refused with the accepted values.

use std::path::Path;

use policy::{
    category::Taxonomy,
    lists::entry::{Scope, Tier},
};

use super::*;

const GOOD: &str = "name = \"gambling\"\nsource = \"lists/gambling.txt\"\nformat = \"domains\"\nscope = \"subtree\"\ncategory = \"gambling\"\n";

fn check(toml: &str, expected: Result<(), &str>) {
    let feed: Feed = toml::from_str(toml).unwrap();
    assert_eq!(
        feed.check(&Taxonomy::shipped())
            .map_err(|error| error.to_string()),
        expected.map_err(str::to_owned),
        "{toml}"
    );
}

#[test]
fn a_definition_that_cannot_work_is_told_what_would() {
    check(GOOD, Ok(()));
    check(
        &GOOD.replace("scope = \"subtree\"\n", ""),
        Err(
            "feeds \"gambling\": scope is missing: format \"domains\" does not define what a bare name covers; one of exact, subtree, descendants",
        ),
    );
    check(
        &GOOD.replace("category = \"gambling\"", "category = \"gamling\""),
        Err(
            "feeds \"gambling\": category \"gamling\" is not in the taxonomy; did you mean \"gambling\"?",
        ),
    );
    check(
        &GOOD.replace("category = \"gambling\"", "category = \"zzzzzzzz\""),
        Err("feeds \"gambling\": category \"zzzzzzzz\" is not in the taxonomy"),
    );
    check(
        &GOOD.replace("category = \"gambling\"\n", ""),
        Err("feeds \"gambling\": category is missing; name one of the taxonomy's slugs"),
    );
    check(
        &(GOOD.to_owned() + "categories = { a = \"adult\" }"),
        Err("feeds \"gambling\": both category and categories are given; keep one"),
    );
    check(
        &GOOD.replace("category = \"gambling\"", "categories = { a = \"adult\" }"),
        Err(
            "feeds \"gambling\": categories maps the folders of format \"squidguard\" and the codes of \"category-feed\"; format \"domains\" needs a single category",
        ),
    );
    for remote in ["https://lists.example/a", "http://192.0.2.1:8080/a.gz?b=c"] {
        check(&GOOD.replace("lists/gambling.txt", remote), Ok(()));
    }
    check(
        &GOOD.replace("lists/gambling.txt", ""),
        Err(
            "feeds \"gambling\": source is empty; name a file, a folder, or an address to fetch it from",
        ),
    );
    check(
        &GOOD
            .replace("\"gambling\"", "\"a/b\"")
            .replace("category = \"a/b\"", "category = \"gambling\""),
        Err(
            "feeds \"a/b\": name must be 1 to 64 characters, none of them a slash or a control character",
        ),
    );
}

#[test]
fn a_source_that_cannot_be_fetched_is_told_what_could() {
    let with = |source: &str, format: &str| {
        GOOD.replace("lists/gambling.txt", source)
            .replace("\"domains\"", &format!("\"{format}\""))
    };
    let refused =
        |toml: &str, fault: &str| check(toml, Err(&format!("feeds \"gambling\": {fault}")));
    refused(
        &with("ftp://a.example/b", "domains"),
        "source \"ftp://a.example/b\" cannot be fetched; name a file or a folder, or begin with http://, https:// or rpz://",
    );
    refused(
        &with("http://", "domains"),
        "source is not a valid URL: \"http://\": empty host",
    );
    refused(
        &with("https://me:secret@a.example/b", "domains"),
        "source holds a password, which would be shown with it; put it into username and password",
    );
    refused(
        &with("lists/zone", "rpz"),
        "format \"rpz\" cannot come from source \"lists/zone\"; a zone is transferred from rpz://HOST:PORT/ZONE",
    );
    refused(
        &with("rpz://192.0.2.1:53/zone", "domains"),
        "format \"domains\" cannot come from source \"rpz://192.0.2.1:53/zone\"; rpz:// is the source of format \"rpz\"",
    );
    refused(
        &with("rpz://192.0.2.1:53/zone", "category-feed"),
        "format \"category-feed\" cannot come from source \"rpz://192.0.2.1:53/zone\"; it is published over http:// or https://, or in a folder",
    );
    for source in [
        "rpz://192.0.2.1:53/",
        "rpz:///zone",
        "rpz://a@b/zone",
        "rpz://192.0.2.1:77777/zone",
        "rpz://192.0.2.1:53/zone?x",
    ] {
        refused(
            &with(source, "rpz"),
            &format!("source is not a valid URL: \"{source}\": it must be rpz://HOST:PORT/ZONE"),
        );
    }
    for source in [
        "rpz://192.0.2.1:53/rpz.example",
        "rpz://[2001:db8::1]/rpz.example.",
    ] {
        check(&with(source, "rpz"), Ok(()));
    }
    for source in ["https://a.example/feed/", "feeds/ours"] {
        check(&with(source, "category-feed"), Ok(()));
        let mapped = with(source, "category-feed").replace(
            "category = \"gambling\"",
            "categories = { 1 = \"gambling\", 2 = \"none\" }",
        );
        check(&mapped, Ok(()));
    }
    refused(
        &GOOD
            .replace("format = \"domains\"", "format = \"squidguard\"")
            .replace("category = \"gambling\"", "categories = { a = \"none\" }"),
        "category \"none\" is not in the taxonomy",
    );
}

#[test]
fn keys_of_fetching_that_cannot_work_are_told_what_would() {
    let remote = GOOD.replace("lists/gambling.txt", "https://lists.example/a");
    let zone = GOOD
        .replace("lists/gambling.txt", "rpz://192.0.2.1/zone")
        .replace("\"domains\"", "\"rpz\"");
    let with = |base: &str, keys: &str| base.to_owned() + keys;
    let refused =
        |toml: String, fault: &str| check(&toml, Err(&format!("feeds \"gambling\": {fault}")));
    check(
        &with(
            &remote,
            "interval_s = 60\nusername = \"me\"\npassword = \"env:PASSWORD\"\nsha256_url = \"https://a.example/s\"",
        ),
        Ok(()),
    );
    check(
        &with(
            &remote,
            "bearer = \"file:token\"\nallow_private = true\nsize_max_mib = 10\ntimeout_s = 10\nmax_age_s = 60",
        ),
        Ok(()),
    );
    check(
        &with(
            GOOD,
            "max_shrink_percent = 0\nmust_match = [\"a.example\"]\nmatching = \"most-specific\"",
        ),
        Ok(()),
    );
    check(
        &with(&zone, "tsig = { name = \"key\", secret = \"c2VjcmV0\" }"),
        Ok(()),
    );
    check(
        &with(
            &zone,
            "tsig = { name = \"key\", algorithm = \"hmac-sha512\", secret = \"file:key\" }",
        ),
        Ok(()),
    );
    refused(
        with(GOOD, "interval_s = 60"),
        "interval_s has no meaning here: it is for sources that are fetched",
    );
    refused(
        with(GOOD, "bearer = \"x\""),
        "bearer has no meaning here: it is for sources that begin with http:// or https://",
    );
    refused(
        with(&remote, "tsig = { name = \"k\", secret = \"YQ==\" }"),
        "tsig has no meaning here: it is for sources that begin with rpz://",
    );
    refused(
        with(&remote, "signature_url = \"https://a.example/s\""),
        "signature_url has no meaning here: it is for lists with a minisign_key",
    );
    refused(
        with(&remote, "interval_s = 0"),
        "interval_s must be 1 to 86400",
    );
    refused(
        with(&remote, "size_max_mib = 0"),
        "size_max_mib must be 1 to 1048576",
    );
    refused(
        with(GOOD, "max_shrink_percent = 101"),
        "max_shrink_percent must be 0 to 100",
    );
    refused(
        with(GOOD, "must_not_match = [\"a..b\"]"),
        "must_not_match: \"a..b\" is not a domain name",
    );
    for half in [
        "username = \"me\"",
        "password = \"x\"",
        "username = \"me\"\npassword = \"x\"\nbearer = \"y\"",
    ] {
        refused(
            with(&remote, half),
            "credentials are username and password together, or bearer alone",
        );
    }
    refused(
        with(&remote, "minisign_key = \"abc\""),
        "minisign_key is no public key of minisign: the line of 56 characters in its .pub file",
    );
    refused(
        with(&zone, "tsig = { name = \"key\", secret = \"?\" }"),
        "tsig: secret is not in Base64; it may also be \"env:NAME\" or \"file:PATH\"",
    );
    assert!(
        toml::from_str::<Feed>(&with(
            &zone,
            "tsig = { name = \"key\", algorithm = \"md5\", secret = \"YQ==\" }"
        ))
        .is_err()
    );
}

#[test]
fn each_kind_of_source_has_its_interval_and_its_age_of_alarm() {
    let seconds = |source: &str, format, interval_s| {
        let feed = Feed {
            interval_s,
            ..Feed::new("a", source, format)
        };
        (
            feed.interval().map(|interval| interval.as_secs()),
            feed.max_age().as_secs(),
        )
    };
    assert_eq!(
        seconds("https://a.example/b", Format::Domains, None),
        (Some(3600), 14_400)
    );
    assert_eq!(
        seconds("https://a.example/b", Format::CategoryFeed, None),
        (Some(5), 3600)
    );
    assert_eq!(
        seconds("rpz://a.example/b", Format::Rpz, None),
        (None, 14_400)
    );
    assert_eq!(
        seconds("rpz://a.example/b", Format::Rpz, Some(10)),
        (Some(10), 3600)
    );
}

#[test]
fn a_secret_is_where_it_is_said_to_be_and_is_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "s3cret\n").unwrap();
    let secret = Secret::new("file:token").rooted(folder.path());
    assert_eq!(secret.reveal().unwrap(), "s3cret");
    assert_eq!(
        Secret::new("word").rooted(folder.path()).reveal().unwrap(),
        "word"
    );
    assert!(std::env::var("PATH").is_ok() && Secret::new("env:PATH").reveal().is_ok());
    assert!(
        Secret::new("env:OX_PROTECT_NO_SUCH_VARIABLE")
            .reveal()
            .unwrap_err()
            .contains("OX_PROTECT_NO_SUCH_VARIABLE")
    );
    assert!(
        Secret::new("file:/absent/token")
            .reveal()
            .unwrap_err()
            .contains("/absent/token")
    );
    assert!(Secret::new("").reveal().is_err() && Secret::new("a\nb").reveal().is_err());
    let feed = Feed {
        password: Some(Secret::new("s3cret")),
        ..Feed::new("a", "http://a.example", Format::Domains)
    };
    assert!(!format!("{feed:?}").contains("s3cret"));
}

#[test]
fn a_format_whose_rows_say_what_they_cover_takes_no_other_scope() {
    for format in ["adblock", "dnsmasq", "unbound"] {
        let toml = GOOD.replace("domains", format);
        check(&toml, Ok(()));
        check(&toml.replace("scope = \"subtree\"\n", ""), Ok(()));
        let error = format!(
            "feeds \"gambling\": scope contradicts format \"{format}\", whose rows state their scope; leave it out"
        );
        check(&toml.replace("subtree", "exact"), Err(&error));
        check(&toml.replace("subtree", "descendants"), Err(&error));
    }
    check(
        &GOOD
            .replace("domains", "squidguard")
            .replace("scope = \"subtree\"\n", ""),
        Ok(()),
    );
    check(
        &GOOD
            .replace("domains", "squidguard")
            .replace("category = \"gambling\"", "categories = { x = \"adult\" }"),
        Ok(()),
    );
}

#[test]
fn unknown_keys_and_two_feeds_of_one_name_are_refused() {
    assert!(
        toml::from_str::<Feed>(&(GOOD.to_owned() + "scoop = 1"))
            .unwrap_err()
            .to_string()
            .contains("unknown field `scoop`")
    );
    assert!(toml::from_str::<Feed>(&GOOD.replace("domains", "csv")).is_err());
    let feed: Feed = toml::from_str(GOOD).unwrap();
    let error = Feed::check_all(&[feed.clone(), feed], &Taxonomy::shipped()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "feeds \"gambling\": name is used twice; every feed needs its own"
    );
}

#[test]
fn a_relative_source_stands_beside_the_configuration() {
    let feed: Feed = toml::from_str(GOOD).unwrap();
    let rooted = |source: &str| {
        Feed {
            source: source.to_owned(),
            ..feed.clone()
        }
        .rooted(Path::new("/etc/ox"))
        .source
    };
    assert_eq!(rooted("lists/a.txt"), "/etc/ox/lists/a.txt");
    assert_eq!(rooted("/srv/a.txt"), "/srv/a.txt");
    assert_eq!(rooted("https://lists.example/a"), "https://lists.example/a");
}

#[test]
fn a_feed_survives_json_and_toml_and_its_digest_follows_its_meaning() {
    let feed: Feed = toml::from_str(GOOD).unwrap();
    assert_eq!(feed.tier, Tier::Choice);
    assert_eq!(
        serde_json::from_slice::<Feed>(&serde_json::to_vec(&feed).unwrap()).unwrap(),
        feed
    );
    assert_eq!(
        toml::from_str::<Feed>(&toml::to_string(&feed).unwrap()).unwrap(),
        feed
    );
    assert_eq!(feed.definition(), feed.clone().definition());
    assert_ne!(
        feed.definition(),
        Feed {
            scope: Some(Scope::Exact),
            ..feed.clone()
        }
        .definition()
    );
    assert_ne!(
        feed.definition(),
        Feed {
            matching: Matching::MostSpecific,
            ..feed.clone()
        }
        .definition()
    );
    let fetched = Feed {
        interval_s: Some(1),
        bearer: Some(Secret::new("x")),
        must_match: vec!["a".to_owned()],
        ..feed.clone()
    };
    assert_eq!(feed.definition(), fetched.definition());
    // Default values are not serialised, so the digest of an existing definition is unchanged.
    assert!(!serde_json::to_string(&feed).unwrap().contains("timeout_s"));
}

#[test]
fn every_key_of_a_feed_stands_in_the_reference() {
    let text = |text: &str| Some(text.to_owned());
    let full = Feed {
        scope: Some(Scope::Exact),
        category: text("a"),
        categories: [("a".to_owned(), "b".to_owned())].into(),
        matching: Matching::MostSpecific,
        interval_s: Some(1),
        username: text("a"),
        password: Some(Secret::new("a")),
        bearer: Some(Secret::new("a")),
        allow_private: true,
        size_max_mib: 1,
        timeout_s: 1,
        sha256_url: text("a"),
        minisign_key: text("a"),
        signature_url: text("a"),
        tsig: Some(Tsig {
            name: "a".to_owned(),
            algorithm: TsigAlgorithm::HmacSha1,
            secret: Secret::new("a"),
        }),
        max_shrink_percent: 1,
        max_growth_percent: 1,
        must_match: vec!["a".to_owned()],
        must_not_match: vec!["a".to_owned()],
        max_age_s: Some(1),
        ..Feed::new("a", "a", Format::Domains)
    };
    let reference = include_str!("../../../configs/default.toml");
    for key in toml::Table::try_from(full).unwrap().keys() {
        let is_told = reference.lines().any(|line| {
            line.starts_with("#   ") && line.split([' ', ',', '=']).any(|word| word == key)
        });
        assert!(is_told, "configs/default.toml does not tell of {key}");
    }
}
