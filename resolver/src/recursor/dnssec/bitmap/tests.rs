//! Tests of type bit maps.

use proptest::prelude::*;

use super::*;

/// The map of RFC 4034 section 4.3: A, MX, RRSIG, NSEC and TYPE1234.
const OF_THE_RFC: [u8; 37] = [
    0, 6, 0x40, 0x01, 0, 0, 0, 0x03, 4, 27, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0x20,
];

#[test]
fn the_map_of_rfc_4034_has_its_types_and_no_others() {
    let map = TypeBitmap::parse(&OF_THE_RFC).unwrap();
    let types: Vec<u16> = (0..=u16::MAX)
        .filter(|number| map.has(Rtype::new(*number)))
        .collect();
    assert_eq!(types, [1, 15, 46, 47, 1_234]);
}

#[test]
fn maps_that_are_not_well_formed_are_refused() {
    for blocks in [
        &[0][..],
        &[0, 0],
        &[0, 2, 1],
        &[1, 1, 1, 0, 1, 1],
        &[0, 1, 1, 0, 1, 1],
        &[[0, 33].as_slice(), &[1; 33]].concat(),
        &[0, 1, 1, 7],
    ] {
        assert!(TypeBitmap::parse(blocks).is_none(), "{blocks:?}");
    }
    assert!(
        TypeBitmap::parse(&[]).is_some(),
        "an empty non-terminal has no types"
    );
    assert!(TypeBitmap::parse(&[255, 1, 1]).is_some());
}

proptest! {
    #[test]
    fn any_octets_are_read_without_panic(blocks in any::<Vec<u8>>(), rtype in any::<u16>()) {
        if let Some(map) = TypeBitmap::parse(&blocks) {
            map.has(Rtype::new(rtype));
        }
    }
}
