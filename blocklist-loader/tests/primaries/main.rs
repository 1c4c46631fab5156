//! Tests of the secondary against real primaries: BIND, Knot DNS, and PowerDNS with SQLite. After
//! each step the spooled rows equal those that another client gets from the primary.
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers with it")]

mod proxy;
#[allow(dead_code, reason = "the program's own tests use the rest")]
mod server;
mod waiting;
mod zone;

use std::time::{Duration, Instant};

use blocklist_loader::{
    BuildOutcome, Feed, FetchError, Fetched, Fetcher, Format, Gate, Plan, Secret, Tsig,
    TsigAlgorithm, build,
    fetch::transfer::{Transfer, TransferSettings},
};
use policy::{
    category::Taxonomy,
    lists::{blocklist::Blocklist, entry::EntryAction},
    name::Name,
};
use tempfile::TempDir;

use self::{
    proxy::Proxy,
    server::{ADDRESS, ALGORITHM, KEY, Kind, Primary, SECRET},
    waiting::TIMEOUT,
    zone::{Row, ZONE, Zone, rule},
};

/// The initial content of the zone.
const ROWS: usize = 5000;

/// A transfer with a spool of its own.
struct Secondary {
    transfer: Transfer,
    spool: TempDir,
}

impl Secondary {
    fn of(port: u16) -> Self {
        let spool = tempfile::tempdir().unwrap();
        Self {
            transfer: Transfer::new(settings(port), spool.path()).unwrap(),
            spool,
        }
    }

    /// The same spool with another address of the primary.
    fn with(self, settings: TransferSettings) -> Self {
        Self {
            transfer: Transfer::new(settings, self.spool.path()).unwrap(),
            ..self
        }
    }

    fn fetch(&mut self) -> Result<Fetched, FetchError> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(self.transfer.fetch())
    }

    /// The gate that refuses a fetch.
    fn gate(&mut self) -> Gate {
        self.fetch()
            .map(|fetched| panic!("{fetched:?}"))
            .unwrap_err()
            .gate
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        self.transfer
            .for_each_row(&mut |row| rows.push(String::from_utf8(row.to_vec()).unwrap()))
            .unwrap();
        rows.sort();
        rows
    }

    fn equals(&self, primary: &Primary) {
        let ours = self.rows();
        let theirs = primary.rows();
        assert_eq!(theirs.len(), primary.zone.rows.len());
        let differing: Vec<_> = ours
            .iter()
            .zip(&theirs)
            .filter(|(ours, theirs)| ours != theirs)
            .take(5)
            .collect();
        assert!(
            ours == theirs,
            "{} rows, the primary {}; {differing:?}",
            ours.len(),
            theirs.len()
        );
        assert_eq!(self.transfer.serial(), Some(primary.zone.serial));
    }
}

fn settings(port: u16) -> TransferSettings {
    source(port).signed(KEY, ALGORITHM, SECRET).unwrap()
}

fn source(port: u16) -> TransferSettings {
    TransferSettings::new(&format!("rpz://{ADDRESS}:{port}/{ZONE}"))
        .unwrap()
        .bounded(64 << 20, TIMEOUT)
}

fn replaced(fetched: Fetched) -> String {
    match fetched {
        Fetched::Replaced { version } => version,
        other => panic!("{other:?}"),
    }
}

/// From, version, removed rows, added rows.
fn changed(fetched: Fetched) -> (String, String, Vec<Row>, Vec<Row>) {
    let Fetched::Changed {
        from,
        version,
        rows,
    } = fetched
    else {
        panic!("{fetched:?}")
    };
    let of = |added| {
        let mut some: Vec<Row> = rows
            .iter()
            .filter(|row| row.added == added)
            .map(|row| String::from_utf8(row.row.clone()).unwrap())
            .collect();
        some.sort();
        some
    };
    let gone = of(false);
    let came = of(true);
    (from, version, gone, came)
}

fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort();
    rows
}

fn a_first_transfer_brings_every_rule(kind: Kind) {
    let primary = Primary::start(kind, Zone::of(ROWS, 7));
    let proxy = Proxy::before(primary.port);
    let mut ours = Secondary::of(proxy.port);
    assert_eq!(replaced(ours.fetch().unwrap()), "7");
    ours.equals(&primary);
    assert_eq!(proxy.asked(), ["AXFR"]);
    assert_eq!(ours.transfer.interval(), Duration::from_secs(600));
    // The same after a restart with the existing spool.
    ours = ours.with(settings(proxy.port));
    assert_eq!(ours.fetch().unwrap(), Fetched::Unchanged);
    assert_eq!(proxy.asked(), ["AXFR", "SOA"]);
    ours.equals(&primary);
}

fn a_thousand_small_changes_come_as_what_changed(kind: Kind) {
    let mut primary = Primary::start(kind, Zone::of(ROWS, 7));
    let proxy = Proxy::before(primary.port);
    let mut ours = Secondary::of(proxy.port);
    ours.fetch().unwrap();
    let whole = proxy.came();
    let gone: Vec<Row> = (0..400).map(|number| rule(number * 7 + 1)).collect();
    let came: Vec<Row> = (0..600).map(|number| rule(100_000 + number)).collect();
    primary.change(&gone, &came);
    let began = Instant::now();
    let (from, version, theirs_gone, theirs_came) = changed(ours.fetch().unwrap());
    println!("{kind:?}: a thousand changes took {:?}", began.elapsed());
    assert_eq!((from, version), ("7".to_owned(), "27".to_owned()));
    assert!(
        theirs_gone == sorted(gone) && theirs_came == sorted(came),
        "{} went, {} came",
        theirs_gone.len(),
        theirs_came.len()
    );
    ours.equals(&primary);
    let octets = proxy.came() - whole;
    println!("{kind:?}: the whole zone took {whole} octets, what changed {octets}");
    match kind {
        Kind::Bind | Kind::Knot => {
            assert_eq!(proxy.asked(), ["AXFR", "SOA", "IXFR"]);
            assert!(octets < whole / 2, "{octets} of {whole} octets");
        }
        // This primary has no journal: the secondary compares the whole zone.
        Kind::PowerDns => assert_eq!(proxy.asked(), ["AXFR", "SOA", "IXFR", "AXFR"]),
    }
    assert_eq!(ours.fetch().unwrap(), Fetched::Unchanged);
}

fn a_notify_says_what_is_new_and_the_next_fetch_brings_it(kind: Kind) {
    let mut primary = Primary::start(kind, Zone::of(100, 7));
    let mut ours = Secondary::of(primary.port);
    ours.fetch().unwrap();
    primary.change(&[rule(0)], &[rule(100_000)]);
    primary.notify();
    loop {
        let (transport, notify) = primary.notified.told.recv_timeout(TIMEOUT).unwrap();
        println!(
            "{kind:?}: NOTIFY over {transport}, serial {:?}",
            notify.serial
        );
        assert_eq!(notify.zone, ours.transfer.zone());
        // The start announces a zone as well. PowerDNS does not state the serial.
        if notify
            .serial
            .is_none_or(|serial| serial == primary.zone.serial)
        {
            break;
        }
    }
    let (_, version, gone, came) = changed(ours.fetch().unwrap());
    assert_eq!(
        (version, gone, came),
        ("8".to_owned(), vec![rule(0)], vec![rule(100_000)])
    );
    ours.equals(&primary);
}

fn a_serial_that_wraps_is_newer(kind: Kind) {
    let mut primary = Primary::start(kind, Zone::of(100, 4_294_967_290));
    let mut ours = Secondary::of(primary.port);
    ours.fetch().unwrap();
    primary.renumber(5, &[rule(100_000)]);
    let (from, version, gone, came) = changed(ours.fetch().unwrap());
    assert_eq!(
        (from.as_str(), version.as_str(), gone.len()),
        ("4294967290", "5", 0)
    );
    assert_eq!(came, [rule(100_000)]);
    ours.equals(&primary);
}

fn what_changed_at_a_primary_without_journal_is_found_here(kind: Kind) {
    let mut primary = Primary::start(kind, Zone::of(ROWS, 7));
    let proxy = Proxy::before(primary.port);
    let mut ours = Secondary::of(proxy.port);
    ours.fetch().unwrap();
    let mut next = primary.zone.clone();
    assert!(next.rows.remove(&rule(3)) && next.rows.insert(rule(100_000)));
    next.serial = 9;
    primary.restart_without_journal(next);
    let (from, version, gone, came) = changed(ours.fetch().unwrap());
    assert_eq!(
        (from, version, gone, came),
        (
            "7".to_owned(),
            "9".to_owned(),
            vec![rule(3)],
            vec![rule(100_000)]
        )
    );
    ours.equals(&primary);
    println!(
        "{kind:?}, without a journal: asked {:?}, {} octets in all",
        proxy.asked(),
        proxy.came()
    );
    // A completely different zone is not reported row by row.
    primary.restart_without_journal(Zone {
        serial: 11,
        ..Zone::of(3000, 11)
    });
    assert_eq!(replaced(ours.fetch().unwrap()), "11");
    ours.equals(&primary);
}

fn a_transfer_that_breaks_off_changes_nothing(kind: Kind) {
    let mut primary = Primary::start(kind, Zone::of(ROWS, 7));
    let cut = Proxy::cutting_after(primary.port, 20_000);
    let mut ours = Secondary::of(cut.port);
    assert_eq!(ours.gate(), Gate::Transport);
    assert_eq!(
        (ours.rows(), ours.transfer.serial()),
        (Vec::<Row>::new(), None)
    );
    ours = ours.with(settings(primary.port));
    ours.fetch().unwrap();
    let before = ours.rows();
    let came: Vec<Row> = (0..1000).map(|number| rule(100_000 + number)).collect();
    primary.change(&[], &came);
    for octets in [600, 2000, 20_000] {
        let cut = Proxy::cutting_after(primary.port, octets);
        ours = ours.with(settings(cut.port));
        assert_eq!(ours.gate(), Gate::Transport);
        assert!(ours.rows() == before && ours.transfer.serial() == Some(7));
    }
    ours = ours.with(settings(primary.port));
    assert_eq!(changed(ours.fetch().unwrap()).3.len(), 1000);
    ours.equals(&primary);
}

fn a_wrong_key_brings_nothing(kind: Kind) {
    let mut primary = Primary::start(kind, Zone::of(100, 7));
    let mut ours = Secondary::of(primary.port);
    ours.fetch().unwrap();
    let before = ours.rows();
    primary.change(&[], &[rule(100_000)]);
    for (name, algorithm, secret) in [
        (KEY, ALGORITHM, "YW5vdGhlciBzZWNyZXQgYWx0b2dldGhlcg=="),
        ("another.key", ALGORITHM, SECRET),
        (KEY, "hmac-sha512", SECRET),
        (KEY, "hmac-sha1", SECRET),
    ] {
        let wrong = || {
            source(primary.port)
                .signed(name, algorithm, secret)
                .unwrap()
        };
        let mut fresh = Secondary::of(primary.port).with(wrong());
        let error = fresh.fetch().unwrap_err();
        println!("{kind:?}, {name} {algorithm}: {error}");
        assert_eq!(error.gate, Gate::Tsig, "{error}");
        assert!(fresh.rows().is_empty());
        ours = ours.with(wrong());
        assert_eq!(ours.gate(), Gate::Tsig);
        assert!(ours.rows() == before && ours.transfer.serial() == Some(7));
    }
    ours = ours.with(settings(primary.port));
    ours.fetch().unwrap();
    ours.equals(&primary);
}

fn a_transfer_beyond_its_bounds_changes_nothing(kind: Kind) {
    let primary = Primary::start(kind, Zone::of(ROWS, 7));
    for (octets, timeout, gate) in [
        (20_000, TIMEOUT, Gate::Size),
        (64 << 20, Duration::ZERO, Gate::Time),
    ] {
        let mut ours =
            Secondary::of(primary.port).with(settings(primary.port).bounded(octets, timeout));
        assert_eq!(ours.gate(), gate);
        assert!(ours.rows().is_empty());
    }
}

fn another_primary_is_asked_where_the_first_is_silent_or_behind(kind: Kind) {
    let mut primary = Primary::start(kind, Zone::of(100, 7));
    let unreachable = format!("rpz://{ADDRESS}:1/{ZONE}");
    let also = format!("{ADDRESS}:{}", primary.port);
    let both = || {
        TransferSettings::new(&unreachable)
            .unwrap()
            .primaries([also.as_str()])
            .unwrap()
            .signed(KEY, ALGORITHM, SECRET)
            .unwrap()
    };
    let mut ours = Secondary::of(primary.port).with(both());
    assert_eq!(replaced(ours.fetch().unwrap()), "7");
    ours.equals(&primary);
    let before = ours.rows();
    primary.restart_without_journal(Zone::of(50, 6));
    let error = ours.fetch().unwrap_err();
    assert_eq!(error.gate, Gate::Sequence, "{error}");
    assert_eq!(ours.rows(), before);
}

fn a_definition_makes_a_zone_into_lists(kind: Kind) {
    let mut primary = Primary::start(kind, Zone::of(500, 7));
    let directory = tempfile::tempdir().unwrap();
    let tsig = Tsig {
        name: KEY.to_owned(),
        algorithm: TsigAlgorithm::HmacSha256,
        secret: Secret::new(SECRET),
    };
    let feed = Feed {
        category: Some("malware".to_owned()),
        tsig: Some(tsig),
        ..Feed::new(
            "a provider".to_owned(),
            format!("rpz://{ADDRESS}:{}/{ZONE}", primary.port),
            Format::Rpz,
        )
    };
    let mut fetcher = Fetcher::new(&feed, directory.path()).unwrap();
    assert_eq!(
        (fetcher.zone().as_deref(), fetcher.interval()),
        (Some(ZONE), Some(Duration::from_secs(60)))
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    assert_eq!(replaced(runtime.block_on(fetcher.fetch()).unwrap()), "7");
    assert_eq!(fetcher.interval(), Some(Duration::from_secs(600)));
    let taxonomy = Taxonomy::shipped();
    let plan = Plan {
        feeds: vec![feed],
        directory: directory.path().to_owned(),
        force: false,
        ..Plan::default()
    };
    let build = |previous: Option<&Blocklist>| {
        let BuildOutcome::Built(built) =
            build(&plan, &taxonomy, previous, jiff::Timestamp::UNIX_EPOCH).unwrap()
        else {
            panic!()
        };
        assert!(built.refused.is_empty(), "{:?}", built.refused);
        Blocklist::open(&built.written.path, &taxonomy).unwrap()
    };
    let blocks = |lists: &Blocklist, name: &str| {
        let classification = lists.classify(Name::parse(name).unwrap().borrow());
        taxonomy.slugs(classification.choice).contains(&"malware")
    };
    let lists = build(None);
    assert!(
        blocks(&lists, "bad-7.example") && !blocks(&lists, "below.bad-7.example"),
        "an exact rule"
    );
    assert!(
        !blocks(&lists, "bad-6.example") && blocks(&lists, "below.bad-6.example"),
        "a rule for what is below"
    );
    assert!(!blocks(&lists, "bad-20.example"), "a passthru");
    for (name, action) in [
        ("bad-7.example", EntryAction::Nxdomain),
        ("bad-41.example", EntryAction::Nodata),
        ("bad-22.example", EntryAction::Drop),
        ("bad-23.example", EntryAction::TcpOnly),
        ("bad-44.example", EntryAction::LocalData),
        ("garden.example", EntryAction::LocalData),
        ("mail.example", EntryAction::LocalData),
        ("bad-20.example", EntryAction::OperatorPolicy),
    ] {
        let name = Name::parse(name).unwrap();
        let marks: Vec<_> = lists
            .matches(name.borrow())
            .into_iter()
            .map(|entry| entry.mark.action)
            .collect();
        assert_eq!(marks, [action], "{name}");
    }
    // Record data in the format of servers: the types of local data, and walled gardens.
    let answer = |name: &str| {
        let name = Name::parse(name).unwrap();
        lists.answers()[lists.matches(name.borrow())[0].mark.data as usize]
            .0
            .clone()
    };
    let types: Vec<u16> = answer("garden.example")
        .iter()
        .map(|record| record.record_type)
        .collect();
    assert_eq!(types, [1, 16, 28]);
    assert_eq!(
        answer("bad-44.example")[0].rdata,
        b"\x06walled\x06garden\x07example\x00"
    );
    assert_eq!(
        answer("below.sub.garden.example")[0].rdata,
        b"\x01*\x06garden\x08provider\x07example\x00"
    );
    assert_eq!(
        answer("mail.example")[0].rdata,
        b"\x00\x0a\x02mx\x08provider\x07example\x00"
    );
    assert!(lists.has_addresses());
    for (address, is_listed) in [
        ("192.0.2.7", true),
        ("192.0.2.8", false),
        ("198.51.100.1", false),
        ("2001:db8::7", true),
    ] {
        let listed = lists.classify_address(address.parse().unwrap());
        assert_eq!(
            taxonomy.slugs(listed.choice).contains(&"malware"),
            is_listed,
            "{address}"
        );
    }
    primary.change(&[rule(7)], &[rule(100_000)]);
    changed(runtime.block_on(fetcher.fetch()).unwrap());
    runtime.block_on(fetcher.tidy()).unwrap();
    let lists = build(Some(&lists));
    assert!(!blocks(&lists, "bad-7.example") && lists.header().feeds[0].report.entries > 400);
}

/// Runs each test with each primary.
macro_rules! promises {
    ($($promise:ident)*) => {
        mod bind {
            $(#[test] fn $promise() { super::$promise(super::Kind::Bind) })*
        }
        mod knot {
            $(#[test] fn $promise() { super::$promise(super::Kind::Knot) })*
        }
        mod power_dns {
            $(#[test] fn $promise() { super::$promise(super::Kind::PowerDns) })*
        }
    };
}

promises! {
    a_first_transfer_brings_every_rule
    a_thousand_small_changes_come_as_what_changed
    a_notify_says_what_is_new_and_the_next_fetch_brings_it
    a_serial_that_wraps_is_newer
    what_changed_at_a_primary_without_journal_is_found_here
    a_transfer_that_breaks_off_changes_nothing
    a_wrong_key_brings_nothing
    a_transfer_beyond_its_bounds_changes_nothing
    another_primary_is_asked_where_the_first_is_silent_or_behind
    a_definition_makes_a_zone_into_lists
}
