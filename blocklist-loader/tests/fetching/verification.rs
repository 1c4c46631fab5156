//! Checksums and signatures of lists.

use std::io::Cursor;

use blocklist_loader::Fetched;

use crate::{BuildFixture, LIST, digest, server::Page};

#[tokio::test]
async fn a_list_must_have_its_checksum() {
    let fixture = BuildFixture::list(Page::of(LIST))
        .with(|feed, server| feed.sha256_url = Some(server.url("/SHA256SUMS")));
    fixture
        .stays(&["transport:", "/SHA256SUMS answered 404"])
        .await;
    fixture.server.put(
        "/SHA256SUMS",
        Page::of(format!(
            "{}  list.txt\n{}  other\n",
            digest(LIST),
            digest("x")
        )),
    );
    fixture.fetch().await.unwrap();
    fixture.server.put("/list.txt", Page::of("bad.example\n"));
    fixture
        .stays(&["checksum: the SHA-256 of the list is"])
        .await;
    fixture.server.put("/SHA256SUMS", Page::of("<html>"));
    fixture
        .stays(&["checksum:", "holds no SHA-256 of \"list.txt\""])
        .await;
}

#[tokio::test]
async fn a_list_must_be_signed_by_the_key_of_its_definition() {
    let (ours, others) = (
        minisign::KeyPair::generate_unencrypted_keypair().unwrap(),
        minisign::KeyPair::generate_unencrypted_keypair().unwrap(),
    );
    let sign = |pair: &minisign::KeyPair, text: &str| {
        minisign::sign(None, &pair.sk, Cursor::new(text.as_bytes()), None, None)
            .unwrap()
            .into_string()
    };
    let plain = BuildFixture::list(Page::of(LIST).with("ETag", "\"1\""));
    plain.fetch().await.unwrap();
    let fixture = plain.with(|feed, _| feed.minisign_key = Some(ours.pk.to_base64()));
    // Content that was fetched without verification is fetched again.
    fixture
        .stays(&["transport:", "/list.txt.minisig answered 404"])
        .await;
    for (signature, words) in [
        (
            sign(&others, LIST),
            "signature: the list is not what was signed by minisign_key",
        ),
        (
            sign(&ours, "bad.example\n"),
            "signature: the list is not what was signed by minisign_key",
        ),
        ("nonsense".to_owned(), "is no signature of minisign"),
    ] {
        fixture.server.put("/list.txt.minisig", Page::of(signature));
        fixture.stays(&[words]).await;
    }
    fixture
        .server
        .put("/list.txt.minisig", Page::of(sign(&ours, LIST)));
    assert_eq!(fixture.fetch().await.unwrap(), Fetched::Unchanged);
    assert_eq!(fixture.fetch().await.unwrap(), Fetched::Unchanged);
    assert_eq!(fixture.server.requests().last().unwrap().status, 304);

    let fixture = fixture.with(|feed, server| feed.signature_url = Some(server.url("/elsewhere")));
    fixture.server.remove("/list.txt.minisig");
    fixture
        .server
        .put("/elsewhere", Page::of(sign(&ours, LIST)));
    assert_eq!(fixture.fetch().await.unwrap(), Fetched::Unchanged);
}
