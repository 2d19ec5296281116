//! Typed records: what the payloads of known events say.
//!
//! The second of two stages. An event of an unknown kind, or of a version that this crate cannot read, is not an error:
//! [`Record::Other`] says so and the raw event is still there.

mod config;
mod image;
mod image_id;
mod ipt;
mod lbr;
mod process;
mod sample;
mod thread;

pub use config::{BuildInfo, ConfigCpu, ConfigProcessor, DeviceFamily, VolumeMapping};
pub use image::{Image, ImageAction};
pub use image_id::{DebugId, FileVersion, ImageId};
pub use ipt::{Ipt, IptOptions};
pub use lbr::LastBranches;
pub use process::{LifeEvent, ProcessRecord};
pub use sample::{ContextSwitch, SampledProfile, StackWalk};
pub use thread::ThreadRecord;

use crate::bytes::Bytes;
use crate::error::{Error, Result};
use crate::event::{Event, EventId};
use crate::raw::{HookId, ProviderGuid};

/// A known event's content.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Record<'d> {
    /// An image was loaded, unloaded or there.
    Image(Image),
    /// Base of the kernel image.
    KernelBase(u64),
    /// A merge's note about an image.
    ImageId(ImageId),
    /// A merge's note about an image's debug information.
    DebugId(DebugId),
    /// A merge's note about a file's version resource.
    FileVersion(FileVersion),
    /// Windows build.
    BuildInfo(BuildInfo),
    /// Build lab string (hook 0x0042).
    BuildLab(String),
    /// A volume's names.
    VolumeMapping(VolumeMapping),
    /// Processors and names of the system.
    ConfigCpu(ConfigCpu),
    /// One processor's make.
    ConfigProcessor(ConfigProcessor),
    /// Windows version and device form.
    DeviceFamily(DeviceFamily),
    /// A process started, ended or was there.
    Process(ProcessRecord),
    /// A thread started, ended or was there.
    Thread(ThreadRecord),
    /// A context switch.
    ContextSwitch(ContextSwitch),
    /// A sample.
    SampledProfile(SampledProfile),
    /// A stack.
    StackWalk(StackWalk<'d>),
    /// Last branch records.
    LastBranches(LastBranches<'d>),
    /// Intel PT data.
    Ipt(Ipt<'d>),
    /// Anything else, or a version that cannot be read.
    Other,
}

impl<'d> Event<'d> {
    /// Reads the payload, if its kind and version are known.
    ///
    /// # Errors
    /// When the payload is shorter than its version's fixed part, or its contents cannot be.
    pub fn record(&self) -> Result<Record<'d>> {
        let Some(kind) = Kind::of(self) else { return Ok(Record::Other) };
        match kind {
            Kind::Hook(hook) => self.hook_record(hook),
            Kind::ImageId(opcode) => image_id::parse(self, opcode),
            Kind::SystemConfigEx(opcode) => config::parse_extended(self, opcode),
            Kind::KernelProcess(id) => image::parse_kernel_process(self, id),
        }
    }

    fn hook_record(&self, hook: HookId) -> Result<Record<'d>> {
        if let Some(action) = ImageAction::of(hook) {
            return image::parse(self, action);
        }
        match hook {
            HookId::KERNEL_BASE => {
                self.read("KernelBase", |bytes, width| bytes.pointer(0, width).map(Record::KernelBase))
            }
            HookId::BUILD_LAB => Ok(Record::BuildLab(Bytes(self.payload).text(0).0)),
            HookId::CONFIG_CPU => config::parse_cpu(self),
            HookId::CONFIG_PROCESSOR => config::parse_processor(self),
            HookId::CONFIG_DEVICE_FAMILY => config::parse_device_family(self),
            HookId::CONTEXT_SWITCH => sample::parse_context_switch(self),
            HookId::SAMPLED_PROFILE => sample::parse_sampled_profile(self),
            HookId::STACK_WALK => sample::parse_stack_walk(self),
            HookId::LAST_BRANCH => lbr::parse(self),
            HookId::IPT => ipt::parse(self),
            HookId(other) => match (other >> 8, LifeEvent::of(hook.opcode())) {
                (0x03, Some(life)) => process::parse(self, life),
                (0x05, Some(life)) => thread::parse(self, life),
                _ => Ok(Record::Other),
            },
        }
    }

    /// Reads the payload's fields with `read`, which answers `None` when they run past the end.
    fn read<R>(&self, structure: &'static str, read: impl FnOnce(Bytes<'d>, usize) -> Option<R>) -> Result<R> {
        let bytes = Bytes(self.payload);
        let too_short = || {
            let have = self.payload.len() as u64;
            Error::lost(self.offset, have, structure, "its payload is shorter than its fixed part")
        };
        read(bytes, self.pointer_size.into()).ok_or_else(too_short)
    }
}

/// What an event is about, whatever form it arrived in.
enum Kind {
    Hook(HookId),
    ImageId(u8),
    SystemConfigEx(u8),
    KernelProcess(u16),
}

impl Kind {
    fn of(event: &Event<'_>) -> Option<Self> {
        match event.id {
            EventId::Class { guid: ProviderGuid::IMAGE_ID, opcode, .. } => Some(Self::ImageId(opcode)),
            EventId::Class { guid: ProviderGuid::SYSTEM_CONFIG_EX, opcode, .. } => Some(Self::SystemConfigEx(opcode)),
            EventId::Provider(event) if event.provider == ProviderGuid::KERNEL_PROCESS => {
                Some(Self::KernelProcess(event.id))
            }
            _ => event.hook().map(Self::Hook),
        }
    }
}

impl Event<'_> {
    /// The address of the image that the event is about, if it is of one of the kinds that are about images: all of them
    /// begin with it. Far cheaper than reading the whole record, and most images are user processes'.
    pub fn image_base(&self) -> Option<u64> {
        let about_image = match Kind::of(self)? {
            Kind::Hook(hook) => ImageAction::of(hook).is_some(),
            Kind::ImageId(opcode) => matches!(opcode, 0 | 36 | 37),
            Kind::KernelProcess(id) => matches!(id, 5 | 6),
            Kind::SystemConfigEx(_) => false,
        };
        about_image.then(|| Bytes(self.payload).pointer(0, self.pointer_size.into())).flatten()
    }
}
