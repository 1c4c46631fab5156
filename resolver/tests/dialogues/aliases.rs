//! CNAME and DNAME: how many aliases are followed, and that a DNAME is never lost.

use std::time::Duration;

use hickory_proto::rr::RecordType;
use policy::name::Name;
use resolver::{
    message::types::Rtype,
    recursor::{ConfiguredZone, ResolutionFailure, ServerRole},
    upstream::Question,
};
use tokio::time::sleep;

use super::script::*;

const DNAME: &str = "an d.example.com. 300 DNAME e.example.com.";
const SYNTHESISED: &str = "an w.d.example.com. 300 CNAME w.e.example.com.";

/// A zone with a DNAME. Its servers send it with or without the synthesised CNAME.
fn with_dname(seed: u64, with_cname: bool) -> Script {
    let script = usual(seed);
    let both = if with_cname {
        format!("NOERROR aa\n{DNAME}\n{SYNTHESISED}")
    } else {
        format!("NOERROR aa\n{DNAME}")
    };
    for server in [FIRST, SECOND] {
        let lines = [
            ("w.d.example.com. CNAME", both.as_str()),
            ("d.example.com. DNAME", &format!("NOERROR aa\n{DNAME}")),
            (
                "w.e.example.com. A",
                "NOERROR aa\nan w.e.example.com. 300 A 192.0.2.1",
            ),
            (
                "w.e.example.com. AAAA",
                "NOERROR aa\nan w.e.example.com. 300 AAAA 2001:db8::1",
            ),
            (
                "w.e.example.com. DNAME",
                "NOERROR aa\nan w.e.example.com. 300 DNAME f.example.com.",
            ),
            ("*.d.example.com.", &both),
            (
                "*.example.com.",
                "NOERROR aa\nns example.com. 300 SOA n. h. 1 2 3 4 300",
            ),
        ];
        script.serve(server, says(&lines));
    }
    script
}

const REDIRECTED: [&str; 3] = [
    "NoError",
    "d.example.com. DNAME",
    "w.d.example.com. CNAME w.e.example.com.",
];

#[tokio::test(start_paused = true)]
async fn a_dname_precedes_its_synthesised_cname_each_time() {
    for (seed, with_cname) in [(1, true), (2, false)] {
        let (recursor, script) = recursor(with_dname(seed, with_cname));
        for round in 0..2 {
            let a = lines(&recursor, "w.d.example.com", RecordType::A).await;
            assert_eq!(
                a,
                [&REDIRECTED[..], &["w.e.example.com. A 192.0.2.1"]].concat(),
                "round {round}"
            );
            let aaaa = lines(&recursor, "w.d.example.com", RecordType::AAAA).await;
            assert_eq!(
                aaaa,
                [&REDIRECTED[..], &["w.e.example.com. AAAA 2001:db8::1"]].concat(),
                "round {round}"
            );
            // The alias itself, which is cached already.
            assert_eq!(
                lines(&recursor, "w.d.example.com", RecordType::CNAME).await,
                REDIRECTED,
                "round {round}"
            );
            let dname = lines(&recursor, "w.d.example.com", RecordType::DNAME).await;
            assert_eq!(
                dname,
                [&REDIRECTED[..], &["w.e.example.com. DNAME"]].concat(),
                "round {round}"
            );
            assert_eq!(
                lines(&recursor, "d.example.com", RecordType::DNAME).await,
                REDIRECTED[..2],
                "a DNAME does not redirect its own name"
            );
            sleep(Duration::from_secs(1)).await;
            assert_eq!(script.queries().is_empty(), round > 0, "round {round}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_alias_below_a_cached_dname_is_synthesised() {
    let (recursor, script) = recursor(with_dname(3, true));
    assert_eq!(
        lines(&recursor, "w.d.example.com", RecordType::CNAME).await,
        REDIRECTED
    );
    script.queries();
    let other = lines(&recursor, "other.d.example.com", RecordType::CNAME).await;
    assert_eq!(
        other,
        [
            "NoError",
            "d.example.com. DNAME",
            "other.d.example.com. CNAME other.e.example.com."
        ]
    );
    assert_eq!(script.queries(), [""; 0]);
    sleep(Duration::from_secs(100)).await;
    let traced = recursor
        .trace(&Question::new(
            Name::parse("x.d.example.com").unwrap(),
            Rtype::CNAME,
        ))
        .await;
    let ttls: Vec<u32> = traced
        .result
        .unwrap()
        .answers
        .iter()
        .map(|record| record.ttl)
        .collect();
    assert_eq!(ttls, [200, 200], "the alias has the TTL of the DNAME");
}

#[tokio::test(start_paused = true)]
async fn a_dname_that_makes_too_long_a_name_is_yxdomain() {
    let labels = |letter: &str, length, count| vec![letter.repeat(length); count].join(".");
    let name = format!("{}.d.yx", labels("m", 40, 2));
    let dname = format!("an d.yx. 300 DNAME {}.e.yx.", labels("l", 60, 3));
    for (seed, code) in ["YXDOMAIN", "NOERROR"].into_iter().enumerate() {
        let script = Script::new(seed as u64);
        script.serve(
            ROOT,
            authority(&[(".", &format!(". 3600 NS a.root.\na.root. 3600 A {ROOT}\nyx. 3600 NS n.yx.\nn.yx. 3600 A {TLD}\n"))]),
        );
        script.serve(
            TLD,
            says(&[
                ("*.yx.", &format!("{code} aa\n{dname}")),
                ("to.yx. A", "NOERROR aa"),
            ]),
        );
        let (recursor, script) = recursor(script);
        for round in 0..2 {
            assert_eq!(
                lines(&recursor, &name, RecordType::A).await,
                ["YXDomain", "d.yx. DNAME"]
            );
            assert_eq!(script.queries().is_empty(), round > 0, "round {round}");
        }
        assert_eq!(
            lines(&recursor, &name, RecordType::CNAME).await,
            ["YXDomain", "d.yx. DNAME"]
        );
    }
}

/// A chain of aliases in one zone.
fn chain(count: usize) -> String {
    let aliases = (0..count).map(|number| {
        format!(
            "c{number}.example.com. 60 CNAME c{}.example.com.\n",
            number + 1
        )
    });
    aliases
        .chain([format!("c{count}.example.com. 60 A 192.0.2.1\n")])
        .collect()
}

#[tokio::test(start_paused = true)]
async fn sixteen_aliases_are_followed_and_no_more() {
    for (count, is_followed) in [(12, true), (16, true), (17, false)] {
        let script = usual(4);
        for server in [FIRST, SECOND] {
            script.serve(
                server,
                authority(&[("example.com.", &format!("{EXAMPLE}{}", chain(count)))]),
            );
        }
        let (recursor, _) = recursor(script);
        for round in 0..2 {
            let said = ask(&recursor, "c0.example.com", RecordType::A).await;
            if is_followed {
                assert!(
                    said.starts_with("NoError c1.example.com.") && said.ends_with(" 192.0.2.1"),
                    "{said}"
                );
                assert_eq!(said.split(' ').count(), 2 + count, "round {round}: {said}");
            } else {
                assert_eq!(
                    said,
                    format!("{:?}", ResolutionFailure::TooManyAliases),
                    "round {round}"
                );
            }
        }
        // The failure does not affect a query that begins further down the chain.
        let said = ask(&recursor, "c1.example.com", RecordType::A).await;
        assert!(said.ends_with(" 192.0.2.1"), "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_forwarder_may_send_sixteen_aliases_in_one_response() {
    for (count, is_followed) in [(16, true), (17, false)] {
        let script = Script::new(5);
        let records: String = chain(count)
            .lines()
            .map(|line| format!("an {line}\n"))
            .collect();
        script.serve(
            FIRST,
            says(&[("c0.example.com. A", &format!("NOERROR ra\n{records}"))]),
        );
        let forward = ConfiguredZone {
            zone: Name::root(),
            to: vec![format!("{FIRST}:53").parse().unwrap()],
            role: ServerRole::Forwarder,
            tls: None,
            then_recurse: false,
        };
        let (recursor, script) =
            recursor_with(script, |settings| settings.configured_zones = vec![forward]);
        let said = ask(&recursor, "c0.example.com", RecordType::A).await;
        let right = if is_followed {
            " 192.0.2.1".to_owned()
        } else {
            format!("{:?}", ResolutionFailure::TooManyAliases)
        };
        assert!(said.ends_with(&right), "{said}");
        assert_eq!(
            script.queries(),
            [format!("{FIRST} c0.example.com. A")],
            "its answer is believed, and it gets the full name"
        );
    }
}
