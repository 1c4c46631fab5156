//! What a name server's data may lead to: private networks, glue, and servers without glue.

use hickory_proto::rr::RecordType;
use policy::name::Name;
use resolver::recursor::ResolutionFailure;

use super::script::*;

/// Names that lead into a private network.
const REBINDING: &str = "home.example.com. 60 A 192.168.0.1\nhome.example.com. 60 AAAA fd00::1\nhome.example.com. 60 MX 10 home.example.com.\n\
    both.example.com. 60 A 192.168.0.1\nboth.example.com. 60 A 192.0.2.5\nfar.example.com. 60 CNAME home.example.com.\n\
    home.own.example.com. 60 A 192.168.0.1\n";

#[tokio::test(start_paused = true)]
async fn a_name_of_the_internet_does_not_lead_into_a_private_network() {
    let script = usual(17);
    for server in [FIRST, SECOND] {
        script.serve(server, authority(&[("example.com.", REBINDING)]));
    }
    let (recursor, _) = recursor_with(script, |settings| {
        settings.private_addresses = vec![
            "192.168.0.0/16".parse().unwrap(),
            "fc00::/7".parse().unwrap(),
        ];
        settings.private_domains = vec![Name::parse("own.example.com").unwrap()];
    });
    for round in 0..2 {
        for (name, kind, expected) in [
            ("home.example.com", RecordType::A, "NoError"),
            ("home.example.com", RecordType::AAAA, "NoError"),
            (
                "home.example.com",
                RecordType::MX,
                "NoError 10 home.example.com.",
            ),
            ("both.example.com", RecordType::A, "NoError 192.0.2.5"),
            (
                "far.example.com",
                RecordType::A,
                "NoError home.example.com.",
            ),
            ("home.own.example.com", RecordType::A, "NoError 192.168.0.1"),
        ] {
            assert_eq!(
                ask(&recursor, name, kind).await,
                expected,
                "{name} {kind}, round {round}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn glue_out_of_bailiwick_is_not_used_with_harden_glue() {
    const FOREIGN: &str = "10.6.6.6";
    for (harden_glue, is_asked) in [(true, false), (false, true)] {
        let script = usual(18);
        let referral =
            format!("NOERROR\nns evil.com. 60 NS ns.bank.net.\nar ns.bank.net. 60 A {FOREIGN}");
        script.serve(TLD, says(&[("*.evil.com.", &referral)]));
        script.serve(
            FOREIGN,
            says(&[(
                "*.evil.com.",
                "NOERROR aa\nan www.evil.com. 60 A 192.0.2.66",
            )]),
        );
        let (recursor, script) =
            recursor_with(script, |settings| settings.harden_glue = harden_glue);
        let said = ask(&recursor, "www.evil.com", RecordType::A).await;
        assert_eq!(said == "NoError 192.0.2.66", is_asked, "{said}");
        assert_eq!(
            script
                .queries()
                .iter()
                .any(|line| line.starts_with(FOREIGN)),
            is_asked
        );
    }
}

/// A zone whose server has its name in another zone, so that its address must be looked up. `lines`
/// are the responses for that name.
fn glueless(seed: u64, lines: &[(&str, &str)]) -> Script {
    let script = usual(seed);
    let mut all = vec![(
        "*.guest.com.",
        "NOERROR\nns guest.com. 60 NS ns.example.com.",
    )];
    all.push((
        "*.example.com.",
        "NOERROR\nns example.com. 60 NS ns1.example.com.\nar ns1.example.com. 60 A 10.0.0.3",
    ));
    script.serve(TLD, says(&all));
    script.serve(FIRST, says(lines));
    script.serve(
        SECOND,
        says(&[(
            "www.guest.com. A",
            "NOERROR aa\nan www.guest.com. 60 A 192.0.2.1",
        )]),
    );
    script
}

#[tokio::test(start_paused = true)]
async fn a_glueless_server_is_looked_up_in_each_family_that_is_used() {
    let v4 = (
        "ns.example.com. A",
        "NOERROR aa\nan ns.example.com. 60 A 10.0.0.4",
    );
    let v6 = (
        "ns.example.com. AAAA",
        "NOERROR aa\nan ns.example.com. 60 AAAA 2001:db8::4",
    );
    let alias = (
        "ns.example.com. A",
        "NOERROR aa\nan ns.example.com. 60 CNAME host.example.com.",
    );
    let host = (
        "host.example.com. A",
        "NOERROR aa\nan host.example.com. 60 A 10.0.0.4",
    );
    let no_v4 = (
        "ns.example.com. A",
        "NOERROR aa\nns example.com. 60 SOA n. h. 1 2 3 4 60",
    );
    let none = (
        "*.ns.example.com.",
        "NXDOMAIN aa\nns example.com. 60 SOA n. h. 1 2 3 4 60",
    );
    let found = "NoError 192.0.2.1".to_owned();
    let no_servers = format!("{:?}", ResolutionFailure::NoServers);
    type Case<'c> = (
        &'c str,
        &'c [(&'c str, &'c str)],
        bool,
        &'c str,
        &'c [&'c str],
    );
    let cases: [Case<'_>; 5] = [
        (
            "IPv4 first, and no IPv6 where that is enough",
            &[v4, v6],
            true,
            &found,
            &["ns.example.com. A"],
        ),
        (
            "IPv6 where there is no IPv4",
            &[no_v4, v6],
            true,
            &found,
            &["ns.example.com. A", "ns.example.com. AAAA"],
        ),
        (
            "no IPv6 where that is off",
            &[no_v4, v6],
            false,
            &no_servers,
            &["ns.example.com. A"],
        ),
        (
            "no second family for a name that does not exist",
            &[none],
            true,
            &no_servers,
            &["ns.example.com. A"],
        ),
        (
            "an alias is followed",
            &[alias, host],
            true,
            &found,
            &["ns.example.com. A", "host.example.com. A"],
        ),
    ];
    for (what, lines, ipv6, expected, looked_up) in cases {
        let script = glueless(19, lines);
        script.serve(
            "2001:db8::4",
            says(&[(
                "www.guest.com. A",
                "NOERROR aa\nan www.guest.com. 60 A 192.0.2.1",
            )]),
        );
        let (recursor, script) = recursor_with(script, |settings| {
            (settings.ipv6, settings.case_randomisation) = (ipv6, false)
        });
        assert_eq!(
            ask(&recursor, "www.guest.com", RecordType::A).await,
            expected,
            "{what}"
        );
        assert_eq!(at(&script.queries(), FIRST), looked_up, "{what}");
    }
}
