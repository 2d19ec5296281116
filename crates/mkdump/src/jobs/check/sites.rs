//! The sites of a dump, counted by form.

use kernel_snapshot::dump::Dump;
use pe_image::SiteForm;

use super::report::SitesFound;
use captured_code::{FoundSite, Reached, SiteScan};

impl SitesFound {
    /// Counts the sites of a dump.
    pub fn count(dump: &Dump<'_>) -> Self {
        let mut counts = Self::default();
        SiteScan::new(dump).for_each(|site| *counts.of(&site) += 1);
        counts
    }

    fn of(&mut self, site: &FoundSite) -> &mut u64 {
        match (site.form, site.target) {
            (SiteForm::ImportLinked { .. }, _) => &mut self.import_linked,
            (SiteForm::ImportDirect { .. }, Some(Reached::Stubs(..))) => &mut self.import_stub,
            (SiteForm::ImportDirect { .. }, _) => &mut self.import_direct,
            (SiteForm::ImportRegister { .. }, _) => &mut self.import_register,
            (SiteForm::Switch { .. }, _) => &mut self.switch,
            _ => &mut self.retpoline,
        }
    }
}
