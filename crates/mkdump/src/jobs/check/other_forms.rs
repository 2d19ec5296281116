//! Sites that the dump has in another form than the other one: it is not the code that ran there.

use serde::Serialize;

use super::difference::{Class, Differences};

/// Sites of load-time changes that the two dumps have in different forms, and what the other dump's form is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OtherForms {
    /// Import calls and jumps.
    pub import_sites: u64,
    /// Indirect branches and switches.
    pub retpoline_sites: u64,
    /// Whether import optimization was on where the other dump comes from; `null` when these sites do not tell, or
    /// contradict each other.
    pub import_optimization: Option<OnOff>,
    /// Whether retpolines were on there.
    pub retpoline: Option<OnOff>,
}

/// A load-time change as one form of its sites shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnOff {
    /// The kernel made it.
    On,
    /// The kernel did not make it.
    Off,
}

impl OnOff {
    /// Told by the places that show one or the other; `None` when there are none, or of both kinds.
    fn told(on: u64, off: u64) -> Option<Self> {
        match (on, off) {
            (1.., 0) => Some(Self::On),
            (0, 1..) => Some(Self::Off),
            _ => None,
        }
    }
}

impl OtherForms {
    /// The sites among the differences.
    pub(super) fn of(differences: &Differences) -> Self {
        let places = |classes: &[Class]| classes.iter().map(|&class| differences.of(class).places).sum::<u64>();
        let (direct, linked) = (places(&[Class::ImportOptimized]), places(&[Class::ImportLinked]));
        // With retpolines, imports that are not made direct go through a stub.
        let stub = places(&[Class::ImportStub]);
        let (on, off) = (places(&[Class::RetpolineOn]), places(&[Class::RetpolineOff]));
        Self {
            import_sites: direct + linked + stub + places(&[Class::ImportRegister]),
            retpoline_sites: on + off,
            import_optimization: OnOff::told(direct, linked),
            retpoline: OnOff::told(on + stub, off),
        }
    }

    /// All of them.
    pub fn sites(&self) -> u64 {
        self.import_sites + self.retpoline_sites
    }
}

#[cfg(test)]
mod tests {
    use super::OnOff::{self, Off, On};
    use super::{Class, Differences, OtherForms};

    /// What differs, by class and places; sites of both kinds; what the other dump's settings are.
    fn check(places: &[(Class, u64)], sites: (u64, u64), settings: (Option<OnOff>, Option<OnOff>)) {
        let mut differences = Differences::default();
        for &(class, count) in places {
            differences.of_mut(class).places = count;
        }
        let found = OtherForms::of(&differences);
        assert_eq!((found.import_sites, found.retpoline_sites), sites, "{places:?}");
        assert_eq!((found.import_optimization, found.retpoline), settings, "{places:?}");
    }

    #[test]
    fn the_other_dumps_forms_tell_its_settings() {
        check(&[(Class::Relocation, 5), (Class::Unexplained, 1)], (0, 0), (None, None));
        check(&[(Class::ImportOptimized, 3)], (3, 0), (Some(On), None));
        check(&[(Class::ImportLinked, 4)], (4, 0), (Some(Off), None));
        check(&[(Class::RetpolineOn, 2)], (0, 2), (None, Some(On)));
        check(&[(Class::RetpolineOff, 2), (Class::ImportLinked, 1)], (1, 2), (Some(Off), Some(Off)));
        // Out of reach of a direct call, a call goes through the stub, which is there with retpolines only.
        check(&[(Class::ImportOptimized, 3), (Class::ImportStub, 1)], (4, 0), (Some(On), Some(On)));
        check(&[(Class::ImportOptimized, 1), (Class::ImportLinked, 1)], (2, 0), (None, None));
        check(&[(Class::ImportRegister, 7)], (7, 0), (None, None));
    }
}
