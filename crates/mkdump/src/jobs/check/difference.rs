//! Places that differ, and why: the classes that a difference can be of.

use serde::Serialize;

use crate::hex::Hex;

/// Why a place differs. What a class says of "the other dump" is said of the real one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// An import site that the other dump has as a direct call or jump.
    ImportOptimized,
    /// An import site that the other dump has as linked.
    ImportLinked,
    /// An import site that the other dump has through the stub after the image.
    ImportStub,
    /// An import site that the other dump has through r10, Driver Verifier's form.
    ImportRegister,
    /// An indirect branch or switch that the other dump has through a stub after the image.
    RetpolineOn,
    /// An indirect branch or switch that the other dump has as linked.
    RetpolineOff,
    /// An absolute address: one side has it for the load address, the other as the file has it.
    Relocation,
    /// A call that a function override may re-point: the sides name different ones of its functions.
    FunctionOverride,
    /// `CC` at the start of an instruction in one of the two: a breakpoint or trace point.
    Breakpoint,
    /// An import slot or guard pointer, which the loader fills.
    LoaderData,
    /// A section that programs write to while they run.
    WritableData,
    /// Nothing that is known explains it.
    Unexplained,
}

/// How many places, and how many bytes of them differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Sites, addresses, or runs of bytes.
    pub places: u64,
    /// Bytes that differ.
    pub bytes: u64,
}

/// Differing places by class. Every differing byte is in exactly one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Differences {
    /// See [`Class::ImportOptimized`].
    pub import_optimized: Count,
    /// See [`Class::ImportLinked`].
    pub import_linked: Count,
    /// See [`Class::ImportStub`].
    pub import_stub: Count,
    /// See [`Class::ImportRegister`].
    pub import_register: Count,
    /// See [`Class::RetpolineOn`].
    pub retpoline_on: Count,
    /// See [`Class::RetpolineOff`].
    pub retpoline_off: Count,
    /// See [`Class::Relocation`].
    pub relocation: Count,
    /// See [`Class::FunctionOverride`].
    pub function_override: Count,
    /// See [`Class::Breakpoint`].
    pub breakpoint: Count,
    /// See [`Class::LoaderData`].
    pub loader_data: Count,
    /// See [`Class::WritableData`].
    pub writable_data: Count,
    /// See [`Class::Unexplained`].
    pub unexplained: Count,
}

impl Class {
    /// Every class, in the order of reports.
    pub const ALL: [Class; 12] = [
        Class::ImportOptimized,
        Class::ImportLinked,
        Class::ImportStub,
        Class::ImportRegister,
        Class::RetpolineOn,
        Class::RetpolineOff,
        Class::Relocation,
        Class::FunctionOverride,
        Class::Breakpoint,
        Class::LoaderData,
        Class::WritableData,
        Class::Unexplained,
    ];
}

impl Differences {
    /// The count of a class.
    pub fn of(&self, class: Class) -> Count {
        let mut copy = *self;
        *copy.of_mut(class)
    }

    pub(super) fn of_mut(&mut self, class: Class) -> &mut Count {
        match class {
            Class::ImportOptimized => &mut self.import_optimized,
            Class::ImportLinked => &mut self.import_linked,
            Class::ImportStub => &mut self.import_stub,
            Class::ImportRegister => &mut self.import_register,
            Class::RetpolineOn => &mut self.retpoline_on,
            Class::RetpolineOff => &mut self.retpoline_off,
            Class::Relocation => &mut self.relocation,
            Class::FunctionOverride => &mut self.function_override,
            Class::Breakpoint => &mut self.breakpoint,
            Class::LoaderData => &mut self.loader_data,
            Class::WritableData => &mut self.writable_data,
            Class::Unexplained => &mut self.unexplained,
        }
    }

    /// Adds the counts of another set.
    pub(super) fn add(&mut self, other: &Differences) {
        for class in Class::ALL {
            let more = other.of(class);
            let count = self.of_mut(class);
            count.places += more.places;
            count.bytes += more.bytes;
        }
    }
}

/// A place that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// First byte.
    pub address: Hex,
    /// The same, from the module's base.
    pub rva: Hex,
    /// Bytes of the place; of an unexplained run or of data, bytes that differ.
    pub size: u64,
    /// Why.
    pub class: Class,
    /// The dump's bytes, hexadecimal; of long runs the first ones. `??` is a byte that it does not hold.
    pub dump: String,
    /// The other dump's bytes.
    pub against: String,
}
