//! What the configuration takes and what it refuses.

use resolver::message::blocked::BlockedAnswer;

use super::{
    super::{dns::Dns, recursion::RecursionConfig},
    *,
};

fn refused(text: &str, environment: &[(&str, &str)]) -> String {
    let variables = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    parse(text, "test.toml")
        .and_then(|config| override_by(config, text, variables))
        .and_then(check)
        .err()
        .expect("it must be refused")
        .to_string()
}

#[test]
fn the_reference_shows_every_key_with_its_default() {
    let reference = parse(EMBEDDED, "").unwrap();
    let written: toml::Table = EMBEDDED.parse().unwrap();
    let defaults = toml::Table::try_from(Config::default()).unwrap();
    for (section, keys) in &defaults {
        for key in keys.as_table().into_iter().flat_map(toml::Table::keys) {
            assert!(
                written[section].as_table().unwrap().contains_key(key),
                "configs/default.toml lacks {section}.{key}"
            );
        }
    }
    let starter = RecursionConfig {
        local_records: reference.recursion.local_records.clone(),
        ..RecursionConfig::default()
    };
    let feeds = reference.feeds.clone();
    assert_eq!(
        reference,
        Config {
            recursion: starter,
            feeds,
            ..Config::default()
        }
    );
}

#[test]
fn every_shipped_configuration_is_sound() {
    for entry in std::fs::read_dir("configs").unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            let checked = load(Some(&path), std::iter::empty());
            assert!(
                checked.is_ok(),
                "{}: {}",
                path.display(),
                checked.err().unwrap()
            );
        }
    }
}

#[test]
fn a_wrong_key_or_value_is_refused_with_its_place() {
    let unknown = refused("[dns]\nlisten = [\"127.0.0.1:53\"]\nlisen = 1\n", &[]);
    assert!(
        unknown.contains("line 3") && unknown.contains("lisen"),
        "{unknown}"
    );
    assert!(refused("[dsn]\n", &[]).contains("dsn"));
    assert!(refused("[dns]\nlisten = \"nowhere\"\n", &[]).contains("line 2"));
    assert!(refused("[lists]\nkeep = 0\n", &[]).contains("lists.keep: 1 to 1000"));
    assert!(
        refused("[policy]\ndefault_preset = \"lite\"\n", &[])
            .contains("light, moderate, strict, off")
    );
    assert!(refused("[store]\nurl = \"redis:x\"\n", &[]).contains("store.url"));
    assert!(refused("[dns]\nblocked_answer = \"landing\"\n", &[]).contains("dns.landing"));
    assert!(
        refused(
            "[dns.blocked_by]\nmandatory = { answer = \"landing\" }\n",
            &[]
        )
        .contains("dns.blocked_by.mandatory")
    );
    assert!(
        refused(
            "[dns.blocked_by]\nchoice = { answer = \"nodata\", v4 = \"192.0.2.1\" }\n",
            &[]
        )
        .contains("dns.blocked_by.choice")
    );
    assert!(
        refused("[dns.blocked_by]\nanybody = { answer = \"nodata\" }\n", &[]).contains("anybody")
    );
    assert!(refused("[dns]\ncontact = [\"help@isp.example\"]\n", &[]).contains("dns.contact"));
    assert!(refused("[dns]\nlanguage = \"\"\n", &[]).contains("dns.language"));
    assert!(refused("[[feeds]]\nname = \"a\"\nsource = \"a\"\nformat = \"domains\"\ncategory = \"gambling\"\n", &[]).contains("scope"));
    assert!(
        refused("[recursion]\nstub = [{ zone = \"a\", to = [] }]\n", &[])
            .contains("recursion.stub")
    );
    // The folder of the API's feeds is neither in nor around the folder of the lists, however either
    // is written.
    for folder in [
        "/",
        ".",
        "data",
        "data/../data",
        "data/lists/feeds",
        "./data/lists",
    ] {
        let around = format!("[lists]\ndirectory = \"data/lists\"\napi_folder = {folder:?}\n");
        assert!(
            refused(&around, &[]).contains("lists.api_folder"),
            "{folder}"
        );
    }
    for name in ["", ".", "a b"] {
        let unnamed = format!(
            "[recursion]\nforward = [{{ zone = \"a\", to = [\"127.0.0.1:853\"], tls = {name:?} }}]\n"
        );
        assert!(
            refused(&unnamed, &[]).contains("recursion.forward"),
            "{name:?}"
        );
    }
    let twice = "[recursion]\nstub = [{ zone = \"a\", to = [\"127.0.0.1:53\"] }]\nforward = [{ zone = \"A.\", to = [\"127.0.0.1:53\"] }]\n";
    assert!(refused(twice, &[]).contains("a zone stands once"));
    assert!(
        refused("[recursion]\nttl_min_s = 10\nttl_max_s = 5\n", &[])
            .contains("recursion.ttl_max_s")
    );
}

#[test]
fn what_would_have_no_effect_is_refused_by_name() {
    for (text, key) in [
        (
            "[recursion]\ndnssec = false\ntrust_anchors = [\". DS 20326 8 2 E06D\"]\n",
            "recursion.trust_anchors: nothing is validated",
        ),
        (
            "[recursion]\ndnssec = false\nnegative_trust_anchors = [\"a.example\"]\n",
            "recursion.negative_trust_anchors: nothing is validated",
        ),
        (
            "[recursion]\nprivate_domains = [\"lan\"]\n",
            "recursion.private_domains",
        ),
        ("[dns]\nlanding = [\"192.0.2.80\"]\n", "dns.landing"),
        ("[log]\nlevel = \"loud\"\n", "log.level"),
    ] {
        let complaint = refused(text, &[]);
        assert!(complaint.starts_with(key), "{complaint}");
    }
    for (variable, right) in [
        ("OX_PROTECT_DNS_LISTEN", "OX_PROTECT_DNS__LISTEN"),
        (
            "OX_PROTECT_RECURSION_CACHE_MIB",
            "OX_PROTECT_RECURSION__CACHE_MIB",
        ),
    ] {
        let complaint = refused("", &[(variable, "1")]);
        assert!(
            complaint.contains(variable) && complaint.contains(right),
            "{complaint}"
        );
    }
    // Validation that is off, and variables of other programs, say nothing.
    let variables = [("OX_PROTECT_DATA", "/data"), ("OX_PROTECT_API_KEY", "ox_1")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let text =
        "[recursion]\ndnssec = false\ntrust_anchors = []\n[log]\nlevel = \"Warn,resolver=debug\"\n";
    assert!(
        override_by(parse(text, "").unwrap(), text, variables.into_iter())
            .and_then(check)
            .is_ok()
    );
}

#[test]
fn a_home_keeps_names_of_the_internet_out_of_itself() {
    let config = load(Some(Path::new("configs/home.toml")), std::iter::empty())
        .ok()
        .unwrap()
        .config;
    let is_private = |address: &str| {
        let address: IpAddr = address.parse().unwrap();
        config
            .recursion
            .private_addresses
            .iter()
            .any(|network| network.contains(&address))
    };
    for address in [
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.1.1",
        "127.0.0.1",
        "0.0.0.0",
        "::",
        "::1",
        "fd00::1",
        "fe80::1",
    ] {
        assert!(is_private(address), "{address}");
    }
    for address in [
        "192.0.2.7",
        "172.32.0.1",
        "100.64.0.1",
        "2001:db8::1",
        "8.8.8.8",
    ] {
        assert!(!is_private(address), "{address}");
    }
    for path in ["configs/default.toml", "configs/isp.toml"] {
        let of_others = load(Some(Path::new(path)), std::iter::empty())
            .ok()
            .unwrap()
            .config;
        assert!(of_others.recursion.private_addresses.is_empty(), "{path}");
    }
}

#[test]
fn a_block_is_answered_by_who_decides_about_it_and_otherwise_as_all_are() {
    let text = "[dns]\nblocked_answer = \"nodata\"\n[dns.blocked_by.mandatory]\nanswer = \"landing\"\nv4 = \"192.0.2.80\"\n";
    let answers = check(parse(text, "").unwrap())
        .unwrap()
        .config
        .dns
        .blocked_answers();
    assert_eq!(
        (answers.security, answers.choice),
        (BlockedAnswer::NoData, BlockedAnswer::NoData)
    );
    assert_eq!(
        answers.mandatory,
        BlockedAnswer::Landing {
            v4: Some([192, 0, 2, 80].into()),
            v6: None
        }
    );
}

#[test]
fn the_environment_overrides_single_keys_and_is_checked_as_strictly() {
    let variables = [
        ("OX_PROTECT_DNS__LISTEN", "[\"127.0.0.9:53\"]"),
        ("OX_PROTECT_STORE__URL", "sqlite:/x"),
        ("OX_PROTECT_LISTS__KEEP", "7"),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let config = override_by(parse("", "").unwrap(), "", variables.into_iter()).unwrap();
    assert_eq!(
        (
            config.dns.listen[0].ip().to_string(),
            config.store.url,
            config.lists.keep
        ),
        ("127.0.0.9".into(), "sqlite:/x".into(), 7)
    );
    assert!(refused("", &[("OX_PROTECT_DNS__LISEN", "1")]).contains("OX_PROTECT_DNS__LISEN"));
    assert!(refused("", &[("OX_PROTECT_LISTS__KEEP", "many")]).contains("OX_PROTECT_LISTS__KEEP"));
}

#[test]
fn relative_paths_are_relative_to_the_file() {
    let text = "[store]\nurl = \"sqlite:a.db\"\n[lists]\ndirectory = \"/l\"\n";
    let config = parse(text, "").unwrap().rooted(Path::new("/etc/ox"));
    assert_eq!(
        (config.store.url.as_str(), config.lists.directory.as_path()),
        ("sqlite:/etc/ox/a.db", Path::new("/l"))
    );
}

#[test]
fn who_may_ask_is_local_by_default_and_a_bad_network_is_refused() {
    let dns = Dns::default();
    let may_ask = |address: &str| {
        dns.allow_from
            .iter()
            .any(|network| network.contains(&address.parse::<IpAddr>().unwrap()))
    };
    for address in [
        "127.0.0.1",
        "::1",
        "10.1.2.3",
        "172.31.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.1.1",
        "fd00::1",
        "fe80::1",
    ] {
        assert!(may_ask(address), "{address}");
    }
    for address in [
        "8.8.8.8",
        "172.32.0.1",
        "100.128.0.1",
        "192.169.0.1",
        "2001:4860::1",
        "::2",
        "fec0::1",
    ] {
        assert!(!may_ask(address), "{address}");
    }
    assert!(dns.notify_from.is_empty());
    assert!(refused("[dns]\nallow_from = [\"10.0.0.0/33\"]\n", &[]).contains("line 2"));
    assert!(refused("[dns]\nnotify_from = [\"ns1.example\"]\n", &[]).contains("line 2"));
    assert!(
        refused("", &[("OX_PROTECT_DNS__ALLOW_FROM", "[\"nowhere\"]")])
            .contains("OX_PROTECT_DNS__ALLOW_FROM")
    );
}

#[test]
fn a_configuration_that_lets_the_whole_internet_ask_earns_a_warning() {
    let warnings = |text: &str| check(parse(text, "").unwrap()).unwrap().warnings.join("\n");
    for (key, network) in [
        ("allow_from", "0.0.0.0/0"),
        ("allow_from", "::/0"),
        ("trusted_peers", "0.0.0.0/0"),
    ] {
        let told = warnings(&format!(
            "[dns]\n{key} = [\"192.0.2.0/24\", \"{network}\"]\n"
        ));
        assert!(
            told.contains(&format!("dns.{key} holds {network}")),
            "{told}"
        );
    }
    assert_eq!(warnings("[dns]\nallow_from = [\"0.0.0.0/1\"]\n"), "");
    assert_eq!(warnings(""), "");
}
