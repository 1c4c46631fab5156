//! Tests of IANA's document.

use proptest::prelude::*;

use super::*;

/// The document of 2024-07, abridged.
const DOCUMENT: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<TrustAnchor id="E9724F53-1851-4F86-85E5-F1392102940B" source="http://data.iana.org/root-anchors/root-anchors.xml">
    <Zone>.</Zone>
    <KeyDigest id="Kjqmt7v" validFrom="2010-07-15T00:00:00+00:00" validUntil="2019-01-11T00:00:00+00:00">
        <KeyTag>19036</KeyTag>
        <Algorithm>8</Algorithm>
        <DigestType>2</DigestType>
        <Digest>49AAC11D7B6F6446702E54A1607371607A1A41855200FD2CE1CDDE32F24E8FB5</Digest>
    </KeyDigest>
    <KeyDigest id="Klajeyz" validFrom="2017-02-02T00:00:00+00:00">
        <KeyTag>20326</KeyTag>
        <Algorithm>8</Algorithm>
        <DigestType>2</DigestType>
        <Digest>E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D</Digest>
        <PublicKey>AwEAAaz/tAm8</PublicKey>
        <Flags>257</Flags>
    </KeyDigest>
    <!-- the next key -->
    <KeyDigest id="Kmyv6jo" validFrom="2024-07-18T00:00:00+00:00">
        <KeyTag>38696</KeyTag>
        <Algorithm>8</Algorithm>
        <DigestType>2</DigestType>
        <Digest>
            683D2D0ACB8C9B712A1948B27F741219
            298D0A450D612C483AF444A4C0FB2B16
        </Digest>
    </KeyDigest>
</TrustAnchor>
"#;

fn tags(text: &str, time: &str) -> Result<Vec<u16>, XmlProblem> {
    let now: Timestamp = time.parse().unwrap();
    let anchors = read(text, now.as_second())?;
    assert!(
        anchors
            .iter()
            .all(|(zone, data)| zone.borrow().is_root() && data.digest.len() == 32)
    );
    Ok(anchors.iter().map(|(_, data)| data.tag).collect())
}

#[test]
fn the_keys_that_are_valid_at_a_time_count() {
    assert_eq!(
        tags(DOCUMENT, "2026-12-01T00:00:00Z"),
        Ok(vec![20_326, 38_696])
    );
    assert_eq!(
        tags(DOCUMENT, "2018-01-01T00:00:00Z"),
        Ok(vec![19_036, 20_326])
    );
    assert_eq!(tags(DOCUMENT, "2019-01-11T00:00:00Z"), Ok(vec![20_326]));
    assert_eq!(tags(DOCUMENT, "2024-07-17T23:59:59Z"), Ok(vec![20_326]));
    assert_eq!(tags(DOCUMENT, "2000-01-01T00:00:00Z"), Ok(vec![]));
}

#[test]
fn a_broken_document_says_what_is_wrong() {
    let broken = |from: &str, to: &str| {
        assert!(DOCUMENT.contains(from));
        tags(&DOCUMENT.replacen(from, to, 1), "2026-12-01T00:00:00Z")
    };
    assert_eq!(
        broken("<KeyTag>20326</KeyTag>", ""),
        Err(XmlProblem::KeyDigest)
    );
    assert_eq!(broken(">20326<", ">99999<"), Err(XmlProblem::KeyDigest));
    assert_eq!(broken("C7F8EC8D<", "C7F8EC<"), Err(XmlProblem::KeyDigest));
    assert_eq!(broken("2017-02-02T", "yesterday"), Err(XmlProblem::Time));
    assert_eq!(broken("<Zone>.</Zone>", ""), Err(XmlProblem::Zone));
    assert_eq!(
        broken("<Zone>.</Zone>", "<Zone>a..b</Zone>"),
        Err(XmlProblem::Zone)
    );
    assert!(matches!(
        broken("</TrustAnchor>", ""),
        Err(XmlProblem::Form(_))
    ));
    assert!(matches!(
        broken("</KeyTag>", "</Key>"),
        Err(XmlProblem::Form(_))
    ));
    assert_eq!(
        tags("<html></html>", "2026-12-01T00:00:00Z"),
        Err(XmlProblem::Root)
    );
}

proptest! {
    #[test]
    fn no_document_panics(text in "[<>/a-zA-Z\"= ]{0,80}") {
        let _ = read(&text, 0);
        let _ = read(&format!("<TrustAnchor>{text}</TrustAnchor>"), 0);
    }
}
