//! Tests of unpacking: packed content comes out, truncated or oversized content does not, and
//! nothing panics.

use std::io::Write;

use proptest::prelude::*;

use super::*;

fn gzip(octets: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(octets).unwrap();
    encoder.finish().unwrap()
}

fn zstd(octets: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(octets).unwrap();
    encoder.finish().unwrap()
}

fn archive(members: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, text) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, path, text.as_bytes())
            .unwrap();
    }
    builder.into_inner().unwrap()
}

fn text(octets: &[u8], name: &str, octets_max: u64) -> Result<String, String> {
    let mut text = String::new();
    match unpack(&mut &octets[..], name, octets_max, |unpacked| {
        unpacked.reader.read_to_string(&mut text)
    }) {
        Ok(result) => result.map(|_| text).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

fn members(octets: &[u8], name: &str) -> Result<Vec<(String, String)>, String> {
    let mut found = Vec::new();
    let read = unpack(&mut &octets[..], name, 1 << 20, |unpacked| {
        assert!(unpacked.is_archive);
        for_each_member(unpacked.reader, |parts, member| {
            let mut text = String::new();
            member.read_to_string(&mut text)?;
            found.push((parts.join("/"), text));
            Ok::<(), io::Error>(())
        })
    });
    match read {
        Ok(result) => result.map(|()| found).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn packed_text_comes_out_whatever_the_file_is_called() {
    let long = "a.example\n".repeat(100_000);
    for name in ["list", "list.gz", "list.zst", "list.txt"] {
        for packed in [
            long.as_bytes().to_vec(),
            gzip(long.as_bytes()),
            zstd(long.as_bytes()),
        ] {
            assert_eq!(text(&packed, name, 1 << 20).as_ref(), Ok(&long), "{name}");
        }
    }
    let two = [gzip(b"a\n"), gzip(b"b\n")].concat();
    assert_eq!(text(&two, "list", 100), Ok("a\nb\n".to_owned()));
    assert_eq!(text(b"", "list", 100), Ok(String::new()));
    assert_eq!(
        text(b"", "list.gz", 100),
        Err("it is empty, but its name says gzip".to_owned())
    );
}

#[test]
fn what_is_cut_short_anywhere_is_an_error_and_never_a_short_list() {
    let long: String = (0..2000)
        .map(|number| format!("{}.example\n", number * 7919 % 10_007))
        .collect();
    for packed in [gzip(long.as_bytes()), zstd(long.as_bytes())] {
        for end in (MAGIC_OCTETS..packed.len())
            .step_by(97)
            .chain(packed.len() - 20..packed.len())
        {
            let error = text(&packed[..end], "list", 1 << 20).unwrap_err();
            assert!(
                error.starts_with("it is cut short or damaged"),
                "{end}: {error}"
            );
        }
    }
    let mut damaged = gzip(long.as_bytes());
    let place = damaged.len() - 6;
    damaged[place] ^= 1;
    assert!(
        text(&damaged, "list", 1 << 20)
            .unwrap_err()
            .starts_with("it is cut short or damaged (gzip)")
    );
}

#[test]
fn a_bomb_is_not_unpacked_beyond_the_bound() {
    let zeroes = vec![b'a'; 5 << 20];
    for packed in [gzip(&zeroes), zstd(&zeroes)] {
        assert_eq!(
            text(&packed, "list", 1 << 20),
            Err(format!("it unpacks to more than {} octets", 1 << 20))
        );
        assert_eq!(
            text(&packed, "list", 5 << 20).map(|text| text.len()),
            Ok(5 << 20)
        );
    }
}

#[test]
fn an_archive_shows_its_files_with_harmless_paths_and_is_whole_or_refused() {
    let long = format!("{}/domains", "x".repeat(150));
    let plain = archive(&[
        ("adult/domains", "a.example\n"),
        ("./deep/er/urls", "b.example/c\n"),
        (&long, "c.example\n"),
    ]);
    let expected = [
        ("adult/domains", "a.example\n"),
        ("deep/er/urls", "b.example/c\n"),
        (&long, "c.example\n"),
    ]
    .map(|(path, text)| (path.to_owned(), text.to_owned()));
    for packed in [plain.clone(), gzip(&plain), zstd(&plain)] {
        assert_eq!(members(&packed, "lists").as_deref(), Ok(&expected[..]));
    }
    // Cut anywhere before the two empty blocks at its end.
    for end in (BLOCK_OCTETS..plain.len() - 1024)
        .step_by(131)
        .chain([plain.len() - 1024])
    {
        assert!(members(&plain[..end], "lists.tar").is_err(), "{end}");
        assert!(
            members(&gzip(&plain[..end]), "lists.tar.gz").is_err(),
            "{end}"
        );
    }
    let mut damaged = plain.clone();
    damaged[3] ^= 1;
    assert!(members(&damaged, "lists").is_err());
}

#[test]
fn links_devices_and_paths_that_fill_the_memory_are_not_followed() {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    builder
        .append_link(&mut header, "a/domains", "/etc/passwd")
        .unwrap();
    assert_eq!(
        members(&builder.into_inner().unwrap(), "a.tar"),
        Ok(Vec::new())
    );

    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(100_000);
    header.set_cksum();
    builder.append(&header, &vec![b'a'; 100_000][..]).unwrap();
    assert!(
        members(&builder.into_inner().unwrap(), "a.tar")
            .unwrap_err()
            .contains("too long")
    );

    let mut builder = tar::Builder::new(Vec::new());
    builder
        .append_pax_extensions([("path", &b"pax/domains"[..])])
        .unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_path("short").unwrap();
    header.set_size(2);
    header.set_cksum();
    builder.append(&header, &b"x\n"[..]).unwrap();
    assert_eq!(
        members(&builder.into_inner().unwrap(), "a.tar"),
        Ok(vec![("pax/domains".to_owned(), "x\n".to_owned())])
    );
    assert_eq!(parts(b"../../etc//passwd/./x"), ["etc", "passwd", "x"]);
}

proptest! {
    #[test]
    fn no_octets_panic_the_readers_or_pass_the_bound(
        noise in prop::collection::vec(any::<u8>(), 0..3000),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        kind in 0..4,
        name in prop::sample::select(vec!["a", "a.gz", "a.zst", "a.tar", "a.tar.gz", "a.tgz"]),
    ) {
        let text = String::from_utf8_lossy(&noise).into_owned();
        let whole = archive(&[("a/domains", &text), ("b/urls", &text)]);
        let mut octets = match kind {
            0 => noise,
            1 => whole,
            2 => gzip(&whole),
            _ => zstd(&whole),
        };
        for (place, value) in flips {
            if !octets.is_empty() {
                let place = place.index(octets.len());
                octets[place] = value;
            }
        }
        let mut total = 0;
        let _ = unpack(&mut &octets[..], name, 20_000, |unpacked| {
            for_each_member(unpacked.reader, |_, member| {
                total += io::copy(member, &mut io::sink())?;
                Ok::<(), io::Error>(())
            })
        });
        prop_assert!(total <= 20_000);
    }
}
