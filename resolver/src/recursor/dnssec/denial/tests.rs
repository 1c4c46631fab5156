//! Tests of proofs as a whole: verified sets, iterations, TTLs, faults.

use super::*;
use crate::recursor::dnssec::{
    context::ValidationSettings,
    nsec3::hash_of_name,
    testing::{NOW, Signer, Terms, name, set, sets, with_context, with_context_at},
};

/// A signed record of the zone `example` that covers all other names, with these iterations.
fn by_nsec3(signer: &Signer, iterations: u16) -> RrSet {
    let hash = hash_of_name(name("example").borrow(), &[], iterations);
    let hash = data_encoding::BASE32_DNSSEC.encode(&hash);
    let text = format!("{hash}.example. 300 NSEC3 1 0 {iterations} - {hash} NS SOA DNSKEY");
    signer.signed(set(&text))
}

fn ask(sets: &[RrSet], signer: &Signer, limit: u16) -> Result<Denied, ValidationFault> {
    let settings = ValidationSettings {
        nsec3_iterations_max: limit,
        ..ValidationSettings::default()
    };
    with_context_at(NOW, settings, |context| {
        let mut proofs = Proofs::verify(sets, &signer.keys(), context)?;
        proofs.nxdomain(name("a.example").borrow(), context)
    })
}

/// RFC 9276 section 3.2.
#[test]
fn too_many_iterations_make_a_denial_insecure() {
    let signer = Signer::new("example", 15);
    let insecurity = |iterations, limit| {
        ask(&[by_nsec3(&signer, iterations)], &signer, limit).map(|denied| denied.insecurity)
    };
    let too_many = Ok(Some(InsecurityCause::TooManyIterations));
    assert_eq!(insecurity(0, 50), Ok(None));
    assert_eq!(insecurity(50, 50), Ok(None));
    assert_eq!(insecurity(51, 50), too_many);
    assert_eq!(insecurity(2_500, 50), too_many);
    assert_eq!(insecurity(1, 0), too_many);
    assert_eq!(insecurity(100, 150), Ok(None));
}

/// RFC 9276 section 3.2: the signature is verified all the same, or else the number is a lie.
#[test]
fn iterations_of_an_unsigned_record_make_nothing_insecure() {
    let signer = Signer::new("example", 15);
    let mut forged = by_nsec3(&signer, 51);
    forged.signatures.clear();
    assert_eq!(
        ask(&[forged], &signer, 50),
        Err(ValidationFault::SignatureMissing)
    );
}

#[test]
fn only_sets_that_verify_prove_anything() {
    let signer = Signer::new("example", 15);
    let apex = set("example. 300 NSEC z.example. NS SOA");
    assert!(ask(&[signer.signed(apex.clone())], &signer, 50).is_ok());
    assert_eq!(
        ask(std::slice::from_ref(&apex), &signer, 50),
        Err(ValidationFault::SignatureMissing)
    );
    let expired = Terms {
        inception: NOW - 500_000,
        expiration: NOW - 200_000,
        ..Terms::default()
    };
    let expired = signer.signed_on(apex.clone(), &expired);
    assert_eq!(
        ask(&[expired], &signer, 50),
        Err(ValidationFault::SignatureExpired)
    );
    let foreign = Signer::new("test", 15);
    assert_eq!(
        ask(&[foreign.signed(apex)], &signer, 50),
        Err(ValidationFault::SignerForeign)
    );
    assert_eq!(ask(&[], &signer, 50), Err(ValidationFault::DenialMissing));
}

/// CVE-2017-15105: the record of `*.example` as if it were one of b.example.
#[test]
fn a_record_expanded_from_a_wildcard_proves_nothing() {
    let signer = Signer::new("example", 15);
    let wildcard = signer.signed(set("*.example. 300 NSEC z.example. A"));
    let mut moved = wildcard;
    moved.owner = name("a.example");
    let outcome = ask(&[moved], &signer, 50);
    assert_eq!(outcome, Err(ValidationFault::WildcardForbidden));
}

#[test]
fn a_proof_is_kept_as_long_as_its_shortest_set() {
    let signer = Signer::new("example", 15);
    let apex = signer.signed(set("example. 300 NSEC b.example. NS SOA"));
    let short = Terms {
        original_ttl_s: 40,
        ..Terms::default()
    };
    let other = signer.signed_on(set("b.example. 70 NSEC c.example. A"), &short);
    let ttl = |sets: &[RrSet]| ask(sets, &signer, 50).map(|denied| denied.ttl_max_s);
    assert_eq!(ttl(std::slice::from_ref(&apex)), Ok(300));
    assert_eq!(ttl(&[apex, other]), Ok(40));
}

#[test]
fn a_name_outside_the_zone_is_denied_by_nothing() {
    let apex = sets("example. 300 NSEC example. NS SOA");
    let zone = name("example");
    let mut proofs = Proofs::from_secure(apex.iter(), zone.borrow());
    with_context(|context| {
        for text in ["test", "a.test", "xample"] {
            let other = name(text);
            let missing = Err(ValidationFault::DenialMissing);
            assert_eq!(proofs.nxdomain(other.borrow(), context), missing);
            assert_eq!(proofs.nodata(other.borrow(), Rtype::A, context), missing);
        }
        assert!(proofs.nxdomain(name("a.example").borrow(), context).is_ok());
    });
}

/// Both kinds in one response: either may prove it.
#[test]
fn nsec3_proves_what_nsec_does_not() {
    let signer = Signer::new("example", 15);
    let unrelated = signer.signed(set("x.example. 300 NSEC y.example. A"));
    assert!(ask(&[unrelated, by_nsec3(&signer, 0)], &signer, 50).is_ok());
}

/// RFC 9824 section 3.1: NXNAME says that the name does not exist, whatever the response code. That
/// of another name says nothing.
#[test]
fn compact_denials_deny_their_own_name_by_nsec_and_nsec3() {
    let hash_of = |text: &str, salt: &[u8]| {
        let hash = hash_of_name(name(text).borrow(), salt, 0);
        data_encoding::BASE32_DNSSEC.encode(&hash)
    };
    let (plain, salted) = (
        hash_of("a.example", &[]),
        hash_of("a.example", &[0xaa, 0xbb]),
    );
    for (text, denies) in [
        (
            "a.example. 300 NSEC \\000.a.example. RRSIG NSEC TYPE128".to_owned(),
            true,
        ),
        (
            "a.example. 300 NSEC \\000.a.example. A RRSIG NSEC".to_owned(),
            false,
        ),
        (
            format!("{plain}.example. 60 NSEC3 1 0 0 - {plain} TYPE128"),
            true,
        ),
        (
            format!("{plain}.example. 60 NSEC3 1 0 0 - {plain} A RRSIG"),
            false,
        ),
        (
            format!("{salted}.example. 60 NSEC3 1 0 0 aabb {salted} TYPE128 RRSIG"),
            true,
        ),
    ] {
        let sets = [set(&text)];
        assert_eq!(
            denies_the_name(&sets, name("a.example").borrow()),
            denies,
            "{text}"
        );
        assert!(
            !denies_the_name(&sets, name("b.example").borrow()),
            "{text}"
        );
    }
    let soa = set("example. 60 SOA . . 1 1 1 1 1");
    assert!(!denies_the_name(&[soa], name("example").borrow()));
}

/// RFC 4035 section 3.2.3: with AD, all that is sent is authentic.
#[test]
fn sets_that_do_not_verify_are_left_out() {
    let signer = Signer::new("example", 15);
    let stranger = Signer::new("example", 15);
    let mut sets = vec![
        set("zz.example. 300 NSEC \\000.zz.example. RRSIG NSEC TYPE128"),
        signer.signed(set("a.example. 300 NSEC c.example. A RRSIG NSEC")),
        stranger.signed(set("d.example. 300 NSEC e.example. A RRSIG NSEC")),
    ];
    with_context(|context| {
        let proofs = Proofs::verify(&sets, &signer.keys(), context).expect("few signatures");
        proofs.keep_verified(&mut sets);
    });
    assert_eq!(sets.len(), 1);
    assert_eq!(sets[0].owner, name("a.example"));
}

/// RFC 9824: such a proof must not be used for other names.
#[test]
fn a_compact_denial_is_marked() {
    let signer = Signer::new("example", 15);
    let compact = signer.signed(set(
        "a.example. 300 NSEC \\000.a.example. RRSIG NSEC TYPE128",
    ));
    assert_eq!(
        ask(&[compact], &signer, 50).map(|denied| denied.is_compact),
        Ok(true)
    );
    let plain = signer.signed(set("example. 300 NSEC example. NS SOA"));
    assert_eq!(
        ask(&[plain], &signer, 50).map(|denied| denied.is_compact),
        Ok(false)
    );
}

/// PowerDNS #17136: AD for a name that RFC 4592 forbids. The encloser of the answer counts, and the
/// closer name must not exist.
#[test]
fn a_wildcard_answer_needs_its_next_closer_name_denied() {
    let sets = sets(
        "*.w.example. 300 NSEC x.y.w.example. A
                     x.y.w.example. 300 NSEC example. A",
    );
    let mut proofs = Proofs::from_secure(sets.iter(), name("example").borrow());
    with_context(|context| {
        let mut answer = |text: &str| {
            proofs.wildcard_answer(name(text).borrow(), name("w.example").borrow(), context)
        };
        assert!(answer("a.w.example").is_ok());
        assert!(answer("b.a.w.example").is_ok());
        let missing = Err(ValidationFault::DenialMissing);
        assert_eq!(answer("a.y.w.example"), missing, "y.w.example is closer");
        assert_eq!(answer("a.x.y.w.example"), missing);
    });
}

/// RFC 6840 section 4.1 and RFC 4033 section 5: the record of an unsigned delegation denies nothing
/// below it, and shows that what is said of it is insecure. That of a signed one shows neither.
#[test]
fn a_denial_below_an_unsigned_delegation_is_insecure() {
    let hashed = |text: &str, types: &str| {
        let hash = hash_of_name(name(text).borrow(), &[], 0);
        let hash = data_encoding::BASE32_DNSSEC.encode(&hash);
        format!("{hash}.example. 300 NSEC3 1 0 0 - {hash} {types}")
    };
    let insecure = Ok(Some(InsecurityCause::UnsignedDelegation));
    let missing = Err(ValidationFault::DenialMissing);
    for (types, outcome) in [("NS", insecure), ("NS DS", missing), ("DNAME", missing)] {
        for text in [
            format!("cut.example. 300 NSEC d.example. {types} RRSIG NSEC"),
            hashed("cut.example", types),
        ] {
            let mut proofs = Proofs::from_secure(sets(&text).iter(), name("example").borrow());
            with_context(|context| {
                let below = name("a.b.cut.example");
                let found = proofs.nxdomain(below.borrow(), context);
                assert_eq!(found.map(|denied| denied.insecurity), outcome, "{text}");
                let found = proofs.nodata(below.borrow(), Rtype::A, context);
                assert_eq!(found.map(|denied| denied.insecurity), outcome, "{text}");
                let beside = name("a.b.example");
                assert!(proofs.nxdomain(beside.borrow(), context).is_err(), "{text}");
            });
        }
    }
}
