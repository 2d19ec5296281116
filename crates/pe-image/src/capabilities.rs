//! The capabilities of a machine that decide function overrides: numbers to which a kernel gives a meaning at boot.
//!
//! | number | set in the kernel's set when |
//! | --- | --- |
//! | 0 | CPUID.7.0:EBX\[9\], ERMS: fast `rep stosb` |
//! | 1 | CPUID.7.0:EDX\[4\], FSRM |
//! | 2, 3, 4 | CPUID.7.1:EAX\[10\], \[11\], \[12\]: FZRM, FSRS, FSRC |
//! | 6, 0x13B, 0x13F, 0x140, 0x142, 0x146 | always |
//! | 7 | the vendor is known |
//! | 8, 9 | Intel, AMD |
//! | 11.., 27.., 43.., 59.. | plus model\[7:4\], extended model, family, extended family of CPUID.1:EAX |
//! | 0x13C, 0x13D, 0x13E | never: user-mode code asks for vector registers by them |
//!
//! Of every other number it is not known when a kernel sets it.

/// What is known of one capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Capability {
    /// Known to be set.
    Set,
    /// Known to be clear.
    Clear,
    /// Taken as set, because nearly all machines have it.
    AssumedSet,
    /// Taken as clear, because nothing is known about it.
    AssumedClear,
}

impl Capability {
    /// What a decision makes of it.
    pub fn is_set(self) -> bool {
        matches!(self, Self::Set | Self::AssumedSet)
    }
}

/// A processor, as far as it is known. What is `None` leaves choices that ask for it assumed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Processor {
    /// Who made it. A machine with Intel PT has an Intel processor.
    pub vendor: Option<ProcessorVendor>,
    /// CPUID.1:EAX: family, model and stepping.
    pub signature: Option<u32>,
    /// CPUID.7.0:EBX\[9\]. Every Intel core since 2012 has it unless firmware or a hypervisor hides it.
    pub erms: Option<bool>,
    /// CPUID.7.0:EDX\[4\].
    pub fsrm: Option<bool>,
    /// CPUID.7.1:EAX\[10\].
    pub fzrm: Option<bool>,
    /// CPUID.7.1:EAX\[11\].
    pub fsrs: Option<bool>,
    /// CPUID.7.1:EAX\[12\].
    pub fsrc: Option<bool>,
}

/// Who made a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum ProcessorVendor {
    /// `GenuineIntel`
    Intel,
    /// `AuthenticAMD`
    Amd,
}

/// The capabilities of a machine, by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities(Vec<Capability>);

impl Capabilities {
    /// One past the highest capability number of known kernels.
    pub const COUNT: u32 = 0x161;

    /// The capability for which kernels have a function of their own for guarded calls.
    pub const GUARDED_CALL: u32 = 0x142;

    /// Exactly these are set, and every other number is known to be clear.
    pub fn exactly(numbers: &[u32]) -> Self {
        let mut out = Self(vec![Capability::Clear; Self::COUNT as usize]);
        numbers.iter().for_each(|&number| out.put(number, Capability::Set));
        out
    }

    /// The set that a kernel of Windows 11 or Server 2025 uses for kernel images on this processor.
    pub fn of_kernel(processor: &Processor) -> Self {
        let mut out = Self(vec![Capability::AssumedClear; Self::COUNT as usize]);
        let known = |set: bool| if set { Capability::Set } else { Capability::Clear };
        let erms = match (processor.erms, processor.vendor) {
            (Some(erms), _) => known(erms),
            (None, Some(ProcessorVendor::Intel)) => Capability::AssumedSet,
            (None, _) => Capability::AssumedClear,
        };
        out.put(0, erms);
        for (number, bit) in (1..).zip([processor.fsrm, processor.fzrm, processor.fsrs, processor.fsrc]) {
            out.put(number, bit.map_or(Capability::AssumedClear, known));
        }
        for number in [6, 0x13b, 0x13f, 0x140, 0x142, 0x146] {
            out.put(number, Capability::Set);
        }
        for number in [0x13c, 0x13d, 0x13e] {
            out.put(number, Capability::Clear);
        }
        if let Some(vendor) = processor.vendor {
            out.put(7, Capability::Set);
            out.put(8, known(vendor == ProcessorVendor::Intel));
            out.put(9, known(vendor == ProcessorVendor::Amd));
            out.put(10, Capability::Clear);
        }
        if let Some(signature) = processor.signature {
            // The first number of each field, where the field lies in CPUID.1:EAX, and its bits.
            for (first, shift, bits) in [(11, 4, 4), (27, 16, 4), (43, 8, 4), (59, 20, 8)] {
                let value = signature >> shift & ((1 << bits) - 1);
                (0..1 << bits).for_each(|number| out.put(first + number, known(number == value)));
            }
        }
        out
    }

    /// The same with one capability known.
    pub fn with(mut self, number: u32, set: bool) -> Self {
        self.put(number, if set { Capability::Set } else { Capability::Clear });
        self
    }

    /// What is known of a capability. Numbers that kernels do not have are clear.
    pub fn get(&self, number: u32) -> Capability {
        self.0.get(number as usize).copied().unwrap_or(Capability::Clear)
    }

    fn put(&mut self, number: u32, capability: Capability) {
        if let Some(place) = self.0.get_mut(number as usize) {
            *place = capability;
        }
    }
}
