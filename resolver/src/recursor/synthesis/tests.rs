//! Tests of synthesis where it meets the rest of the recursor: zones, anchors, other entries, and the
//! trace. The network has no servers, so that a name that is not synthesised fails.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use policy::name::Name;

use super::*;
use crate::{
    recursor::{
        dnssec::{
            TrustAnchors, ZoneKeys,
            testing::{name, sets},
        },
        environment::TransportOutcome,
        negative_anchors::NegativeTrustAnchor,
        rrset::Credibility,
        settings::{ConfiguredZone, Settings},
        wire::ExpectedReply,
    },
    upstream::{Answer, Question},
};

/// A network without servers, and a clock that stands still.
struct Still;

impl Environment for Still {
    fn now(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn unix_s(&self) -> u64 {
        1_796_083_200
    }

    fn random(&self) -> u64 {
        4
    }

    async fn sleep(&self, _: Duration) {}

    async fn udp(
        &self,
        _: SocketAddr,
        _: &[u8],
        _: &ExpectedReply,
        _: Duration,
    ) -> TransportOutcome {
        TransportOutcome::Timeout
    }

    async fn tcp(
        &self,
        _: SocketAddr,
        _: &[u8],
        _: &ExpectedReply,
        _: Duration,
    ) -> TransportOutcome {
        TransportOutcome::Timeout
    }

    async fn tls(
        &self,
        _: SocketAddr,
        _: &str,
        _: &[u8],
        _: &ExpectedReply,
        _: Duration,
    ) -> TransportOutcome {
        TransportOutcome::Timeout
    }
}

const NOW: Duration = Duration::from_secs(1);
const SOA: &str = "example. 300 SOA ns.example. h.example. 1 3600 600 86400 120";

fn settings() -> Settings {
    Settings {
        prime: false,
        anchors: TrustAnchors::of_root(),
        ..Settings::with_roots(vec!["192.0.2.1".parse().unwrap()])
    }
}

/// A recursor that knows the zone `example`: `www`, and the wildcard `*.wild`.
fn recursor(settings: Settings) -> Recursor<Arc<Still>> {
    let recursor = Recursor::new(settings, Arc::new(Still)).unwrap();
    learn(
        &recursor,
        "example. 300 NSEC *.wild.example. NS SOA RRSIG NSEC DNSKEY
        *.wild.example. 300 NSEC www.example. A RRSIG NSEC
        www.example. 300 NSEC example. A RRSIG NSEC",
    );
    let wildcard = sets("*.wild.example. 60 A 192.0.2.12").remove(0);
    recursor.rrsets.insert_wildcard(wildcard, NOW);
    recursor
}

fn learn(recursor: &Recursor<Arc<Still>>, text: &str) {
    let (soa, proofs) = (sets(SOA), sets(text));
    let proofs = proofs.iter().map(|set| (set, 300));
    let zone = name("example");
    recursor
        .denials
        .learn(zone.borrow(), Some((&soa[0], 300)), proofs, NOW, 50);
}

async fn ask(recursor: &Recursor<Arc<Still>>, text: &str, rtype: Rtype) -> Option<Answer> {
    recursor
        .trace(&Question::new(name(text), rtype))
        .await
        .result
        .ok()
}

/// The code of an answer, and whether it is secure; none where the network would be needed.
async fn code(recursor: &Recursor<Arc<Still>>, text: &str) -> Option<(ResponseCode, bool)> {
    let answer = ask(recursor, text, Rtype::A).await?;
    Some((answer.rcode, answer.is_secure))
}

const NX: Option<(ResponseCode, bool)> = Some((ResponseCode::NXDomain, true));

#[tokio::test(start_paused = true)]
async fn cached_proofs_answer_without_a_query() {
    let recursor = recursor(settings());
    assert_eq!(code(&recursor, "absent.example").await, NX);
    assert_eq!(code(&recursor, "absent.test").await, None);
    let nodata = ask(&recursor, "www.example", Rtype::AAAA).await.unwrap();
    assert_eq!(
        (nodata.rcode, nodata.is_secure),
        (ResponseCode::NoError, true)
    );
    assert_eq!(nodata.authorities[0].ttl, 120);
    let expanded = ask(&recursor, "a.wild.example", Rtype::A).await.unwrap();
    assert!(expanded.is_secure && expanded.answers[0].ttl == 60);
    assert_eq!(expanded.answers[0].name.to_string(), "a.wild.example.");
    // The wildcard has this type, but the cache does not know the data.
    learn(
        &recursor,
        "*.wild.example. 300 NSEC www.example. A TXT RRSIG NSEC",
    );
    assert!(ask(&recursor, "a.wild.example", Rtype::TXT).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn the_trace_shows_what_is_synthesised() {
    let recursor = recursor(settings());
    let question = Question::new(name("absent.example"), Rtype::A);
    let steps = recursor.trace(&question).await.steps;
    let texts: Vec<&str> = steps.iter().map(|step| step.text.as_str()).collect();
    assert_eq!(
        texts,
        ["absent.example: nxdomain by cached proofs of example (RFC 8198)"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_wildcard_does_not_lead_into_a_private_network() {
    let mut settings = settings();
    settings.private_addresses = vec!["192.0.2.0/24".parse().unwrap()];
    settings.private_domains = vec![name("home.wild.example")];
    let recursor = recursor(settings);
    assert!(
        ask(&recursor, "home.wild.example", Rtype::A)
            .await
            .is_some()
    );
    assert!(ask(&recursor, "a.wild.example", Rtype::A).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn the_switches_and_missing_anchors_turn_it_off() {
    let off = Settings {
        aggressive_nsec: false,
        ..settings()
    };
    assert_eq!(code(&recursor(off), "absent.example").await, None);
    let without_anchors = Settings {
        anchors: TrustAnchors::default(),
        ..settings()
    };
    assert_eq!(
        code(&recursor(without_anchors), "absent.example").await,
        None
    );
}

#[tokio::test(start_paused = true)]
async fn an_entry_of_the_exact_name_comes_first() {
    let recursor = recursor(settings());
    let new = sets("new.example. 60 A 192.0.2.9").remove(0);
    recursor
        .rrsets
        .insert(new, Credibility::Authoritative, Duration::MAX, NOW);
    let entry = recursor
        .rrsets
        .get(name("new.example").borrow(), Rtype::A, NOW);
    entry.unwrap().set_security(SecurityStatus::Secure);
    assert_eq!(
        code(&recursor, "new.example").await,
        Some((ResponseCode::NoError, true))
    );
    assert_eq!(code(&recursor, "newer.example").await, NX);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_synthesised_below_a_negative_trust_anchor() {
    let recursor = recursor(settings());
    let anchor = NegativeTrustAnchor {
        name: name("corp.example"),
        until_unix_s: None,
    };
    recursor.set_negative_anchors(vec![anchor]);
    assert_eq!(recursor.denials.len(), 0, "the zone above is forgotten");
    learn(&recursor, "example. 300 NSEC example. NS SOA");
    assert_eq!(code(&recursor, "a.corp.example").await, None);
    assert_eq!(code(&recursor, "a.crop.example").await, NX);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_synthesised_in_zones_that_the_operator_configures() {
    let configured = |zone: &str, role| ConfiguredZone {
        zone: name(zone),
        to: vec!["192.0.2.2:53".parse().unwrap()],
        role,
        tls: None,
        then_recurse: false,
    };
    let mut settings = settings();
    settings.configured_zones = vec![
        configured("forward.example", ServerRole::Forwarder),
        configured("stub.example", ServerRole::Authority),
    ];
    let recursor = recursor(settings);
    for text in ["a.forward.example", "forward.example", "a.stub.example"] {
        assert_eq!(code(&recursor, text).await, None, "{text}");
    }
    assert_eq!(code(&recursor, "a.b.example").await, NX);
}

/// A denial of `gone.example` in the cache, with this status.
fn deny(recursor: &Recursor<Arc<Still>>, proof: &str, status: SecurityStatus) {
    let denial = Denial {
        soa: sets(SOA).pop(),
        proofs: sets(proof),
    };
    let gone = name("gone.example");
    let credibility = Credibility::Authoritative;
    recursor
        .rrsets
        .insert_nxdomain(gone.borrow(), denial, credibility, NOW);
    let entry = recursor.rrsets.nxdomain(gone.borrow(), NOW).unwrap();
    entry.set_security(status);
}

#[tokio::test(start_paused = true)]
async fn a_secure_nxdomain_holds_below_its_name_and_no_other_does() {
    let only = |harden_below_nxdomain| Settings {
        aggressive_nsec: false,
        harden_below_nxdomain,
        ..settings()
    };
    let covering = "example. 300 NSEC example. NS SOA";
    let compact = "gone.example. 300 NSEC \\000.gone.example. RRSIG NSEC TYPE128";
    let secure = SecurityStatus::Secure;
    for (is_on, proof, status, expected) in [
        (true, covering, secure, NX),
        (true, covering, SecurityStatus::Indeterminate, None),
        (true, compact, secure, None),
        (false, covering, secure, None),
    ] {
        let recursor = Recursor::new(only(is_on), Arc::new(Still)).unwrap();
        deny(&recursor, proof, status);
        assert_eq!(code(&recursor, "a.b.gone.example").await, expected);
        assert_eq!(code(&recursor, "begone.example").await, None);
    }
}

#[test]
fn only_sets_that_verified_are_learned() {
    use crate::recursor::dnssec::testing::{Signer, with_context};
    let recursor = Recursor::new(settings(), Arc::new(Still)).unwrap();
    let signer = Signer::new("example", 15);
    let keys: ZoneKeys = signer.keys();
    let good = signer.signed(sets("a.example. 300 NSEC m.example. A").remove(0));
    let forged = sets("m.example. 300 NSEC z.example. A").remove(0);
    let sets = [forged, good];
    let proofs = with_context(|context| Proofs::verify(&sets, &keys, context)).unwrap();
    assert_eq!(proofs.verified().len(), 1);
    let soa = signer.signed(crate::recursor::dnssec::testing::sets(SOA).remove(0));
    recursor.learn_denial(keys.zone(), Some((&soa, 300)), &sets, &proofs);
    let at = |text: &str| {
        let context = QueryContext::new(NOW, &Question::new(Name::root(), Rtype::A), false);
        let found = recursor.synthesised(&context, name(text).borrow(), Rtype::TXT);
        found.is_some()
    };
    assert!(at("a.example") && !at("m.example"));
}
