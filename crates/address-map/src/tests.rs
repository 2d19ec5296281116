//! The rule by cases, and the map against a model without any cleverness.

use proptest::prelude::*;

use super::{AddressMap, Claim, ModuleId};

fn claim(base: u64, size: u64, loaded: Option<f64>, unloaded: Option<f64>) -> Claim {
    Claim { base, size, loaded, unloaded, has_file: false }
}

fn with_file(claim: Claim) -> Claim {
    Claim { has_file: true, ..claim }
}

/// Who displaces each module at a moment.
fn displaced(claims: &[Claim], moment: f64) -> Vec<Option<usize>> {
    let owners = AddressMap::new(claims.iter().copied()).at(moment);
    (0..claims.len()).map(|module| owners.displaced_by(ModuleId(module)).map(|winner| winner.0)).collect()
}

#[test]
fn an_address_belongs_to_who_lived_nearest() {
    let claims = [
        claim(0x10000, 0x3000, None, Some(5.0)),
        claim(0x12000, 0x3000, Some(7.0), None),
        claim(0x20000, 0x3000, None, None),
    ];
    let map = AddressMap::new(claims);
    // Moment; the owners of 10000, 12000, 14fff, 15000, 22fff.
    let cases = [
        (0.0, [Some(0), Some(0), None, None, Some(2)]),
        (5.0, [Some(0), Some(0), None, None, Some(2)]),
        (5.9, [Some(0), Some(0), None, None, Some(2)]),
        (6.1, [None, Some(1), Some(1), None, Some(2)]),
        (f64::INFINITY, [None, Some(1), Some(1), None, Some(2)]),
    ];
    for (moment, expected) in cases {
        let owners = map.at(moment);
        let found = [0x10000, 0x12000, 0x14fff, 0x15000, 0x22fff].map(|address| owners.owner(address).map(|id| id.0));
        assert_eq!(found, expected, "at {moment}");
    }
}

#[test]
fn ties_are_decided_by_load_then_file_then_address_then_order() {
    const LOST_UNLOAD: [Claim; 2] = [
        Claim { base: 0x10000, size: 0x2000, loaded: Some(1.0), unloaded: None, has_file: true },
        Claim { base: 0x11000, size: 0x2000, loaded: Some(2.0), unloaded: None, has_file: false },
    ];
    let large = claim(0x10000, 0x9000, None, None);
    let inside = claim(0x12000, 0x1000, None, None);
    /// Claims, the moment, and who displaces each of them then.
    type Case<'a> = (&'a str, &'a [Claim], f64, &'a [Option<usize>]);
    let cases: [Case<'_>; 8] = [
        ("both alive: the later load wins, with a file or without", &LOST_UNLOAD, 9.0, &[Some(1), None]),
        ("the same before the later load", &LOST_UNLOAD, 1.5, &[None, Some(0)]),
        ("nothing about time decides: the one with a file", &[large, with_file(inside)], 9.0, &[Some(1), None]),
        ("both have files: the lower address", &[with_file(large), with_file(inside)], 9.0, &[None, Some(0)]),
        ("the same in another order", &[inside, large], 9.0, &[Some(1), None]),
        ("one address: the first in the list", &[large, claim(0x10000, 0x1000, None, None)], 9.0, &[None, Some(0)]),
        (
            "both gone: the later unload, although it was loaded earlier",
            &[claim(0x10000, 0x1000, Some(3.0), Some(4.0)), claim(0x10000, 0x1000, Some(1.0), Some(5.0))],
            f64::INFINITY,
            &[Some(1), None],
        ),
        (
            "equally far: the one to come",
            &[claim(0x10000, 0x1000, None, Some(4.0)), claim(0x10000, 0x1000, Some(6.0), None)],
            5.0,
            &[Some(1), None],
        ),
    ];
    for (what, claims, moment, expected) in cases {
        assert_eq!(displaced(claims, moment), expected, "{what}");
    }
}

#[test]
fn what_the_winner_does_not_cover_belongs_to_the_next_claim_or_to_nothing() {
    // b displaces a; c overlaps only a, so it stands.
    let claims = [
        claim(0x10000, 0x4000, None, Some(1.0)),
        claim(0x10000, 0x2000, Some(1.0), None),
        claim(0x13000, 0x3000, None, Some(0.5)),
    ];
    assert_eq!(displaced(&claims, 2.0), [Some(1), None, None]);
    let owners = AddressMap::new(claims).at(2.0);
    let found = [0x11fff, 0x12000, 0x13000].map(|address| owners.owner(address).map(|id| id.0));
    assert_eq!(found, [Some(1), None, Some(2)]);
}

#[test]
fn a_module_without_a_size_holds_its_base_and_no_end_overflows() {
    let claims = [
        claim(0x10000, 0, None, None),
        claim(0x10000, 0, None, Some(1.0)),
        claim(u64::MAX - 0xfff, u64::MAX, None, None),
    ];
    assert_eq!(displaced(&claims, 9.0), [None, Some(0), None]);
    let owners = AddressMap::new(claims).at(9.0);
    assert_eq!(owners.owner(u64::MAX), Some(ModuleId(2)));
    assert_eq!(owners.places_from(0).map(|place| place.module.0).collect::<Vec<_>>(), [0, 2]);
}

/// The rule as the documentation words it: strongest claim first, each against all that have their place.
fn model(claims: &[Claim], moment: f64) -> Vec<Option<usize>> {
    let distance = |claim: &Claim| {
        let until_load = claim.loaded.map_or(0.0, |loaded| loaded - moment);
        let since_unload = claim.unloaded.map_or(0.0, |unloaded| moment - unloaded);
        match () {
            () if until_load > 0.0 => until_load,
            // At the moment of its unload a module is gone.
            () if claim.unloaded.is_some() && since_unload >= 0.0 => since_unload.max(f64::MIN_POSITIVE),
            () => 0.0,
        }
    };
    let mut order: Vec<usize> = (0..claims.len()).collect();
    let key = |index: usize| {
        let claim = &claims[index];
        let loaded = claim.loaded.unwrap_or(-1.0);
        (distance(claim), -loaded, !claim.has_file, claim.base, index)
    };
    order.sort_by(|&a, &b| key(a).partial_cmp(&key(b)).unwrap());
    let mut taken: Vec<usize> = Vec::new();
    let mut result = vec![None; claims.len()];
    for index in order {
        let bytes = |index: usize| claims[index].base..claims[index].base + claims[index].size.max(1);
        let (ours, clash) = (bytes(index), |&other: &usize| {
            let theirs = bytes(other);
            theirs.start < bytes(index).end && bytes(index).start < theirs.end
        });
        // Of several, the neighbour below is named, else the first one above.
        let below =
            taken.iter().copied().filter(|&other| bytes(other).start <= ours.start).max_by_key(|&o| claims[o].base);
        let above =
            taken.iter().copied().filter(|&other| bytes(other).start >= ours.start).min_by_key(|&o| claims[o].base);
        result[index] = below.filter(clash).or(above.filter(clash));
        if !taken.iter().any(clash) {
            taken.push(index);
        }
    }
    result
}

proptest! {
    #[test]
    fn the_map_is_the_model(
        claims in proptest::collection::vec(
            (0u64..40, 0u64..8, proptest::option::of(0u8..6), proptest::option::of(0u8..6), any::<bool>()),
            0..14,
        ),
        moment in 0u8..14,
    ) {
        let claims: Vec<Claim> = claims
            .into_iter()
            .map(|(base, size, loaded, unloaded, has_file)| Claim {
                base,
                size,
                loaded: loaded.map(f64::from),
                unloaded: unloaded.map(f64::from),
                has_file,
            })
            .collect();
        let moment = f64::from(moment) / 2.0;
        let expected = model(&claims, moment);
        prop_assert_eq!(&displaced(&claims, moment), &expected);
        let owners = AddressMap::new(claims.iter().copied()).at(moment);
        for address in 0..50 {
            let holds = |index: &usize| {
                let claim = &claims[*index];
                expected[*index].is_none() && (claim.base..claim.base + claim.size.max(1)).contains(&address)
            };
            let owner = (0..claims.len()).find(holds);
            prop_assert_eq!(owners.owner(address).map(|id| id.0), owner, "{}", address);
            let next = (0..claims.len()).filter(|index| expected[*index].is_none());
            let next = next.filter(|&index| claims[index].base + claims[index].size.max(1) > address);
            let next = next.min_by_key(|&index| claims[index].base);
            prop_assert_eq!(owners.next(address).map(|place| place.module.0), next, "{}", address);
        }
    }
}
