//! Ghost domains: servers that the parent zone has replaced or removed. They are gone when the
//! parent's TTL ends, whatever their own records say and however often clients query them.

use std::{sync::Arc, time::Duration};

use hickory_proto::{op::Message, rr::RecordType};
use policy::name::Name;
use resolver::{
    message::types::Rtype,
    recursor::{Environment as _, Recursor},
    upstream::Question,
};
use tokio::time::sleep;

use super::script::*;

const OLD: &str = "10.9.1.1";
const NEW: &str = "10.9.1.2";
/// The addresses that the old and the new server give to all names.
const BEFORE: &str = "192.0.2.1";
const AFTER: &str = "192.0.2.2";

/// The top-level domain `own` with these delegations.
fn own(seed: u64, delegations: &str) -> Script {
    let script = Script::new(seed);
    script.serve(ROOT, authority(&[(".", ". 3600 NS a.root.\na.root. 3600 A 10.0.0.1\nown. 3600 NS t.own.\nt.own. 3600 A 10.0.0.2\n")]));
    delegate(&script, delegations);
    script
}

fn delegate(script: &Script, delegations: &str) {
    script.serve(
        TLD,
        authority(&[("own.", &format!("t.own. 3600 A 10.0.0.2\n{delegations}"))]),
    );
}

type Hosts = &'static [(&'static str, &'static str)];

/// A server of a zone. It gives all names the same address with a TTL of one second, and sends the
/// zone's NS RRset with a TTL of two hours in each response.
fn insists(
    zone: &'static str,
    servers: Hosts,
    address: &'static str,
) -> impl Fn(&Message, bool) -> Play + Send + Sync + use<> {
    move |query, tcp| {
        let name = query.queries[0].name.to_lowercase().to_ascii();
        let kind = query.queries[0].query_type;
        let known = servers.iter().find(|(server, _)| *server == name);
        let mut said = match (kind, known) {
            (RecordType::A, Some((_, own))) => format!("an {name} 7200 A {own}\n"),
            (RecordType::A, None) => format!("an {name} 1 A {address}\n"),
            _ => format!("ns {zone} 1 SOA n. h. 1 2 3 4 1\n"),
        };
        for (server, own) in servers {
            said += &format!("ns {zone} 7200 NS {server}\nar {server} 7200 A {own}\n");
        }
        says(&[("*.", &format!("NOERROR aa\n{said}"))])(query, tcp)
    }
}

/// Queries new names and returns the addresses that came back.
async fn fresh(recursor: &Recursor<Arc<Script>>, script: &Script, zone: &str) -> String {
    let mut all = Vec::new();
    for number in 0..4 {
        let name = format!("t{}-{number}.{zone}", script.now().as_millis());
        all.push(ask(recursor, &name, RecordType::A).await);
    }
    all.dedup();
    all.join(", ").replace("NoError ", "")
}

const MOVED_BEFORE: &str = "moved.own. 5 NS n.moved.own.\nn.moved.own. 5 A 10.9.1.1\n";
const MOVED_AFTER: &str = "moved.own. 5 NS n.moved.own.\nn.moved.own. 5 A 10.9.1.2\n";

#[tokio::test(start_paused = true)]
async fn a_server_whose_address_the_parent_changed_is_gone() {
    for seed in 0..4 {
        let script = own(seed, MOVED_BEFORE);
        script.serve(OLD, insists("moved.own.", &[("n.moved.own.", OLD)], BEFORE));
        script.serve(NEW, insists("moved.own.", &[("n.moved.own.", NEW)], AFTER));
        let (recursor, script) = recursor(script);
        assert_eq!(fresh(&recursor, &script, "moved.own").await, BEFORE);
        assert_eq!(
            ask(&recursor, "n.moved.own", RecordType::A).await,
            format!("NoError {OLD}")
        );
        delegate(&script, MOVED_AFTER);
        // Clients query all the time, also the server's address, with prefetches.
        for _ in 0..6 {
            sleep(Duration::from_secs(1)).await;
            fresh(&recursor, &script, "moved.own").await;
            let prefetch = Question {
                prefetch: true,
                ..Question::new(Name::parse("n.moved.own").unwrap(), Rtype::A)
            };
            recursor.trace(&prefetch).await.result.unwrap();
        }
        script.queries();
        for second in 0..20 {
            assert_eq!(
                fresh(&recursor, &script, "moved.own").await,
                AFTER,
                "{second} s later"
            );
            sleep(Duration::from_secs(1)).await;
        }
        assert!(
            !script.queries().iter().any(|line| line.starts_with(OLD)),
            "the old server is not queried any more"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn servers_that_the_parent_replaced_are_gone() {
    for (seed, host) in ["m.sold.own.", "n.sold.own."].into_iter().enumerate() {
        let script = own(
            seed as u64,
            "sold.own. 5 NS n.sold.own.\nn.sold.own. 5 A 10.9.1.1\n",
        );
        script.serve(
            OLD,
            insists(
                "sold.own.",
                &[("n.sold.own.", OLD), ("o.sold.own.", OLD)],
                BEFORE,
            ),
        );
        script.serve(NEW, insists("sold.own.", &[("m.sold.own.", NEW)], AFTER));
        let (recursor, script) = recursor(script);
        assert_eq!(fresh(&recursor, &script, "sold.own").await, BEFORE);
        delegate(
            &script,
            &format!("sold.own. 5 NS {host}\n{host} 5 A 10.9.1.2\n"),
        );
        sleep(Duration::from_secs(6)).await;
        script.queries();
        for second in 0..20 {
            assert_eq!(
                fresh(&recursor, &script, "sold.own").await,
                AFTER,
                "{second} s later"
            );
            sleep(Duration::from_secs(1)).await;
        }
        assert!(
            !script.queries().iter().any(|line| line.starts_with(OLD)),
            "the old server is not queried any more"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn apex_ns_records_add_servers_until_the_delegation_expires() {
    let script = own(
        2,
        "more.own. 30 NS n.more.own.\nn.more.own. 30 A 10.9.1.1\n",
    );
    script.serve(
        OLD,
        insists(
            "more.own.",
            &[("n.more.own.", OLD), ("o.more.own.", NEW)],
            BEFORE,
        ),
    );
    script.serve(
        NEW,
        insists(
            "more.own.",
            &[("n.more.own.", OLD), ("o.more.own.", NEW)],
            BEFORE,
        ),
    );
    let (recursor, script) = recursor(script);
    assert_eq!(fresh(&recursor, &script, "more.own").await, BEFORE);
    script.serve(OLD, |_, _| Play::Silence);
    assert_eq!(
        fresh(&recursor, &script, "more.own").await,
        BEFORE,
        "by the server of the apex NS RRset"
    );
    sleep(Duration::from_secs(31)).await;
    assert!(
        !fresh(&recursor, &script, "more.own").await.contains(BEFORE),
        "which the parent does not have"
    );
}

#[tokio::test(start_paused = true)]
async fn the_address_of_a_glueless_server_expires_with_the_delegation() {
    let glueless = "moved.own. 5 NS m.moved.own.\n";
    let script = own(3, &format!("{MOVED_BEFORE}{glueless}"));
    let old: Hosts = &[("n.moved.own.", OLD), ("m.moved.own.", OLD)];
    script.serve(OLD, insists("moved.own.", old, BEFORE));
    script.serve(
        NEW,
        insists(
            "moved.own.",
            &[("n.moved.own.", NEW), ("m.moved.own.", NEW)],
            AFTER,
        ),
    );
    let (recursor, script) = recursor(script);
    assert_eq!(fresh(&recursor, &script, "moved.own").await, BEFORE);
    assert_eq!(
        ask(&recursor, "m.moved.own", RecordType::A).await,
        format!("NoError {OLD}")
    );
    delegate(&script, &format!("{MOVED_AFTER}{glueless}"));
    for _ in 0..6 {
        sleep(Duration::from_secs(1)).await;
        ask(&recursor, "m.moved.own", RecordType::A).await;
        fresh(&recursor, &script, "moved.own").await;
    }
    for second in 0..20 {
        assert_eq!(
            fresh(&recursor, &script, "moved.own").await,
            AFTER,
            "{second} s later"
        );
        sleep(Duration::from_secs(1)).await;
    }
}

/// A zone two steps down whose server has its name in the zone between.
#[tokio::test(start_paused = true)]
async fn what_a_replaced_server_delegated_further_down_goes_with_it() {
    let script = own(4, MOVED_BEFORE);
    let between = |host: &'static str, own: &'static str| {
        let zone = format!(
            "n.moved.own. 7200 A {own}\nh.moved.own. 7200 A {host}\ng.moved.own. 7200 NS h.moved.own.\n"
        );
        authority(&[("moved.own.", &zone)])
    };
    script.serve(OLD, between("10.9.2.1", OLD));
    script.serve(NEW, between("10.9.2.2", NEW));
    script.serve(
        "10.9.2.1",
        insists("g.moved.own.", &[("h.moved.own.", "10.9.2.1")], BEFORE),
    );
    script.serve(
        "10.9.2.2",
        insists("g.moved.own.", &[("h.moved.own.", "10.9.2.2")], AFTER),
    );
    let (recursor, script) = recursor(script);
    assert_eq!(fresh(&recursor, &script, "g.moved.own").await, BEFORE);
    assert_eq!(
        ask(&recursor, "h.moved.own", RecordType::A).await,
        "NoError 10.9.2.1"
    );
    delegate(&script, MOVED_AFTER);
    sleep(Duration::from_secs(6)).await;
    for second in 0..20 {
        assert_eq!(
            fresh(&recursor, &script, "g.moved.own").await,
            AFTER,
            "{second} s later"
        );
        sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn two_zones_that_serve_each_other_do_not_keep_each_other_alive() {
    let delegations = |address: &str| {
        format!(
            "a.own. 5 NS n.b.own.\nb.own. 5 NS n.a.own.\nn.a.own. 5 A {address}\nn.b.own. 5 A {address}\n"
        )
    };
    let script = own(5, &delegations(OLD));
    for (server, said) in [(OLD, BEFORE), (NEW, AFTER)] {
        let a = insists(
            "a.own.",
            if server == OLD {
                &[("n.a.own.", OLD)]
            } else {
                &[("n.a.own.", NEW)]
            },
            said,
        );
        let b = insists(
            "b.own.",
            if server == OLD {
                &[("n.b.own.", OLD)]
            } else {
                &[("n.b.own.", NEW)]
            },
            said,
        );
        let is_of_a = |query: &Message| {
            query.queries[0]
                .name
                .to_lowercase()
                .to_ascii()
                .ends_with("a.own.")
        };
        script.serve(server, move |query, tcp| {
            if is_of_a(query) {
                a(query, tcp)
            } else {
                b(query, tcp)
            }
        });
    }
    let (recursor, script) = recursor(script);
    let kept_alive = async |rounds: usize| {
        let mut said = Vec::new();
        for _ in 0..rounds {
            said.push(fresh(&recursor, &script, "a.own").await);
            sleep(Duration::from_millis(700)).await;
            said.push(fresh(&recursor, &script, "b.own").await);
            for server in ["n.a.own", "n.b.own"] {
                ask(&recursor, server, RecordType::A).await;
            }
            sleep(Duration::from_millis(700)).await;
        }
        said.sort();
        said.dedup();
        said
    };
    assert_eq!(kept_alive(4).await, [BEFORE]);
    delegate(&script, &delegations(NEW));
    kept_alive(5).await;
    assert_eq!(kept_alive(20).await, [AFTER]);
}

/// The registry has stale glue of a server whose own zone has the right address.
#[tokio::test(start_paused = true)]
async fn stale_glue_gives_way_to_the_address_in_the_servers_own_zone() {
    const STALE: &str = "10.9.9.9";
    let other = "else.own. 600 NS t.else.own.\nt.else.own. 600 A 10.9.1.1\n";
    let script = own(
        6,
        &format!("{other}guest.own. 600 NS h.else.own.\nh.else.own. 600 A {STALE}\n"),
    );
    script.serve(
        OLD,
        insists(
            "else.own.",
            &[("t.else.own.", OLD), ("h.else.own.", NEW)],
            BEFORE,
        ),
    );
    script.serve(NEW, insists("guest.own.", &[("h.else.own.", NEW)], AFTER));
    script.serve(STALE, says(&[]));
    let (recursor, script) = recursor(script);
    assert_eq!(
        ask(&recursor, "first.guest.own", RecordType::A).await,
        format!("NoError {AFTER}")
    );
    script.queries();
    assert_eq!(fresh(&recursor, &script, "guest.own").await, AFTER);
    assert!(
        script.queries().iter().all(|line| line.starts_with(NEW)),
        "lame servers are queried last"
    );
}

#[tokio::test(start_paused = true)]
async fn a_delegation_learned_late_expires_with_the_zone_above() {
    let script = own(
        7,
        "taken.own. 10 NS n.taken.own.\nn.taken.own. 10 A 10.9.1.1\n",
    );
    script.serve(
        OLD,
        authority(&[(
            "taken.own.",
            "n.taken.own. 7200 A 10.9.1.1\nsub.taken.own. 7200 NS n.sub.taken.own.\nn.sub.taken.own. 7200 A 10.9.1.2\n",
        )]),
    );
    script.serve(
        NEW,
        insists("sub.taken.own.", &[("n.sub.taken.own.", NEW)], AFTER),
    );
    let (recursor, script) = recursor(script);
    assert_eq!(ask(&recursor, "taken.own", RecordType::A).await, "NoError");
    sleep(Duration::from_secs(9)).await;
    assert_eq!(fresh(&recursor, &script, "sub.taken.own").await, AFTER);
    delegate(&script, "");
    sleep(Duration::from_secs(2)).await;
    assert_eq!(fresh(&recursor, &script, "sub.taken.own").await, "NXDomain");
}
