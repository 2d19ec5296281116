//! Payloads: what [`Event::record`](crate::Event::record) reads, written. The layouts are drawn beside the readers, in
//! `records`.

use super::event::Sink;
use super::{Error, EventHeader, Result};
use crate::event::EventId;
use crate::raw::ProviderGuid;
use crate::records::{
    ConfigCpu, ConfigProcessor, DeviceFamily, Image, ImageId, Ipt, LastBranches, ProcessRecord, Record, StackWalk,
    ThreadRecord,
};

/// The payload that says `record` under `header`, whose kind decides the width of pointers and whose version the layout.
/// `None` for [`Record::Other`], and for a version that cannot be read.
///
/// Fields that the record does not have are zero, and texts end where they end.
///
/// # Errors
/// When an address does not fit the header's pointers.
pub fn payload(record: &Record<'_>, header: &EventHeader) -> Result<Option<Vec<u8>>> {
    let mut out = Vec::new();
    let wide = header.kind.pointer_size().unwrap_or(8) == 8;
    let mut to = Payload { to: Sink { out: &mut out }, wide };
    match record {
        Record::Image(image) if is_kernel_process(header) => to.kernel_process_image(image)?,
        Record::Image(image) => to.image(image, header.version)?,
        Record::KernelBase(base) => {
            to.pointer("KernelBase", *base)?;
        }
        Record::ImageId(id) => to.image_id(id)?,
        Record::DebugId(id) => {
            to.pointer("DbgID base", id.base)?.to.u32(id.process).bytes(&id.guid.0).u32(id.age).text(&id.name);
        }
        Record::FileVersion(version) => {
            to.to.u32(version.size).u32(version.timestamp);
            for text in &version.strings {
                to.to.utf16(text);
            }
        }
        Record::BuildInfo(info) => {
            // The time of the installation comes first.
            to.to.i64(0).utf16(&info.build_lab).utf16(&info.product);
        }
        Record::BuildLab(lab) => {
            to.to.text(lab);
        }
        Record::VolumeMapping(volume) => {
            to.to.utf16(&volume.nt_path).utf16(&volume.dos_path);
        }
        Record::ConfigCpu(cpu) => to.cpu(cpu),
        Record::ConfigProcessor(processor) => to.processor(processor),
        Record::DeviceFamily(family) => to.device_family(family),
        Record::Process(process) if header.version > 0 => to.process(process, header.version)?,
        Record::Thread(thread) => to.thread(thread, header.version),
        Record::ContextSwitch(switch) => {
            to.to.u32(switch.new_thread).u32(switch.old_thread);
        }
        Record::SampledProfile(sample) => {
            to.pointer("sample", sample.address)?.to.u32(sample.thread);
            match header.version {
                0 | 1 => to.to.u32(sample.count),
                _ => to.to.u16(sample.count as u16).u16(0),
            };
        }
        Record::StackWalk(stack) => to.stack(stack)?,
        Record::LastBranches(branches) => to.branches(branches)?,
        Record::Ipt(ipt) => to.ipt(ipt),
        _ => return Ok(None),
    }
    Ok(Some(out))
}

fn is_kernel_process(header: &EventHeader) -> bool {
    matches!(header.id, EventId::Provider(event) if event.provider == ProviderGuid::KERNEL_PROCESS)
}

struct Payload<'o> {
    to: Sink<'o>,
    wide: bool,
}

impl Payload<'_> {
    fn pointer(&mut self, field: &'static str, value: u64) -> Result<&mut Self> {
        match (self.wide, u32::try_from(value)) {
            (true, _) => self.to.u64(value),
            (false, Ok(value)) => self.to.u32(value),
            (false, Err(_)) => return Err(Error::pointer(field, value)),
        };
        Ok(self)
    }

    /// UTF-16 text in a field of `units` 16-bit units: cut to leave a NUL, and filled with NULs.
    fn field(&mut self, text: &str, units: usize) {
        let mut written = 0;
        for unit in text.encode_utf16().take_while(|&unit| unit != 0).take(units - 1) {
            self.to.u16(unit);
            written += 1;
        }
        for _ in written..units {
            self.to.u16(0);
        }
    }

    fn image(&mut self, image: &Image, version: u16) -> Result<()> {
        self.pointer("image base", image.base)?;
        if version == 0 {
            let size = u32::try_from(image.size).map_err(|_| Error::pointer("image size", image.size))?;
            self.to.u32(size).utf16(&image.path);
            return Ok(());
        }
        self.pointer("image size", image.size)?.to.u32(image.process.unwrap_or(0));
        if version >= 2 {
            let (level, kind) = image.signature.unwrap_or_default();
            self.to.u32(image.checksum).u32(image.timestamp).u8(level).u8(kind).u16(0);
            self.pointer("image default base", image.default_base)?.to.bytes(&[0; 16]);
        }
        self.to.utf16(&image.path);
        Ok(())
    }

    fn kernel_process_image(&mut self, image: &Image) -> Result<()> {
        self.pointer("image base", image.base)?.pointer("image size", image.size)?;
        self.to.u32(image.process.unwrap_or(0)).u32(image.checksum).u32(image.timestamp);
        self.pointer("image default base", image.default_base)?.to.utf16(&image.path);
        Ok(())
    }

    fn image_id(&mut self, id: &ImageId) -> Result<()> {
        self.pointer("ImageID base", id.base)?.pointer("ImageID size", id.size)?;
        self.to.u32(id.process).u32(id.timestamp).utf16(&id.original_name);
        Ok(())
    }

    fn cpu(&mut self, cpu: &ConfigCpu) {
        // The last number before the names is the allocation granularity, 64 KiB on every Windows.
        self.to.u32(cpu.mhz).u32(cpu.processors).u32(cpu.memory_mb).u32(cpu.page_size).u32(0x1_0000);
        self.field(&cpu.computer_name, 256);
        self.field(&cpu.domain, 134);
        // HyperThreadingFlag and HighestUserAddress.
        self.to.bytes(if self.wide { &[0; 16] } else { &[0; 8] });
        self.to.u16(cpu.architecture).u16(cpu.level).u16(cpu.revision).u8(0).u8(0).u32(0);
    }

    fn processor(&mut self, processor: &ConfigProcessor) {
        self.to.u32(processor.index).u32(0).u32(processor.mhz);
        self.field(&processor.name, 64);
        self.field(&processor.identifier, 128);
        self.field(&processor.vendor, 16);
    }

    fn device_family(&mut self, family: &DeviceFamily) {
        for &part in family.version.iter().rev() {
            self.to.u16(part);
        }
        self.to.u32(family.family).u32(family.form);
    }

    fn process(&mut self, process: &ProcessRecord, version: u16) -> Result<()> {
        let base = process.directory_table_base.unwrap_or(0);
        // Where version 1 has the page directory, later ones have a key, which is a kernel address.
        self.pointer("page directory", if version == 1 { base } else { 0 })?;
        self.to.u32(process.pid).u32(process.parent).u32(process.session).u32(process.exit_status as u32);
        if version >= 3 {
            self.pointer("page directory", base)?;
        }
        if version >= 4 {
            self.to.u32(0);
        }
        // No SID.
        self.to.u32(0).text(&process.name);
        if version >= 2 {
            self.to.utf16(&process.command_line);
        }
        if version >= 4 {
            // Package and application.
            self.to.u16(0).u16(0);
        }
        Ok(())
    }

    fn thread(&mut self, thread: &ThreadRecord, version: u16) {
        // Version 0 has the thread first.
        let (first, second) = if version == 0 { (thread.tid, thread.pid) } else { (thread.pid, thread.tid) };
        self.to.u32(first).u32(second);
        if version >= 1 {
            // Seven pointers (stacks, start addresses, TEB), the service tag, four bytes of priorities.
            self.to.bytes(&[0; 64][..if self.wide { 64 } else { 36 }]);
        }
        if version >= 4 {
            self.to.utf16(&thread.name);
        }
    }

    fn stack(&mut self, stack: &StackWalk<'_>) -> Result<()> {
        self.to.i64(stack.event_time.0).u32(stack.process).u32(stack.thread);
        stack.frames().try_for_each(|frame| self.pointer("stack frame", frame).map(|_| ()))
    }

    fn branches(&mut self, branches: &LastBranches<'_>) -> Result<()> {
        self.to.i64(branches.event_time.0).u32(branches.process).u32(branches.thread).u32(branches.filter);
        self.to.bytes(if self.wide { &[0; 4] } else { &[] });
        branches.branches().try_for_each(|(from, to)| {
            self.pointer("branch", from)?.pointer("branch", to)?.pointer("branch", 0).map(|_| ())
        })
    }

    fn ipt(&mut self, ipt: &Ipt<'_>) {
        self.to.i64(ipt.trigger_time.0).u32(ipt.process).u32(ipt.thread).u64(ipt.options.0);
        self.to.u32(ipt.declared).u32(ipt.ring_offset).bytes(ipt.data);
    }
}
