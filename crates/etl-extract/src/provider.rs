//! Providers by name.

use std::fmt;
use std::str::FromStr;

use etl_file::{Guid, ProviderGuid};

/// A class or provider of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provider(pub(crate) Guid);

/// Neither a GUID nor a name that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownProvider;

impl fmt::Display for UnknownProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "allowed are GUIDs, kernel classes such as Registry and FileIo, Microsoft-Windows-Kernel-LiveDump and \
             Microsoft-Windows-Kernel-Process",
        )
    }
}

impl std::error::Error for UnknownProvider {}

impl FromStr for Provider {
    type Err = UnknownProvider;

    fn from_str(text: &str) -> Result<Self, UnknownProvider> {
        ProviderGuid::named(text).or_else(|| text.parse().ok()).map(Self).ok_or(UnknownProvider)
    }
}

#[cfg(test)]
mod tests {
    use super::Provider;

    #[test]
    fn by_guid_or_by_name() {
        let guid: Provider = "{bef2aa8e-81cd-11e2-a7bb-5eac6188709b}".parse().unwrap();
        for text in ["Microsoft-Windows-Kernel-LiveDump", "BEF2AA8E-81CD-11E2-A7BB-5EAC6188709B"] {
            assert_eq!(text.parse(), Ok(guid));
        }
        for bad in ["", "Nobody", "{}", "{bef2aa8e-81cd-11e2-a7bb-5eac6188709b"] {
            assert!(bad.parse::<Provider>().is_err(), "{bad}");
        }
    }
}
